"""DOCX: paragraphs, lists and tables in their order, with headings, notes, comments and equations.

It is read from the XML, because python-docx leaves out what stands in content controls, inserted
revisions, text boxes and equations.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from docx import Document
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml

from apollo_tui.parsing import Parsed, counted
from apollo_tui.parsing.office import broken, require_archive, table

_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_SAME = {qn("w:sdt"), qn("w:sdtContent"), qn("w:customXml"), qn("w:ins"), qn("w:smartTag")}
# What a text box repeats for older programs, and what was deleted or moved away.
_LEFT_OUT = {_FALLBACK, qn("w:del"), qn("w:moveFrom"), qn("w:pPr"), qn("w:rPr")}
_EQUATIONS = {
    f"{_MATH}f": ("({})/({})", "num", "den"),
    f"{_MATH}sSup": ("{}^{{{}}}", "e", "sup"),
    f"{_MATH}sSub": ("{}_{{{}}}", "e", "sub"),
    f"{_MATH}sSubSup": ("{}_{{{}}}^{{{}}}", "e", "sub", "sup"),
    f"{_MATH}nary": ("∑_{{{}}}^{{{}}} {}", "sub", "sup", "e"),
    f"{_MATH}rad": ("√({})", "e"),
}
_BESIDE = ("header", "footer", "footnotes", "endnotes", "comments")


def docx_text(data: bytes) -> Parsed:
    """The text. Pages are marked where Word last broke them. Raises Unreadable for no DOCX."""
    require_archive(data, "DOCX")
    try:
        document = Document(BytesIO(data))
        styles = {style.style_id: str(style.name) for style in document.styles}
        body = document.element.body
        beside = [(name, list(_beside(document, name))) for name in _BESIDE]
    except MemoryError:
        raise
    except Exception as error:  # whatever a broken package makes it stumble over
        raise broken("DOCX", error) from error
    reader = _Reader(styles, body)
    blocks = ["@@ Page 1 @@", *reader.blocks(body)]
    for name, roots in beside:
        texts = dict.fromkeys(text for root in roots for text in reader.beside(root) if text)
        if texts:
            blocks += [f"@@ {name.capitalize()} @@", *texts]
    pictures = sum(1 for _ in body.iter(qn("w:drawing"), qn("w:pict")))
    notes = (f"{counted(pictures, 'picture')} not read",) if pictures else ()
    return Parsed("\n\n".join(blocks), counted(reader.page, "page"), notes)


def _beside(document: Any, name: str) -> Iterator[Any]:
    """The XML of the parts that stand beside the body."""
    for relation in document.part.rels.values():
        if not relation.is_external and relation.reltype.endswith(f"/{name}"):
            yield parse_xml(relation.target_part.blob)


class _Reader:
    """Blocks of text from XML; counts pages on its way."""

    def __init__(self, styles: dict[str, str], body: Any) -> None:
        self.page = 1
        self._styles = styles
        # Word notes its own breaks when it saves, forced ones too; others write only forced ones.
        self._noted = next(body.iter(qn("w:lastRenderedPageBreak")), None) is not None

    def blocks(self, parent: Any) -> Iterator[str]:
        for child in parent:
            if child.tag == qn("w:p"):
                yield from self._paragraph(child)
            elif child.tag == qn("w:tbl"):
                yield table(self._rows(child))
            elif child.tag in _SAME:
                yield from self.blocks(child)

    def beside(self, root: Any) -> Iterator[str]:
        """Notes and comments one by one; a header or footer whole."""
        if root.tag in (qn("w:hdr"), qn("w:ftr")):
            yield "\n".join(self.blocks(root))
            return
        for note in root:
            if note.get(qn("w:type"), "normal") == "normal":  # else a line above the notes
                author = note.get(qn("w:author"))
                mark = f"[^{note.get(qn('w:id'))}]{f' {author}' if author else ''}"
                yield f"{mark}: {' '.join(self.blocks(note))}"

    def _rows(self, tbl: Any) -> Iterator[list[str]]:
        for row in self._inside(tbl, qn("w:tr")):
            yield [" ".join(self.blocks(cell)) for cell in self._inside(row, qn("w:tc"))]

    def _inside(self, parent: Any, tag: str) -> Iterator[Any]:
        for child in parent:
            if child.tag == tag:
                yield child
            elif child.tag in _SAME:
                yield from self._inside(child, tag)

    def _paragraph(self, p: Any) -> Iterator[str]:
        """Its text, cut where a page ends; nothing of an empty one."""
        first, *later = "".join(self._words(p)).split("\f")
        if first.strip():
            yield self._shaped(p, first.strip())
        for text in later:
            self.page += 1
            yield f"@@ Page {self.page} @@"
            if text.strip():
                yield text.strip() if first.strip() else self._shaped(p, text.strip())
        for box in p.iter(qn("w:txbxContent")):
            if next(box.iterancestors(_FALLBACK), None) is None:
                yield from self.blocks(box)

    def _words(self, element: Any) -> Iterator[str]:
        for child in element:
            tag = child.tag
            if tag in _LEFT_OUT or tag == qn("w:txbxContent"):
                continue
            if tag in (qn("w:t"), f"{_MATH}t"):
                yield child.text or ""
            elif tag in _EQUATIONS:
                yield self._equation(child)
            elif tag == qn("w:tab"):
                yield "\t"
            elif tag in (qn("w:footnoteReference"), qn("w:endnoteReference")):
                yield f"[^{child.get(qn('w:id'))}]"
            elif tag == qn("w:lastRenderedPageBreak"):
                yield "\f"
            elif tag in (qn("w:br"), qn("w:cr")):
                if child.get(qn("w:type")) == "page":
                    yield "" if self._noted else "\f"
                else:
                    yield "\n"
            else:
                yield from self._words(child)

    def _equation(self, element: Any) -> str:
        """A fraction, root, sum, or what has an index, in one line."""
        form, *names = _EQUATIONS[element.tag]
        sign = element.find(f"{_MATH}naryPr/{_MATH}chr")
        if element.tag == f"{_MATH}nary":
            form = form.replace("∑", "∫" if sign is None else sign.get(f"{_MATH}val") or "")
        parts = (element.find(f"{_MATH}{name}") for name in names)
        return form.format(*("" if part is None else "".join(self._words(part)) for part in parts))

    def _shaped(self, p: Any, text: str) -> str:
        style = self._styles.get(str(p.style or ""), "")
        kind, _, level = style.lower().partition(" ")
        if kind == "title":
            return f"# {text}"
        if kind == "heading" and level.isdigit():
            return f"{'#' * min(6, int(level))} {text}"
        numbered = p.pPr.numPr if p.pPr is not None else None
        if kind == "list" or numbered is not None:
            depth = numbered.ilvl.val if numbered is not None and numbered.ilvl is not None else 0
            return f"{'  ' * min(8, depth)}- {text}"
        return text
