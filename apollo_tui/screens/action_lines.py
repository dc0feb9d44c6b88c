"""One action in full: what it was asked to do, what came of it, and how it is marked. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import replace

from apollo_tui.log.read import ActionDetail, Entry
from apollo_tui.screens.detail_lines import SHOWN, blank, clock, field, prose, title
from apollo_tui.screens.format import (
    ago,
    clean_lines,
    count,
    cut_end,
    cut_middle,
    duration,
    fit,
    money,
    plural,
    tokens,
    width,
    wrap,
)
from apollo_tui.screens.line import Line, Span, fitted, two_sided
from apollo_tui.screens.lines import View, result_of

_EDITED = {("old_string", "new_string"), ("old", "new"), ("before", "after")}


def action_lines(detail: ActionDetail, entry: Entry, view: View) -> list[Line]:
    """`entry` is the detail's own, with the mark the annotator sees."""
    view = replace(view, pane=False)
    lines = [_what(entry, view), blank(view)]
    lines += _ran(detail, entry, view)
    lines += [blank(view), *_arguments(detail, entry, view)]
    lines += [blank(view), *_observation(detail, entry, view)]
    lines += [blank(view), *_mark(entry, view)]
    if detail.thinking:
        lines += [blank(view), title("thinking", "", view), *prose(detail.thinking, view, True)]
    if detail.text:
        lines += [blank(view), title("text", "", view), *prose(detail.text, view, False)]
    return lines


def _what(entry: Entry, view: View) -> Line:
    words = {"reject": "rejected", "accept": "accepted", "unsure": "unsure", "reviewed": "read"}
    styles = {"reject": "masked", "accept": "running", "unsure": "paused"}
    said = words.get(entry.mark, "unread")
    tool = cut_end(view.clean(entry.tool), view.width // 2, view.glyphs.cut)
    ordinal = f".{entry.ordinal}" if entry.ordinal > 1 else ""
    room = view.width - width(tool) - len(str(entry.step)) - len(ordinal) - len(said) - 6
    about = (
        cut_middle(view.clean(entry.arguments), max(0, room), view.glyphs.cut) if room > 7 else ""
    )
    left = [
        Span(f"{entry.step}{ordinal}  ", "faint"),
        Span(tool, "text bold"),
        Span(f"  {about}", "text"),
    ]
    return two_sided(left, [Span(said, styles.get(entry.mark, "dim"))], view.width)


def _ran(detail: ActionDetail, entry: Entry, view: View) -> list[Line]:
    began = entry.started_at or entry.at
    passed = ago((view.now - began) / 1e6)
    if entry.state == "proposed":
        lines = [field("ran", [Span("not yet", "dim")], view)]
    else:
        taken = "still running"
        if entry.state == "finished":
            taken = _seconds(entry.seconds)
        # What was imported ran at a time that nobody knows.
        known = entry.state != "finished" or entry.started_at is not None
        at = f"  at {clock(began)}, {passed}" if known else ""
        lines = [field("ran", [Span(taken, "text"), Span(at, "dim")], view)]
    if entry.state == "finished":
        lines.append(field("result", _result(entry, view), view))
    if detail.tokens_in or detail.tokens_out:  # no call reads and writes nothing: not known
        lines.append(field("tokens", _tokens(detail), view))
    model = cut_end(view.clean(detail.model), view.width - 20, view.glyphs.cut)
    if detail.step_seconds or model:
        thought = [Span(duration(detail.step_seconds), "text")] if detail.step_seconds else []
        lines.append(field("model", [*thought, Span(f"  {model}", "dim")], view))
    return lines


def _tokens(detail: ActionDetail) -> list[Span]:
    sent = [Span(tokens(detail.tokens_in), "text"), Span(" in", "dim")]
    if detail.tokens_cached:
        sent.append(Span(f" ({tokens(detail.tokens_cached)} cached)", "dim"))
    sent += [Span(f"  {tokens(detail.tokens_out)}", "text"), Span(" out", "dim")]
    if detail.cost_usd is not None:
        sent.append(Span(f"  {money(detail.cost_usd)}", "text"))
    return sent


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "for an unknown time"
    return f"{seconds:.1f}s" if seconds < 10 else duration(seconds)


def _result(entry: Entry, view: View) -> list[Span]:
    spans: list[Span] = []
    bad = (
        entry.error or bool(entry.exit_code) or entry.disposition not in ("completed", "background")
    )
    if bad:
        shown = result_of(entry, view)
        spans.append(Span(shown.text, shown.style))
        if entry.disposition != "completed":
            spans.append(Span(f"  {entry.disposition}", "dim"))
    elif entry.disposition == "background":
        spans.append(Span("still running behind", "running"))
    elif entry.exit_code == 0:
        spans.append(Span("exit 0", "text"))
    elif entry.added is None and entry.removed is None:
        said = (
            f"done, {plural(entry.lines, 'line')} of output" if entry.lines else "done, no output"
        )
        spans.append(Span(said, "text"))
    if entry.added is not None or entry.removed is not None:
        added, removed = plural(entry.added or 0, "line"), count(entry.removed or 0)
        lead = "  " if spans else ""
        spans.append(Span(f"{lead}{added} added, {removed} removed", "dim" if spans else "text"))
    if entry.synthetic:
        spans.append(Span("  observation made by the program", "attention"))
    return spans


def _arguments(detail: ActionDetail, entry: Entry, view: View) -> list[Line]:
    try:
        arguments = json.loads(detail.arguments)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        return [title("arguments", "not a JSON object", view), *_code(detail.arguments, view)]
    names = ", ".join(str(name) for name in arguments)
    lines = [title("arguments", cut_end(view.clean(names), view.width - 12, view.glyphs.cut), view)]
    if not arguments:
        return [title("arguments", "none", view)]
    edited = next((pair for pair in _EDITED if all(name in arguments for name in pair)), None)
    start = arguments.get("start", arguments.get("start_line", 1))
    first = start if isinstance(start, int) and tool_edits(entry.tool) else 1
    for name, value in arguments.items():
        if edited and name == edited[0]:
            lines += _difference(str(value), str(arguments[edited[1]]), view)
        elif edited and name == edited[1]:
            continue
        else:
            lines += _argument(str(name), value, entry.tool, first, view)
    return lines


def tool_edits(tool: str) -> bool:
    return tool in ("create_file", "edit_file", "write_file")


def _argument(name: str, value: object, tool: str, first: int, view: View) -> list[Line]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    label = view.clean(name)
    if "\n" not in text and width(label) + 2 + len(text) <= view.width - 2:
        return [fitted([Span(f"  {label}  ", "faint"), Span(view.clean(text), "text")], view.width)]
    lines = [fitted([Span(f"  {label}", "faint")], view.width)]
    if name == "content" and tool_edits(tool):
        rows = text.removesuffix("\n").split("\n")
        return _numbered([("+", row) for row in rows], view, first)
    return lines + _code(text, view)


def _difference(old: str, new: str, view: View) -> list[Line]:
    rows: list[tuple[str, str]] = []
    for row in difflib.ndiff(old.split("\n"), new.split("\n")):
        sign, text = row[:1], row[2:]
        if sign != "?":
            rows.append((sign.strip(), text))
    return _numbered(rows, view)


def _numbered(rows: Sequence[tuple[str, str]], view: View, first: int = 1) -> list[Line]:
    """Rows of a difference: what goes on the error tint, what comes on the trained tint."""
    styles = {"+": ("running", "trained-bg"), "-": ("error", "error-bg"), "": ("dim", "")}
    lines = []
    number_of = first
    for sign, row in rows[:SHOWN]:
        style, ground = styles[sign]
        shown = {"-": view.glyphs.minus}.get(sign, sign or " ")
        text = view.clean(row.expandtabs(4))
        tone = "text" if sign else "dim"
        for index, piece in enumerate(_chopped(text, view.width - 10)):
            place = str(number_of).rjust(5) if index == 0 else " " * 5
            lead = f"  {shown if index == 0 else ' '}  "
            spans = [Span(place, "faint"), Span(lead, style), Span(piece, tone)]
            lines.append(fitted(spans, view.width, ground))
        number_of += sign != "-"
    return lines


def _code(text: str, view: View) -> list[Line]:
    rows = clean_lines(text, ascii_only=view.glyphs.ascii)
    return [
        fitted([Span("  "), Span(piece, "text")], view.width)
        for row in rows[:SHOWN]
        for piece in _chopped(row, view.width - 3)
    ]


def _chopped(text: str, cells: int) -> list[str]:
    """A line of code in pieces: its spaces are kept."""
    cells = max(4, cells)
    pieces = []
    while width(text) > cells:
        piece = fit(text, cells).rstrip() if not text.isascii() else text[:cells]
        space = piece.rfind(" ")
        if space > cells * 2 // 3:
            piece = piece[: space + 1]
        piece = piece or text[:1]
        pieces.append(piece)
        text = text[len(piece) :]
    return [*pieces, text]


def _observation(detail: ActionDetail, entry: Entry, view: View) -> list[Line]:
    text = detail.output if detail.output is not None else detail.observation
    if entry.state != "finished" and not text:
        return [title("observation", "not yet", view)]
    rows = clean_lines(text.rstrip("\n"), ascii_only=view.glyphs.ascii)
    lines = [title("observation", plural(len(rows), "line") if text else "empty", view)]
    style = "error" if entry.error or entry.exit_code else "dim"
    if not text:
        return lines
    lines += [
        fitted([Span(piece, style)], view.width)
        for row in rows[:SHOWN]
        for piece in _chopped(row, view.width)
    ]
    if len(rows) > SHOWN:
        lines.append(
            fitted([Span(f"{count(len(rows) - SHOWN)} more lines in the log", "faint")], view.width)
        )
    return lines


def _mark(entry: Entry, view: View) -> list[Line]:
    lines = [title("mark", "", view)]
    if not entry.mark:
        lines.append(fitted([Span("No mark. ", "dim"), *_keys()], view.width))
        return lines
    words = {"reject": ("rejected", "masked"), "accept": ("accepted", "running")}
    word, style = words.get(entry.mark, (entry.mark, "paused"))
    when = f", {ago((view.now - entry.mark_at) / 1e6)}" if entry.mark_at else ""
    spans = [Span(word, f"{style} bold"), Span(f"  {view.who(entry.mark_by)}{when}", "dim")]
    if entry.code:
        spans.append(Span(f"  {view.clean(entry.code)}", style))
    lines.append(fitted(spans, view.width))
    if entry.note:
        lines += [
            fitted([Span(row, "text")], view.width)
            for row in wrap(view.clean(entry.note), view.width, mark=view.glyphs.cut)
        ]
    return lines


def _keys() -> list[Span]:
    return [
        Span("x", "text bold"),
        Span(" reject  ", "dim"),
        Span("c", "text bold"),
        Span(" accept  ", "dim"),
        Span("-", "text bold"),
        Span(" unsure", "dim"),
    ]
