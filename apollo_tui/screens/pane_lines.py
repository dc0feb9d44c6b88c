"""One live pane: its title rule, its line of numbers, and the transcript's live end. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apollo_tui.log.read import Entry, RolloutRow
from apollo_tui.screens.format import clean, cut_end, width
from apollo_tui.screens.line import Line, Span, fitted, two_sided
from apollo_tui.screens.lines import View, entry_lines, rule
from apollo_tui.screens.status import (
    measures,
    model_name,
    position,
    rollout_age,
    sandbox_name,
    spend,
    state_spans,
    waits_for,
)
from apollo_tui.screens.stream_lines import streaming_lines
from apollo_tui.screens.streams import Stream


def pane_title(row: RolloutRow, number: int, view: View, *, focused: bool) -> Line:
    state = state_spans(row, view.glyphs)
    right = [*state, Span(f"  {position(row)}  {rollout_age(row, view.now)}", "dim")]
    taken = sum(width(span.text) for span in right) + 10
    if view.width - taken < 8:
        right, taken = state, sum(width(span.text) for span in state) + 10
    name = cut_end(view.clean(row.name), max(4, view.width - taken), view.glyphs.cut)
    left = [Span(f"{number} ", "accent" if focused else "faint"), Span(name, "text bold")]
    return rule(left, right, view.width, view.glyphs, focused=focused)


def pane_numbers(row: RolloutRow, view: View) -> Line:
    """Model and sandbox at the left, or why it waits; measures and spend at the right."""
    left = [Span("  ")]
    said = waits_for(row, view.now, view.glyphs)
    if said:
        left.append(Span(f"{view.glyphs.waiting} {said}", "attention"))
    else:
        left.append(Span(f"{model_name(row, 24, view.glyphs)}  {sandbox_name(row)}", "faint"))
        if row.state in ("failed", "stopped") and row.why:
            style = "error" if row.state == "failed" else "dim"
            why = clean(row.why, ascii_only=view.glyphs.ascii)
            left.append(Span(f"   {cut_end(why, view.width // 2, view.glyphs.cut)}", style))
    right: list[Span] = []
    parts = measures(row, view.now)
    for label, value in parts[: 3 if view.width >= 64 else 1]:
        right += [Span(f"   {label} ", "faint"), Span(value, "text")]
    if paid := spend(row, view.glyphs):
        right.append(Span(f"   {paid}".rjust(9), "text bold"))
    if said and sum(width(span.text) for span in (*left, *right)) + 2 > view.width:
        right = []  # why it waits matters more
    return two_sided(left, right, view.width, cut=view.glyphs.cut)


def pane_body(
    row: RolloutRow,
    entries: Sequence[Entry],
    queued: Sequence[Entry],
    stream: Stream | None,
    view: View,
    height: int,
) -> list[Line]:
    """The last `height` lines, ending at the live end; `queued` is advice still to go in."""
    if height <= 0:
        return []
    view = replace(view, pane=True, submissions=row.max_submissions)
    live: list[Line] = []
    if stream is not None:
        limit = 1 if height < 6 else 2 if height < 12 else 3
        live = streaming_lines(stream, view, limit)
    lines: list[Line] = []
    before: Entry | None = None
    for entry in entries:
        lines += entry_lines(entry, view, before)
        before = entry
    for entry in queued:
        live += entry_lines(entry, view)
    if not lines and not live:
        lines = [fitted([Span("  "), Span(_empty(row), "dim")], view.width)]
    return [*lines, *live][-height:]


def _empty(row: RolloutRow) -> str:
    match row.state:
        case "pending":
            return "Not started yet."
        case "running":
            return "The model has been asked; no reply yet."
    return "No steps yet."
