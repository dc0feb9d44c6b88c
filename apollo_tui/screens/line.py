"""A line: pieces of text with the names of their styles. What draws it knows the colours.

A style is a colour's name (`text dim faint line accent running paused attention masked error`),
then any of `bold italic reverse`. A ground is the name of a background, "" for the screen's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile

from apollo_tui.screens.format import fit, width


@dataclass(frozen=True, slots=True)
class Span:
    text: str
    style: str = "text"
    ground: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    spans: tuple[Span, ...] = ()
    ground: str = ""

    @property
    def text(self) -> str:
        return "".join(span.text for span in self.spans)

    @property
    def width(self) -> int:
        return sum(width(span.text) for span in self.spans)


BLANK = Line()


def fitted(spans: Iterable[Span], cells: int, ground: str = "") -> Line:
    """A line of exactly `cells`: what is too long is chopped, what is short is filled."""
    kept: list[Span] = []
    left = cells
    for span in spans:
        if left <= 0:
            break
        if not span.text:
            continue
        taken = width(span.text)
        if taken > left:
            span, taken = replace(span, text=fit(span.text, left)), left
        kept.append(span)
        left -= taken
    if left > 0:
        kept.append(Span(" " * left, "text"))
    return Line(tuple(kept), ground)


def two_sided(
    left: Iterable[Span],
    right: Iterable[Span],
    cells: int,
    *,
    ground: str = "",
    filler: str = " ",
    filler_style: str = "line",
    cut: str = "",
) -> Line:
    """Left spans, right spans, and filler between; the left gives way, with `cut` where it ends."""
    left, right = list(left), list(right)
    right_width = sum(width(span.text) for span in right)
    if right_width > cells:
        right, right_width = [], 0
    gap = 2 if right and filler == " " and right_width + 2 < cells else 0
    room = cells - right_width - gap
    wanted = sum(width(span.text) for span in left)
    if cut and wanted > room >= width(cut):
        start = fitted([*fitted(left, room - width(cut)).spans, Span(cut, "dim")], room)
    else:
        start = fitted(left, min(room, wanted))
    gap += room - start.width
    spans = [*start.spans]
    if gap > 0:
        spans.append(Span(filler * gap, filler_style))
    return fitted([*spans, *right], cells, ground)


def columns(parts: Iterable[tuple[int, Span]], cells: int, ground: str = "") -> Line:
    """Spans at given columns, in order; one that begins before the previous ends is pushed."""
    spans: list[Span] = []
    at = 0
    for column, span in parts:
        if column > at:
            spans.append(Span(" " * (column - at)))
            at = column
        spans.append(span)
        at += width(span.text)
    return fitted(spans, cells, ground)


def unchanged(before: Line, after: Line) -> int:
    """The cells at the beginning that two lines have in common: they need not be painted again."""
    if before.ground != after.ground:
        return 0
    cells = 0
    for old, new in zip(before.spans, after.spans, strict=False):
        if old == new:
            cells += width(old.text)
            continue
        if (old.style, old.ground) == (new.style, new.ground) and new.text.isascii():
            pairs = zip(old.text, new.text, strict=False)
            cells += sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        break
    return cells


def on(line: Line, ground: str, cursor: str = "") -> Line:
    """The line on a ground; `cursor` takes its first cell."""
    if not cursor:
        return Line(line.spans, ground)
    rest: list[Span] = []
    skip = width(cursor)
    for span in line.spans:
        if skip >= (wide := width(span.text)):
            skip -= wide
        elif skip:
            rest.append(replace(span, text=span.text[skip:]))
            skip = 0
        else:
            rest.append(span)
    return fitted([Span(cursor, "accent"), *rest], line.width, ground)
