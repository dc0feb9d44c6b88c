"""A message of a segment with the loss mask in its gutter. Pure.

Columns: the cursor at 0, what it is at 1, the gutter, the text. Only replies can have a mask; all else
is context, and its gutter is blank.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from apollo_tui.screens.format import clean_lines, count, cut_tool, fit, width, wrap
from apollo_tui.screens.line import Line, Span, fitted
from apollo_tui.screens.lines import View
from apollo_tui.screens.observed import Told, readable, telling

Tint = Literal["read", "unread", "masked", "context"]

MOST = 200
"""Lines of one part that are shown; the whole of it is on the rollout's screen."""
TAIL = 6
"""Lines of the observation of the action under the cursor; of others one."""

_STYLES: dict[Tint, tuple[str, str]] = {
    "read": ("running", "trained-bg"),
    "unread": ("running", "trained-bg"),
    "masked": ("masked", "masked-bg"),
    "context": ("text", ""),
}


@dataclass(frozen=True, slots=True)
class ReplyMask:
    """How a reply's thinking and text, and each of its calls, train; `step` 0: it was carried over."""

    step: int = 0
    prose: Tint = "context"
    calls: tuple[Tint, ...] = ()

    def call(self, ordinal: int) -> Tint:
        return self.calls[ordinal - 1] if ordinal <= len(self.calls) else "context"


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line, and the part of a reply it shows: 0 thinking and text, else a call's ordinal; None: no
    reply."""

    line: Line
    part: int | None = None


def message_lines(
    message: dict[str, Any],
    masked: ReplyMask,
    view: View,
    *,
    whole: bool = False,
    told: Told | None = None,
) -> list[TextLine]:
    """Every line is `view.width` cells. `whole` shows more of an observation, of which the log says
    what is `told`. Raises ValueError when this is no message of the log."""
    match message.get("role"):
        case "assistant":
            return _reply(message, masked, view)
        case "tool":
            return _unfolded(message, view) if whole else _observation(message, view, told)
        case "user":
            return _told(message, view)
        case "system":
            return _folded("system", str(message.get("text", "")), view, 1)
    raise ValueError("it is no message")


def damaged(why: str, view: View) -> list[TextLine]:
    said = view.clean(why)
    label = Span(fit(f" {view.glyphs.error} damaged", _text_at(view)), "error bold")
    return [
        TextLine(
            fitted([label if not n else Span(" " * _text_at(view)), Span(row, "error")], view.width)
        )
        for n, row in enumerate(wrap(said, _room(view), 4, view.glyphs.cut))
    ]


def cursor_on(lines: Sequence[TextLine], ordinal: int, view: View) -> list[Line]:
    """The lines with those of an action, and of the thinking that led to it, under the cursor."""
    shown = []
    for one in lines:
        if one.part in (0, ordinal) and one.line.text.strip():
            label = fitted(one.line.spans, _label(view) + 1).spans
            rest = one.line.spans[len(label) :]
            marked = [Span(view.glyphs.cursor, "accent", "select")]
            text = "".join(span.text for span in label)[1:]
            marked.append(Span(text, "text", "select"))
            shown.append(Line((*marked, *rest), one.line.ground))
        else:
            shown.append(one.line)
    return shown


# --- columns -----------------------------------------------------------------------------------


def _label(view: View) -> int:
    """Cells of the column that says what stands beside it."""
    return 18 if view.width >= 84 else 13


def _text_at(view: View) -> int:
    return _label(view) + 3


def _room(view: View) -> int:
    return max(8, view.width - _text_at(view) - 1)


def _line(label: Span, sign: Span, text: Span, view: View, ground: str = "") -> Line:
    tinted = [Span(sign.text, sign.style, ground), Span(" ", "text", ground)]
    body = Span(fit(text.text, _room(view) + 1), text.style, ground)
    head = Span(fit(f" {label.text}", _label(view) + 1), label.style)
    return fitted([head, *tinted, body], view.width)


# --- what the model said -----------------------------------------------------------------------


def _reply(message: dict[str, Any], masked: ReplyMask, view: View) -> list[TextLine]:
    thinking = "".join(str(block.get("text", "")) for block in message.get("thinking", ()))
    parts: list[TextLine] = []
    number = f"{masked.step} " if masked.step else ""
    for name, text in (("thinking", thinking), ("text", str(message.get("text", "")))):
        if text.strip():
            rows = _wrapped(text.strip(), view)
            if view.free_rows and not parts:
                parts.append(TextLine(fitted([], view.width)))
            parts += _part(number + name, rows, masked.prose, 0, view)
    for ordinal, call in enumerate(message.get("actions", ()), 1):
        said = call.get("malformed")
        if said is None:
            said = json.dumps(call.get("arguments", {}), ensure_ascii=False)
        tool = cut_tool(
            view.clean(str(call.get("tool", ""))), _label(view) - 1 - len(number), view.glyphs.cut
        )
        parts += _part(
            number + tool, _chopped(str(said), view), masked.call(ordinal), ordinal, view
        )
    if not parts:
        parts += _part(f"{number}reply", ["empty"], "context", 0, view)
    return parts


def _part(label: str, rows: list[str], tint: Tint, part: int, view: View) -> list[TextLine]:
    style, ground = _STYLES[tint]
    hidden = len(rows) - MOST
    if hidden > 0:
        rows = [*rows[:MOST], f"{view.glyphs.cut} {count(hidden)} more lines; enter opens the step"]
    tone = "dim" if tint == "masked" else "text"
    named = "masked" if tint == "masked" else "dim"
    return [
        TextLine(
            _line(
                Span(label if not y else "", named),
                Span(_sign(tint, y, view), style),
                Span(row, tone),
                view,
                ground,
            ),
            part,
        )
        for y, row in enumerate(rows)
    ]


def _sign(tint: Tint, y: int, view: View) -> str:
    glyphs = view.glyphs
    match tint:
        case "read":
            return glyphs.trains_read
        case "unread":
            return glyphs.trains_unread
        case "masked":
            return glyphs.masked if y else glyphs.rejected
    return " "


def _wrapped(text: str, view: View) -> list[str]:
    return [
        piece
        for row in clean_lines(text, ascii_only=view.glyphs.ascii)[: MOST + 1]
        for piece in wrap(row, _room(view), mark=view.glyphs.cut)
    ]


def _chopped(text: str, view: View) -> list[str]:
    """A call as it was sent, its spaces kept."""
    room = _room(view)
    rows: list[str] = []
    rest = view.clean(text[: (MOST + 2) * room])
    while rest:
        piece = fit(rest, room).rstrip(" ") if not rest.isascii() else rest[:room]
        piece = piece or rest[:1]
        rows.append(piece)
        rest = rest[len(piece) :]
    left = len(text) - (MOST + 2) * room
    return rows + [""] * max(0, left // room) if left > 0 else rows or [""]


# --- context -----------------------------------------------------------------------------------


def _observation(message: dict[str, Any], view: View, told: Told | None) -> list[TextLine]:
    """The line of an observation that tells most."""
    if told is None or not told.summary:
        told = telling(str(message.get("text", "")), ascii_only=view.glyphs.ascii)
    return _observed(message, [view.clean(told.summary) or "nothing"], told.lines, view)


def _unfolded(message: dict[str, Any], view: View) -> list[TextLine]:
    """The end of an observation: that is where it says how it went."""
    rows = readable(str(message.get("text", "")), ascii_only=view.glyphs.ascii)
    room = max(8, _room(view) - width(_lines_in_all(len(rows), view)))
    shown = [piece for row in rows[-TAIL:] for piece in wrap(row[-TAIL * room :], room)][-TAIL:]
    return _observed(message, shown or ["nothing"], len(rows) if len(rows) > TAIL else 0, view)


def _observed(
    message: dict[str, Any], shown: Sequence[str], in_all: int, view: View
) -> list[TextLine]:
    style = "error" if message.get("error") else "dim"
    lines = []
    for y, row in enumerate(shown):
        last = y == len(shown) - 1
        ending = _lines_in_all(in_all, view) if last and in_all > 1 else ""
        text = wrap(row, max(8, _room(view) - width(ending)), 1, view.glyphs.cut)[0] + ending
        label = Span("" if y else "observation", "faint")
        lines.append(TextLine(_line(label, Span(" "), Span(text, style), view)))
    return lines


def _lines_in_all(many: int, view: View) -> str:
    return f" {view.glyphs.cut} {count(many)} lines"


def _told(message: dict[str, Any], view: View) -> list[TextLine]:
    source, text = str(message.get("source", "task")), str(message.get("text", ""))
    if source != "advice":
        return _folded(source, text, view, 2)
    lines = []
    for y, row in enumerate(_wrapped(text.strip(), view)):
        sign = Span(view.glyphs.quote if y else view.glyphs.advice, "accent")
        label = Span("" if y else "advice", "accent")
        lines.append(TextLine(_line(label, sign, Span(row, "text"), view)))
    blank = TextLine(fitted([], view.width))
    return [blank, *lines] if view.free_rows else lines


def _folded(label: str, text: str, view: View, most: int) -> list[TextLine]:
    rows = [row for row in clean_lines(text.strip(), ascii_only=view.glyphs.ascii) if row.strip()]
    ending = f" {view.glyphs.cut} {count(len(rows))} lines" if len(rows) > 1 else ""
    room = _room(view)
    pieces = wrap(rows[0] if rows else "empty", room, most, view.glyphs.cut)
    if ending:
        last = wrap(pieces[-1], max(8, room - width(ending)), 1, view.glyphs.cut)[0]
        pieces = [*pieces[:-1], last + ending]
    name = cut_tool(view.clean(label), _label(view) - 1, view.glyphs.cut)
    return [
        TextLine(_line(Span("" if y else name, "faint"), Span(" "), Span(piece, "dim"), view))
        for y, piece in enumerate(pieces)
    ]
