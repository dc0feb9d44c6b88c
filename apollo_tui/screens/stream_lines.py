"""The lines of a reply that is still arriving. Few of them change with each piece: bytes count."""

from __future__ import annotations

from apollo_tui.screens.format import cut_end, cut_tool, width, wrap
from apollo_tui.screens.line import Line, Span, columns, fitted
from apollo_tui.screens.lines import BODY, RESULT, STEP, View, step_number
from apollo_tui.screens.streams import Stream


def streaming_lines(stream: Stream, view: View, limit: int) -> list[Line]:
    """At most `limit` lines of `view.width` cells: the text's end, or the action it proposes.

    Longer text does not roll line by line: it jumps by nearly `limit` lines, and once `limit`
    lines have been taken they are kept, so that nothing above them moves.
    """
    if not stream.tool:
        return _text(stream, view, limit, live=True)
    above = _text(stream, view, limit - 1, live=False) if limit > 1 and stream.text else []
    return [*above, _action(stream, view, numbered=not above)]


def _text(stream: Stream, view: View, limit: int, *, live: bool) -> list[Line]:
    room = max(4, view.width - BODY - 1)
    wrapped = wrap(view.clean(_recent(stream.text, room * (limit + 4))), room)
    jump = max(1, limit - 1)
    first = max(0, -(-(len(wrapped) - limit) // jump) * jump)
    shown = wrapped[first : first + limit]
    lines = []
    for index, piece in enumerate(shown):
        parts = [(STEP, step_number(stream.step))] if index == 0 else []
        parts.append((BODY, Span(piece, "dim italic")))
        if live and index == len(shown) - 1:
            parts.append((BODY + width(piece), Span(view.glyphs.live, "accent")))
        lines.append(columns(parts, view.width))
    padding = limit - len(shown) if len(wrapped) > limit else 0
    return [*lines, *[fitted([], view.width)] * padding]


def _recent(text: str, block: int) -> str:
    """The end of a text, from a place that stays the same while the text grows by a block."""
    start = max(0, len(text) // block - 1) * block
    return text[start:]


def _action(stream: Stream, view: View, *, numbered: bool) -> Line:
    at = BODY + view.tool + 1
    room = max(0, view.width - at - RESULT - 1)
    arguments = cut_end(view.clean(stream.arguments[: room * 2]), room, view.glyphs.cut)
    parts = [(STEP, step_number(stream.step))] if numbered else []
    parts += [
        (BODY, Span(cut_tool(view.clean(stream.tool), view.tool, view.glyphs.cut), "dim")),
        (at, Span(arguments, "text")),
        (at + width(arguments), Span(view.glyphs.live, "accent")),
    ]
    return columns(parts, view.width)
