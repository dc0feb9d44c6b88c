"""Real documents, made by the libraries that people make them with."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from docx import Document
from docx.oxml.parser import parse_xml
from fpdf import FPDF
from fpdf.enums import AccessPermission, EncryptionMethod
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'


def pdf(*pages: str, password: str | None = None, owner: str | None = None) -> bytes:
    """A page for each text; `password` is needed to open it, `owner` only to change it."""
    made = FPDF()
    made.set_font("helvetica", size=12)
    for text in pages:
        made.add_page()
        made.multi_cell(0, None, text)
    if password or owner:
        made.set_encryption(
            owner_password=owner or "owner",
            user_password=password,
            encryption_method=EncryptionMethod.AES_256,
            permissions=AccessPermission.none(),
        )
    return bytes(made.output())


def pdf_with_table(rows: list[list[str]]) -> bytes:
    made = FPDF()
    made.set_font("helvetica", size=12)
    made.add_page()
    with made.table() as table:
        for row in rows:
            table.row(row)
    return bytes(made.output())


def docx() -> bytes:
    made = Document()
    made.add_heading("On learning", level=0)
    made.add_heading("Method", level=2)
    made.add_paragraph("We train it.")
    made.add_paragraph("first", style="List Bullet")
    table = made.add_table(rows=2, cols=2)
    for row, texts in zip(table.rows, [["Model", "Acc"], ["A|B", "0.9"]], strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    paragraph = made.add_paragraph("After the table, ")
    paragraph._p.append(_xml("w:ins", "<w:r><w:t>an insertion</w:t></w:r>"))
    paragraph._p.append(_xml("w:del", "<w:r><w:delText>gone</w:delText></w:r>"))
    paragraph._p.append(
        parse_xml(
            f"<m:oMath {M}><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num>"
            "<m:den><m:sSup><m:e><m:r><m:t>b</m:t></m:r></m:e>"
            "<m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup></m:den></m:f></m:oMath>"
        )
    )
    inner = "<w:sdtContent><w:p><w:r><w:t>in a control</w:t></w:r></w:p></w:sdtContent>"
    made.element.body.insert(0, _xml("w:sdt", inner))
    made.add_comment(paragraph.runs, text="Really?", author="Ana", initials="A")
    made.sections[0].header.paragraphs[0].text = "Draft"
    paged: Any = made  # of which python-docx has no types
    paged.add_page_break()
    made.add_paragraph("On the second page.")
    return _saved(made)


def _xml(tag: str, inside: str) -> Any:
    return parse_xml(f"<{tag} {W}>{inside}</{tag}>")


def pptx() -> bytes:
    made = Presentation()
    slide = made.slides.add_slide(made.slide_layouts[1])
    slide.shapes.title.text = "Results"
    slide.placeholders[1].text = "It works\nmostly"
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    second = made.slides.add_slide(made.slide_layouts[6])
    size = (Inches(1), Inches(1), Inches(4), Inches(1))
    table = second.shapes.add_table(2, 2, *size).table
    for row, texts in enumerate([["Model", "Acc"], ["A", "0.9"]]):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(*size).text_frame.text = "in a group"
    data: Any = CategoryChartData()  # type: ignore[no-untyped-call]
    data.categories = ["2024", "2025"]
    data.add_series("loss", (1.5, 0.25))
    second.shapes.add_chart(XL_CHART_TYPE.LINE, *size, data)
    return _saved(made)


def _saved(document: Any) -> bytes:
    file = BytesIO()
    document.save(file)
    return file.getvalue()
