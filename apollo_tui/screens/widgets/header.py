"""The header: path, state and position at the left; what can run out at the right."""

from __future__ import annotations

from collections.abc import Sequence

from apollo_tui.log.read import RolloutRow
from apollo_tui.screens.format import clean, count, size, width
from apollo_tui.screens.glyphs import Glyphs
from apollo_tui.screens.line import Line, Span, fitted, two_sided
from apollo_tui.screens.needs import Need
from apollo_tui.screens.status import (
    measures,
    model_name,
    position,
    rollout_age,
    sandbox_name,
    spend,
    state_spans,
    total_spend,
)
from apollo_tui.screens.widgets.rows import Rows


class Header(Rows):
    ground = "surface"


def home_header(
    rows: Sequence[RolloutRow],
    needs: Sequence[Need],
    cells: int,
    glyphs: Glyphs,
    *,
    core: str,
    disk: int | None,
    page: tuple[int, int] = (1, 1),
) -> Line:
    """`core` is what there is to say about the core, "" when all is well; `disk` in free bytes."""
    words = cells >= 110
    left = [Span(" "), Span("apollo", "accent bold")]
    total = len(rows)
    noun = (" rollout" if total == 1 else " rollouts") if words else ""
    left.append(
        Span(f"{'    ' if words else '  '}{count(total)}{noun}", "dim" if words else "text")
    )
    gap = "   " if words else "  "
    for number, sign, word, style in _counts(rows, needs, glyphs):
        said = word if words else ""
        left += [Span(gap), Span(f"{sign} {number}{said}", style)]
    if page[1] > 1:
        left.append(Span(f"{gap}page {page[0]}/{page[1]}", "dim"))
    right = core_spans(core, glyphs)
    if not core:
        if disk is not None:
            label = [Span("disk ", "dim")] if words else []
            right += [*label, Span(size(disk), "error" if disk < 2e9 else "text")]
        if paid := total_spend(rows):
            right.append(Span(f"{'    ' if words else '  '}{paid}", "text bold"))
    return two_sided(left, [*right, Span(" ")], cells, ground="surface")


def _counts(
    rows: Sequence[RolloutRow], needs: Sequence[Need], glyphs: Glyphs
) -> list[tuple[int, str, str, str]]:
    urgent = sum(need.urgent for need in needs)

    def having(*states: str) -> int:
        return sum(row.state in states for row in rows)

    found = [
        (urgent, glyphs.needs, " needs you" if urgent == 1 else " need you", "attention bold"),
        (having("running", "summarising", "evaluating"), glyphs.running, " running", "running"),
        (having("paused", "frozen"), glyphs.paused, " paused", "paused"),
        (having("pending"), glyphs.waiting, " pending", "dim"),
        (having("finished"), glyphs.finished, " finished", "running"),
        (having("failed"), glyphs.error, " failed", "error"),
        (having("stopped"), glyphs.unread, " stopped", "dim"),
    ]
    return [one for one in found if one[0]]


def core_spans(core: str, glyphs: Glyphs) -> list[Span]:
    if not core:
        return []
    gone = "gone" in core or "no core" in core
    sign, style = (glyphs.error, "error bold") if gone else (glyphs.running, "running")
    return [Span(f"{sign} {core}", style)]


def rollout_header(row: RolloutRow, now: int, cells: int, glyphs: Glyphs, *, core: str) -> Line:
    name = clean(row.name, ascii_only=glyphs.ascii)
    path = [Span("apollo", "accent bold"), Span(f"  {glyphs.path}  ", "faint")]
    left = [
        Span(" "),
        *(path if cells >= 60 else []),
        Span(name, "text bold"),
        Span("    " if cells >= 110 else "  "),
        *state_spans(row, glyphs),
    ]
    where = [Span(f"  {position(row)}", "dim"), Span(f"  {rollout_age(row, now)}", "dim")]
    right = core_spans(core, glyphs)
    if core or cells >= 110:
        left += where
    if not core:
        told = measures(row, now)[:3]
        if cells < 110:
            told = [one for one in told if one[0] == "score"]
        for label, value in told:
            main, slash, rest = value.partition("/")
            right += [
                Span(f"{label} ", "dim"),
                Span(main, "text bold" if label == "score" else "text"),
            ]
            right.append(Span(f"{slash}{rest}    ", "dim"))
        if paid := spend(row, glyphs):
            right.append(Span(paid, "text"))
            if row.usd_limit is not None:
                right.append(Span(f"/{row.usd_limit:g}", "dim"))
    right = [*_trimmed(right), Span(" ")]
    if cells < 60 and wide([*left, *right]) + 2 > cells:
        right = []  # which rollout it is, and where it acts, matters more
    if not core:
        model = model_name(row, 24, glyphs)
        wider = [Span(f"    {model}", "dim"), Span(f"  {sandbox_name(row)}", "dim")]
        for field in where if cells < 110 else wider:
            if wide([*left, field, *right]) + 2 <= cells:
                left.append(field)
    return two_sided(left, right, cells, ground="surface", cut=glyphs.cut)


def wide(spans: Sequence[Span]) -> int:
    return sum(width(span.text) for span in spans)


def _trimmed(spans: list[Span]) -> list[Span]:
    """Without the separator that a last field left behind."""
    if spans and not spans[-1].text.strip():
        return spans[:-1]
    return spans


def plain_header(cells: int) -> Line:
    return fitted([Span("80×24 shows more", "dim")], cells, "surface")
