"""Review's header, its counts and its queue, as look.md lays them out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apollo_tui.log.read import RolloutRow
from apollo_tui.screens.format import (
    age,
    clean,
    count,
    cut_end,
    cut_middle,
    cut_tool,
)
from apollo_tui.screens.glyphs import Glyphs
from apollo_tui.screens.line import Line, Span, columns, fitted, on, two_sided
from apollo_tui.screens.lines import View, mark_sign, step_number
from apollo_tui.screens.marks import Place
from apollo_tui.screens.review_state import SECTIONS, ReviewState, Section, Spot
from apollo_tui.screens.review_tally import Tally
from apollo_tui.screens.widgets.header import core_spans, wide

if TYPE_CHECKING:
    from apollo_tui.filter.verdicts import Verdict

ORDER_NAMES = {
    "transcript": "as it happened",
    "rule": "by rule",
    "disagreement": "judge against rules",
    "sample": "drawn at random",
}
BRIEF = {"decided": 0, "second": 3, "recent": 2}
"""Rows of a section that the cursor is not in; of what was decided long ago only the count."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What the header says besides the counts: the filter, and how far judge and people agree."""

    rules: int = 0
    judge: str | None = None
    kappa: float | None = None
    compared: int = 0
    settings_of: str = ""


def review_header(
    row: RolloutRow,
    state: ReviewState | None,
    heading: Heading,
    cells: int,
    glyphs: Glyphs,
    *,
    core: str,
) -> Line:
    name = cut_end(clean(row.name, ascii_only=glyphs.ascii), max(8, cells // 4), glyphs.cut)
    path = Span(f"  {glyphs.path}  ", "faint")
    left = [Span(" "), Span("apollo", "accent bold"), path, Span(name, "dim"), path]
    left.append(Span("review", "text bold"))
    if state is not None:
        left += _progress(state, cells)
    fields = core_spans(core, glyphs) if core else _filter(heading, glyphs)
    right: list[Span] = []
    for field in [fields] if core else fields:
        spans = [field] if isinstance(field, Span) else list(field)
        gap = [Span("   ")] if right else []
        if wide([*left, *right, *gap, *spans]) + 3 <= cells:
            right += [*gap, *spans]
    return two_sided(left, [*right, Span(" ")], cells, ground="surface")


def _progress(state: ReviewState, cells: int) -> list[Span]:
    tally, pace = state.tally, state.pace.a_minute
    spans = [Span("    " if cells >= 110 else "  "), Span(count(tally.read), "text bold")]
    spans.append(Span(f" of {count(tally.total)}", "dim"))
    if pace is not None:
        spans += [Span(f"   {_rate(pace)}", "text"), Span("/min", "dim")]
        if left := tally.marks[""]:
            spans += [Span(f"   {age(left / pace * 60)}", "text"), Span(" to go", "dim")]
    return spans


def _rate(pace: float) -> str:
    return f"{pace:.0f}" if pace >= 1 else f"{pace:.1f}"


def _filter(heading: Heading, glyphs: Glyphs) -> list[list[Span]]:
    """Fields of the header's right, the most telling first."""
    rules = [Span("filter ", "dim"), Span(f"{heading.rules} rules", "text")]
    if heading.judge is None:
        return [[*rules, Span(" no judge", "dim")]]
    judge = cut_end(clean(heading.judge, ascii_only=glyphs.ascii), 24, glyphs.cut)
    fields = [[*rules, Span(" + ", "dim"), Span(f"judge {judge}", "text")]]
    kappa = "kappa" if glyphs.ascii else "κ"
    if heading.kappa is not None:
        on_ = Span(f" on {count(heading.compared)}", "dim")
        value = Span(f"{heading.kappa:.2f}".replace("-", glyphs.minus), "text bold")
        fields.append([Span(f"agreement {kappa} ", "dim"), value, on_])
    else:
        said = "nothing to compare" if not heading.compared else f"{kappa} is not defined"
        fields.append([Span(f"agreement: {said}", "dim")])
    return fields


# --- the counts --------------------------------------------------------------------------------

_KINDS = (
    ("accept", "accepted", "running"),
    ("reject", "rejected", "masked"),
    ("unsure", "unsure", "paused"),
    ("reviewed", "reviewed", "dim"),
)


def counts_lines(tally: Tally, gate: str, cells: int, glyphs: Glyphs) -> list[Line]:
    """How far one has come as a bar, and the counts: unread is never counted as good."""
    return [_bar(tally, cells, glyphs), _counts(tally, gate, cells, glyphs)]


def _bar(tally: Tally, cells: int, glyphs: Glyphs) -> Line:
    room, total = max(1, cells - 2), max(1, tally.total)
    spans, used, seen = [Span(" ")], 0, 0
    for (kind, _, style), sign in zip(_KINDS, glyphs.densities, strict=True):
        seen += tally.marks[kind]
        upto = used
        if tally.marks[kind]:  # a few are seen too
            upto = min(room, max(used + 1, round(seen * room / total)))
        spans.append(Span(sign * (upto - used), style))
        used = max(used, upto)
    spans.append(Span(glyphs.light * (room - used), "line"))
    return fitted(spans, cells)


def _counts(tally: Tally, gate: str, cells: int, glyphs: Glyphs) -> Line:
    signs = {"accept": glyphs.accepted, "reject": glyphs.rejected, "unsure": glyphs.unsure}
    right = _export(tally, gate, glyphs)
    for words, gap in ((True, 4), (True, 2), (False, 2)):
        left = [Span(" ")]
        for kind, word, style in (*_KINDS, ("", "unread", "faint")):
            sign = signs.get(kind, glyphs.unread if not kind else "")
            many = Span(count(tally.marks[kind]), "text bold")
            lead = [Span(f"{sign} ", style)] if sign else []
            said = f" {word}" if words or not sign else ""
            left += [*lead, many, Span(said, "dim"), Span(" " * gap)]
        if wide([*left, *right]) < cells:
            return two_sided(left, [*right, Span(" ")], cells)
    short = [Span(count(tally.kept), "text bold"), Span(" kept, ", "dim")]
    short += [Span(count(tally.unread), "attention bold"), Span(" unread", "dim")]
    return two_sided(left, [*(short if not gate else []), Span(" ")], cells)


def _export(tally: Tally, gate: str, glyphs: Glyphs) -> list[Span]:
    """What an export would hold now."""
    spans = [Span("export now: ", "dim")]
    if gate:
        return [*spans, Span(f"nothing, it {clean(gate, ascii_only=glyphs.ascii)}", "attention")]
    spans += [Span(count(tally.kept), "text bold"), Span(" kept", "text")]
    if tally.unread:
        spans += [Span(", ", "text"), Span(count(tally.unread), "attention bold")]
        spans.append(Span(" of them nobody looked at", "text"))
    elif tally.kept:
        spans.append(Span(", all of them looked at", "text"))
    return spans


# --- the queue ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """A line of the queue, and the spot it stands for (None: a title, a count, a free row)."""

    line: Line
    spot: Spot | None = None


def queue_lines(
    state: ReviewState, view: View, height: int, top: dict[Section, int]
) -> list[Shown]:
    """At most `height` lines: the cursor's section as far as there is room, the others in brief.

    `top` is where each section's window begins; it is moved no more than the cursor needs.
    """
    here = state.spot.section
    free = 1 if height >= 18 else 0
    shown = [one for one in SECTIONS if one == here or (state.size(one) and height >= 12)]
    if height < 18:
        shown = [one for one in shown if one == here or one not in ("decided", "second")]
    if "unread" not in shown:
        shown.append("unread")
    brief = {one: min(state.size(one), BRIEF.get(one, 4)) for one in shown if one != here}
    brief = {
        one: many + (one != "decided" and many < state.size(one)) for one, many in brief.items()
    }
    titles = len(shown) + free * (len(shown) - 1)
    room = max(1, height - titles - sum(brief.values()))
    if here != "unread":  # what the cursor's section leaves free
        spare = max(0, room - max(1, state.size(here)))
        brief["unread"] = min(brief["unread"] + spare, max(1, state.size("unread")))
    lines: list[Shown] = []
    for index, section in enumerate(shown):
        if index and free:
            lines.append(Shown(fitted([], view.width)))
        lines.append(Shown(_title(section, state, view)))
        lines += _section(state, section, view, room if section == here else brief[section], top)
    return lines[:height]


def _title(section: Section, state: ReviewState, view: View) -> Line:
    names = {
        "decided": "decided",
        "second": "second look",
        "recent": "just now",
        "unread": "unread",
    }
    size = state.size(section)
    left = [Span(" "), Span(names[section], "text bold"), Span(f"  {count(size)}", "dim")]
    right = ""
    if section == "second":
        right = "aside, or others differ"
    elif section == "decided":
        right = "newest first"
    elif section == "unread" and size:
        right = ORDER_NAMES[state.order]
    room = view.width - wide(left) - 2
    return two_sided(
        left, [Span(cut_end(right, max(0, room), view.glyphs.cut), "faint")], view.width
    )


def _section(
    state: ReviewState, section: Section, view: View, room: int, top: dict[Section, int]
) -> list[Shown]:
    size = state.size(section)
    if not room:
        return []
    if not size:
        return [Shown(fitted([Span(" "), *_empty(state)], view.width))]
    rows = room - 1 if size > room else room
    start = top.get(section, 0)
    if section == state.spot.section:
        start = max(min(start, state.spot.index), state.spot.index - max(1, rows) + 1)
    elif section == "recent":
        start = size - rows
    start = top[section] = max(0, min(start, size - max(1, rows)))
    spots = [Spot(section, index) for index in range(start, min(size, start + max(1, rows)))]
    lines = [Shown(_row(state, spot, view), spot) for spot in spots]
    if size > room and room > 1:
        after = size - start - rows
        above = [f"{count(start)} above"] if start else []
        more = [f"{view.glyphs.cut} {count(after)} more"] if after else []
        said = "   ".join(above + more)
        lines.append(Shown(fitted([Span(" "), Span(said, "faint")], view.width)))
    return lines


def _empty(state: ReviewState) -> Sequence[Span]:
    if not state.tally.total:
        return [Span("No actions yet.", "dim")]
    return [
        Span("Nothing unread. ", "dim"),
        Span("E", "text bold"),
        Span(" exports what is kept.", "dim"),
    ]


def _row(state: ReviewState, spot: Spot, view: View) -> Line:
    place = state.place(spot)
    assert place is not None
    row, mark = state.row(place), state.seen(place)
    glyphs, cells = view.glyphs, view.width
    dim = spot.section == "recent"
    sign = mark_sign(mark.mark, glyphs) if mark is not None else Span(glyphs.unread, "faint")
    tool = 13 if cells >= 36 else max(4, cells - 24)
    parts = [(1, step_number(place[0])), (6, sign)]
    name = view.clean(row.action.tool) + (f".{place[1]}" if place[1] > 1 else "")
    parts.append((8, Span(cut_tool(name, tool, glyphs.cut), "dim")))
    if cells >= 52:
        said = cut_middle(view.clean(row.action.arguments), cells - 16 - 24, glyphs.cut)
        parts.append((22, Span(said, "dim" if dim else "text")))
    keep, who = verdict_words(state, spot, view)
    at = max(8 + tool + 1, cells - 16)
    parts += [
        (at, keep),
        (at + 6, Span(cut_end(who.text, max(0, cells - at - 6), glyphs.cut), who.style)),
    ]
    line = columns(parts, cells)
    first, last = state.chosen_spots
    if _between(first, spot, last):
        return on(line, "select", glyphs.cursor)
    return line


def _between(first: Spot, spot: Spot, last: Spot) -> bool:
    places = [(SECTIONS.index(one.section), one.index) for one in (first, spot, last)]
    return places[0] <= places[1] <= places[2]


def verdict_words(state: ReviewState, spot: Spot, view: View) -> tuple[Span, Span]:
    """keep or mask, and who says so, or why it is asked about."""
    place = state.place(spot)
    assert place is not None
    verdict, mark, said = state.shown(place), state.seen(place), state.words(place)
    if spot.section == "second" and (other := state.differs(place)):
        return _keep(verdict), Span(f"{view.glyphs.differs} {view.clean(other)}", "dim")
    if mark is not None and mark.mark == "unsure":
        return _keep(verdict), Span("aside", "dim")
    if verdict.by != "default":
        return _keep(verdict), Span(_decider(state, place, verdict, view), "dim")
    if mark is not None and mark.mark == "reviewed":
        return _keep(verdict), Span("read", "faint")
    if said is not None and said.suggested is not None:
        return Span("mask?", "attention"), Span("propagated", "dim")
    return _keep(verdict), Span("default", "faint")


def _decider(state: ReviewState, place: Place, verdict: Verdict, view: View) -> str:
    """Who or what decides: a rule's name, the judge, a person; of the annotator the reason."""
    if verdict.by != "human":
        return view.clean(verdict.rule) if verdict.by == "rule" else "judge"
    mark = state.standing(place)
    if mark is None:
        return ""
    mine = mark.annotator == view.annotator
    return view.clean(mark.code) if mine and mark.code else view.who(mark.annotator)


def _keep(verdict: Verdict) -> Span:
    return Span("keep", "text") if verdict.keep else Span("mask", "masked")
