"""Documents as text: what a person would read is there, and what is broken says so in one line."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apollo_tui.parsing import Parsed, Unreadable, office
from apollo_tui.parsing.docx import docx_text
from apollo_tui.parsing.pdf import pdf_text
from apollo_tui.parsing.pptx import pptx_text
from tests.parsing import documents

READERS: dict[str, Callable[[bytes], Parsed]] = {
    "PDF": pdf_text,
    "DOCX": docx_text,
    "PPTX": pptx_text,
}


def why_not(read: Callable[[bytes], Parsed], data: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read(data)
    return str(caught.value)


def test_a_pdf_is_read_page_by_page() -> None:
    parsed = pdf_text(documents.pdf("On learning", "", "It works,\nmostly."))
    assert parsed.text == (
        "@@ Page 1 @@\nOn learning\n\n@@ Page 2 @@\n\n\n@@ Page 3 @@\nIt works,\nmostly."
    )
    assert parsed.size == "3 pages"
    assert parsed.notes == ("1 page without text, perhaps scanned images",)


def test_a_row_of_a_pdf_s_table_stays_in_its_order() -> None:
    text = pdf_text(documents.pdf_with_table([["Model", "Acc"], ["A", "0.9"], ["B", "0.8"]])).text
    assert text.split()[4:] == ["Model", "Acc", "A", "0.9", "B", "0.8"]


def test_a_pdf_that_only_forbids_changes_is_read_and_one_with_a_password_is_not() -> None:
    assert "On learning" in pdf_text(documents.pdf("On learning", owner="x")).text
    said = why_not(pdf_text, documents.pdf("On learning", password="x"))
    assert said == "it is encrypted and needs a password"


def test_a_broken_page_does_not_end_the_reading() -> None:
    whole = documents.pdf("first", "second")
    broken = whole.replace(b"/Contents 4 0 R", b"/Contents 1 0 R", 1)
    assert broken != whole
    parsed = pdf_text(broken)
    assert "second" in parsed.text
    assert parsed.size == "2 pages"
    assert parsed.notes


def test_a_docx_is_read_in_its_order() -> None:
    parsed = docx_text(documents.docx())
    assert parsed.text.split("\n\n") == [
        "@@ Page 1 @@",
        "in a control",
        "# On learning",
        "## Method",
        "We train it.",
        "- first",
        "| Model | Acc |\n| --- | --- |\n| A\\|B | 0.9 |",
        "After the table, an insertion(a)/(b^{2})",
        "@@ Page 2 @@",
        "On the second page.",
        "@@ Header @@",
        "Draft",
        "@@ Comments @@",
        "[^0] Ana: Really?",
    ]
    assert (parsed.size, parsed.notes) == ("2 pages", ())


def test_a_pptx_is_read_slide_by_slide() -> None:
    parsed = pptx_text(documents.pptx())
    assert parsed.text.split("\n") == [
        "@@ Slide 1 @@",
        "# Results",
        "It works",
        "mostly",
        "Notes:",
        "Say it slowly.",
        "",
        "@@ Slide 2 @@",
        "| Model | Acc |",
        "| --- | --- |",
        "| A | 0.9 |",
        "in a group",
        "[chart]",
        "|  | loss |",
        "| --- | --- |",
        "| 2024 | 1.5 |",
        "| 2025 | 0.25 |",
    ]
    assert (parsed.size, parsed.notes) == ("2 slides", ())


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\0" * 5000, b"%PDF-1.7\n", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)]
)
def test_what_is_no_document_says_so(kind: str, data: bytes) -> None:
    assert why_not(READERS[kind], data).startswith(f"it is no {kind}")


def test_an_old_or_encrypted_office_file_is_told_apart() -> None:
    old = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512)
    assert "encrypted, or of the old format before DOCX" in why_not(docx_text, old)


@pytest.mark.parametrize("kind", ["DOCX", "PPTX"])
def test_another_kind_of_archive_says_so(kind: str) -> None:
    other = documents.pptx() if kind == "DOCX" else documents.docx()
    assert why_not(READERS[kind], other).startswith(f"it is no {kind} file, or a broken one")
    assert why_not(READERS[kind], archive({"a.txt": b"x"})).startswith(f"it is no {kind} file")


@pytest.mark.parametrize("kind", ["DOCX", "PPTX"])
def test_an_archive_that_unpacks_to_too_much_is_refused_unopened(kind: str) -> None:
    bomb = archive({f"word/{n}.xml": bytes(64 << 20) for n in range(4)})
    assert len(bomb) < 1 << 20
    assert "it unpacks to 268,435,456 bytes in 4 files" in why_not(READERS[kind], bomb)
    many = archive({f"{n}": b"" for n in range(office.MEMBERS_AT_MOST + 1)})
    assert "in 20,001 files; at most" in why_not(READERS[kind], many)


def test_entities_of_xml_are_not_expanded() -> None:
    laughs = '<!DOCTYPE w [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]>'
    body = "<w:body><w:p><w:r><w:t>&b;</w:t></w:r></w:p></w:body></w:document>"
    made = replaced(
        documents.docx(), "word/document.xml", f"{laughs}<w:document {documents.W}>{body}".encode()
    )
    assert "lol" not in docx_text(made).text


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(READERS)), st.data())
def test_damage_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    made = {"PDF": PDF, "DOCX": DOCX, "PPTX": PPTX}[kind]
    broken = bytearray(made)
    for _ in range(data.draw(st.integers(1, 20))):
        place = data.draw(st.integers(0, len(broken) - 1))
        broken[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del broken[data.draw(st.integers(0, len(broken))) :]
    try:
        parsed = READERS[kind](bytes(broken))
    except Unreadable as why:
        assert str(why)
    else:
        assert isinstance(parsed.text, str)


PDF, DOCX, PPTX = documents.pdf("On learning", "two"), documents.docx(), documents.pptx()


def archive(files: dict[str, bytes]) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return made.getvalue()


def replaced(data: bytes, name: str, content: bytes) -> bytes:
    with zipfile.ZipFile(BytesIO(data)) as packed:
        files = {member: packed.read(member) for member in packed.namelist()}
    assert name in files
    return archive(files | {name: content})
