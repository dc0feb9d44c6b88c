"""From what was fetched to lines and links: charsets, hostile HTML, what is no text at all."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.errors import WebError
from apollo_tui.web.charset import decode, looks_binary
from apollo_tui.web.fetch import Fetched, Limits
from apollo_tui.web.html import convert
from apollo_tui.web.page import LONGEST_LINE, SHOWN, WINDOW, Page, page_of_text, wrap
from apollo_tui.web.reading import read_page

URL = "https://example.org/docs/a.html"

HTML = """<!doctype html><html><head><title> Loss
 masking </title><style>p {color: red}</style><script>var secret = 1;</script></head><body>
<nav><a href="/">Home</a> <a href="b.html">Next</a> <a href="#top">Top</a>
<a href="javascript:x()">Bad</a> <a href="mailto:a@b">Mail</a></nav>
<h1>Masking</h1><p>Only <b>kept</b> tokens_train * here.<p>Second <a href="//other.org/x?y=1#z">a
link</a>.
<pre><code>def f(x):
    return x
</code></pre>
<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>
<img src="data:image/png;base64,AAAA" alt="a plot"></body></html>"""


def fetched(body: bytes | str, kind: str = "text/html", charset: str | None = "utf-8") -> Fetched:
    return Fetched(URL, kind, charset, body.encode() if isinstance(body, str) else body)


async def refusal(body: bytes | str, kind: str, limits: Limits | None = None) -> str:
    with pytest.raises(WebError) as caught:
        await read_page(fetched(body, kind, None), limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_html_becomes_text_with_headings_code_tables_and_links() -> None:
    page = await read_page(fetched(HTML))
    text = "\n".join(page.lines)
    assert page.title == "Loss masking"
    assert "# Masking" in page.lines
    assert "Only **kept** tokens_train * here." in page.lines
    assert "def f(x):\n    return x" in text
    assert "| A | B |" in page.lines
    assert "[image: a plot]" in text
    for gone in ("secret", "color", "base64", "\ue000"):
        assert gone not in text
    assert [(link.text, link.href) for link in page.links] == [
        ("Home", "https://example.org/"),
        ("Next", "https://example.org/docs/b.html"),
        ("a link", "https://other.org/x?y=1#z"),
    ]
    for link in page.links:
        assert link.text.split()[0] in page.lines[link.line - 1]


def test_a_link_without_text_is_named_by_its_title_and_leaves_one_blank_line() -> None:
    html = "<p>a</p><p><a href='/p' title='Print'><i></i></a></p><p><a href='/q'></a></p><p>b</p>"
    page = convert(URL, html)
    assert page.lines == ("a", "", "b")
    assert [(link.text, link.line) for link in page.links] == [("Print", 2), ("", 2)]


def test_a_base_moves_links() -> None:
    page = convert(URL, '<base href="/other/"><a href="c">C</a>')
    assert page.links[0].href == "https://example.org/other/c"


def test_marks_that_a_page_brings_itself_lead_nowhere() -> None:
    page = convert(URL, "<p>&#xE000;7&#xE001;x \ue0000\ue001y <a href='/a'>A</a>")
    assert [(link.href, link.line) for link in page.links] == [("https://example.org/a", 1)]
    assert "\ue001" not in "".join(page.lines)


def test_a_link_in_a_long_line_stands_where_its_text_is() -> None:
    page = convert(URL, f"<p>{'word ' * 1000}<a href='/a'>unique</a> {'word ' * 1000}")
    assert len(page.lines) > 5
    assert "unique" in page.lines[page.links[0].line - 1]


HOSTILE = {
    "deep": "<div>" * 100_000 + "deep",
    "lists": "<ul><li>" * 100 + "deep",
    "links": "<a href='/x'>" * 20_000,
    "tables": "<table><tr><td>" * 300,
    "attributes": "<p " + "a=b " * 100_000 + ">",
    "nul": "\0" * 100 + "<p>\0text",
    "broken": "<![CDATA[ <!-- <p <<<>>> &#0; &#xD800; &#x110000; &nosuch;",
    "addresses": "<base href='http://[bad'><a href='http://[::1'>x</a><a href='/ok'>y</a>",
    "empty": "",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_html_becomes_a_page_or_a_clear_line(name: str) -> None:
    began = time.monotonic()
    try:
        page = await read_page(fetched(HOSTILE[name]), Limits(seconds=4))
    except WebError as error:
        assert re.search("could not be turned into text|but binary", str(error))
    else:
        "\n".join(page.lines).encode()
    assert time.monotonic() - began < 6


async def test_a_page_of_one_enormous_line_is_read_in_pieces() -> None:
    began = time.monotonic()
    page = await read_page(fetched("x" * 10_000_000, "text/plain"))
    assert time.monotonic() - began < 5
    assert len(page.lines) == 10_000_000 // LONGEST_LINE
    assert "".join(page.lines) == "x" * 10_000_000
    first, last = page.around(5000)
    assert first <= 5000 <= last
    assert sum(map(len, page.lines[first - 1 : last])) <= SHOWN


async def test_html_that_takes_too_long_costs_only_its_time() -> None:
    table = "<tr>" + "<td><b>x</b> <i>y</i></td>" * 20
    began = time.monotonic()
    said = await refusal("<table>" + table * 8000, "text/html", Limits(seconds=1))
    assert "could not be turned into text" in said
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"%PDF-1.7 ...", "application/pdf", "it is application/pdf (12 bytes)"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png", "it is image/png"),
        (b"\x7fELF\0\0\0", "text/plain", "it is text/plain, but binary"),
        (b"\x1f\x8b\x08\0\0\0", "", "it is of an unknown kind"),
        (bytes(range(256)) * 10, "text/html", "it is text/html, but binary"),
    ],
)
async def test_what_is_no_text_is_said(body: bytes, kind: str, said: str) -> None:
    assert said in await refusal(body, kind)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a": 1}', "application/json"),
        (b"a: 1", "application/x-yaml"),
        (b"<feed/>", "application/atom+xml"),
        (b"# Title", "text/markdown"),
        (b"plain", ""),
    ],
)
async def test_other_text_is_read_as_it_is(body: bytes, kind: str) -> None:
    page = await read_page(fetched(body, kind, None))
    assert page.lines == (body.decode(),)


async def test_a_page_without_text_says_so_and_one_without_a_kind_is_looked_at() -> None:
    page = await read_page(fetched("<!doctype html><html><script>app()</script>", "", None))
    assert page.lines == ()
    assert page.notes == ("it has no text; a page that is made by JavaScript cannot be read",)


async def test_what_was_cut_is_told() -> None:
    page = await read_page(Fetched(URL, "text/plain", "utf-8", "añ".encode()[:-1], cut=True))
    assert page.lines == ("a",)
    assert page.notes == ("the page is longer: only its first 2 bytes were read",)


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("naïve".encode(), "utf-8", "naïve"),
        ("naïve".encode("latin-1"), "iso-8859-1", "naïve"),
        ("naïve “x”".encode("cp1252"), "iso-8859-1", "naïve “x”"),  # as browsers read it
        ("naïve".encode(), "ascii", "naïve".encode().decode("cp1252")),
        ("中文".encode("gb18030"), "gb2312", "中文"),
        ("日本".encode("shift_jis"), "Shift_JIS", "日本"),
        ("日本".encode(), "no-such-charset", "日本"),
        ("日本".encode(), "idna", "日本"),
        ("日本".encode(), "unicode_escape", "日本"),
        ("日本".encode(), "hex\0", "日本"),
        ("日本".encode("utf-16"), None, "日本"),
        ("\ufeff日本".encode(), "latin-1", "日本"),
        (b'<meta charset="koi8-r">' + "да".encode("koi8-r"), None, '<meta charset="koi8-r">да'),
        ("日本語".encode(), "euc_jp", "日本語"),  # the server is wrong
    ],
)
def test_charsets(body: bytes, charset: str | None, text: str) -> None:
    found, unreadable = decode(body, charset)
    assert found == text
    assert unreadable == 0


async def test_a_wrong_charset_is_counted() -> None:
    page = await read_page(fetched(b"caf\xe9 caf\xe9", "text/plain", "utf-8"))
    assert page.lines == ("caf� caf�",)
    assert page.notes == ("2 characters could not be read in its charset",)


async def test_wide_characters_are_no_binary() -> None:
    page = await read_page(fetched("<p>wide".encode("utf-16-le"), charset="UTF-16LE"))
    assert page.lines == ("wide",)


@given(st.binary(max_size=300), st.none() | st.text(max_size=20), st.booleans())
def test_any_bytes_become_text(body: bytes, charset: str | None, cut: bool) -> None:
    text, unreadable = decode(body, charset, cut=cut)
    assert unreadable >= 0
    text.encode("utf-8", "replace")
    looks_binary(body)


@given(st.text(max_size=400), st.integers(2, 50))
def test_wrapping_loses_nothing(line: str, width: int) -> None:
    pieces = wrap(line, width)
    assert "".join(piece for _, piece in pieces) == line
    assert all(len(piece) <= width for _, piece in pieces)
    assert all(line[start:].startswith(piece) for start, piece in pieces)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=400), st.integers(-5, 500))
def test_windows_hold_their_line_and_fit(lengths: list[int], line: int) -> None:
    page = Page(url=URL, lines=tuple("x" * length for length in lengths))
    wanted = min(max(line, 1), len(lengths))
    windows = [page.around(line), page.below(line), page.above(line)]
    for first, last in windows:
        assert 1 <= first <= wanted <= last <= len(lengths)
        assert last - first + 1 <= WINDOW
        assert sum(lengths[first - 1 : last]) <= SHOWN
    assert windows[1][0] == wanted
    assert windows[2][1] == wanted


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=30))
def test_scrolling_down_sees_every_line_once(lines: list[str]) -> None:
    page = page_of_text(URL, "\n".join(lines * 20))
    seen, at = 0, 1
    while page.lines and at <= len(page.lines):
        first, last = page.below(at)
        assert first == seen + 1
        seen, at = last, last + 1
    assert seen == len(page.lines)


def test_finding_ignores_case() -> None:
    page = page_of_text(URL, "One\ntwo one\nstraße\nTHREE")
    assert page.find("ONE") == [1, 2]
    assert page.find("STRASSE") == [3]
    assert page.find("four") == []


fragments = st.sampled_from(
    ["<p>", "</p>", "<a href='/x'>", "<a href='http://[x'>", "</a>", "<table><tr><td>", "</table>",
     "<pre>", "</pre>", "<ul><li>", "<h1>", "<br>", "<base href='//o'>", "<title>", "<img alt='\n'>",
     "\ue0001\ue001", "&#xE000;9&#xE001;", "&nbsp;", "<!--", "-->", "<script>", "\n\n", "  "]
)  # fmt: skip


@given(st.lists(fragments | st.text(max_size=20), max_size=40))
def test_any_html_becomes_lines_and_links_that_stand_on_them(parts: list[str]) -> None:
    page = convert(URL, "".join(parts))
    assert all(len(line) <= LONGEST_LINE and "\n" not in line for line in page.lines)
    assert all(1 <= link.line <= len(page.lines) for link in page.links)
    assert all(link.href.startswith(("http://", "https://")) for link in page.links)
    assert Page.model_validate_json(page.model_dump_json()) == page
