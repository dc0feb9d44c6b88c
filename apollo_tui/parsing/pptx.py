"""PPTX: what stands on each slide, its tables and charts, and the speaker's notes."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from pptx import Presentation
from pptx.enum.shapes import MSO_SHAPE_TYPE

from apollo_tui.parsing import Parsed, counted
from apollo_tui.parsing.office import broken, require_archive, table


def pptx_text(data: bytes) -> Parsed:
    """The text, slide by slide. Raises Unreadable for what is no PPTX."""
    require_archive(data, "PPTX")
    try:
        slides = list(Presentation(BytesIO(data)).slides)
    except MemoryError:
        raise
    except Exception as error:  # whatever a broken package makes it stumble over
        raise broken("PPTX", error) from error
    pictures = 0
    notes: list[str] = []
    texts: list[str] = []
    for number, slide in enumerate(slides, 1):
        try:
            shapes = list(_shapes(slide.shapes))
            pictures += sum(shape.shape_type == MSO_SHAPE_TYPE.PICTURE for shape in shapes)
            blocks = [block for shape in shapes if (block := _block(shape, slide.shapes.title))]
            said = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
            if said is not None and said.text.strip():
                blocks.append(f"Notes:\n{said.text.strip()}")
        except MemoryError:
            raise
        except Exception as error:  # one broken slide does not end the reading
            why = f"slide {number} could not be read: {type(error).__name__}: {error}"
            notes.append(why)
            blocks = [f"[{why}]"]
        texts.append("\n".join((f"@@ Slide {number} @@", *blocks)))
    if pictures:
        notes.append(f"{counted(pictures, 'picture')} not read")
    text = "\n\n".join(texts).replace("\v", "\n")
    return Parsed(text, counted(len(slides), "slide"), tuple(notes))


def _shapes(shapes: Any) -> Iterator[Any]:
    """Every shape, those in groups too."""
    for shape in shapes:
        if shape.shape_type == MSO_SHAPE_TYPE.GROUP:
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _block(shape: Any, title: Any) -> str:
    if shape.has_text_frame:
        text = str(shape.text_frame.text).strip()
        is_title = title is not None and shape.shape_id == title.shape_id
        return f"# {text}" if text and is_title else text
    if getattr(shape, "has_table", False):
        return table([[cell.text for cell in row.cells] for row in shape.table.rows])
    if getattr(shape, "has_chart", False):
        return _chart(shape.chart)
    if shape.shape_type == MSO_SHAPE_TYPE.PICTURE:
        described = str(shape._element._nvXxPr.cNvPr.get("descr", "")).strip()
        return f"[picture: {described}]" if described else ""
    return ""


def _chart(chart: Any) -> str:
    """Its numbers as a table: a row for each category, a column for each series."""
    title = chart.chart_title.text_frame.text.strip() if chart.has_title else ""
    blocks = [f"[chart{f': {title}' if title else ''}]"]
    for plot in chart.plots:
        series = list(plot.series)
        rows = [["", *(str(one.name) for one in series)]]
        columns = [list(one.values) for one in series]
        for place, category in enumerate(plot.categories):
            values = (column[place] if place < len(column) else None for column in columns)
            rows.append(
                [str(category), *("" if value is None else f"{value:g}" for value in values)]
            )
        blocks.append(table(rows))
    return "\n".join(blocks)
