"""The footer: keys by likelihood, dropping from the right; the last act and its undo at right."""

from __future__ import annotations

from collections.abc import Sequence

from apollo_tui.screens.format import clean, cut_end, width
from apollo_tui.screens.glyphs import Glyphs
from apollo_tui.screens.line import Line, Span, fitted, two_sided
from apollo_tui.screens.marks import Act
from apollo_tui.screens.widgets.rows import Rows

Hint = tuple[str, str]
"""A key and its label."""


class Footer(Rows):
    ground = "surface"


def footer_line(
    hints: Sequence[Hint],
    kept: Sequence[Hint],
    right: Sequence[Span],
    cells: int,
    *,
    off: frozenset[str] = frozenset(),
) -> Line:
    """`kept` (help and back) never drop; keys in `off` cannot be used now and are dim."""
    taken = sum(width(span.text) for span in right)
    room = cells + 2 - (taken + 3 if right else 0)  # nothing need follow the last label
    ending = _width(kept)
    shown: list[Hint] = []
    used = 1
    for hint in hints:
        needed = _width([hint])
        if used + needed + ending > room:
            break
        shown.append(hint)
        used += needed
    if right and used + ending > room:
        return footer_line(hints, kept, [], cells, off=off)
    left = [Span(" ")]
    for key, label in [*shown, *kept]:
        left += [
            Span(key, "faint" if key in off else "text bold"),
            Span(f" {label}   ", "faint" if key in off else "dim"),
        ]
    return two_sided(left, [*right, Span(" ")] if right else [], cells, ground="surface")


def _width(hints: Sequence[Hint]) -> int:
    return sum(width(key) + width(label) + 4 for key, label in hints)


def last_act(
    act: Act | None,
    on_its_way: bool,
    glyphs: Glyphs,
    elsewhere: str = "",
    *,
    short: bool = False,
) -> list[Span]:
    """`elsewhere` names the act's rollout where it is not the one that is shown; `short` leaves all
    but the steps away."""
    if act is None:
        return []
    signs = {
        "reject": (glyphs.rejected, "masked"),
        "accept": (glyphs.accepted, "running"),
        "unsure": (glyphs.unsure, "paused"),
    }
    sign, style = signs.get(act.now.kind, (glyphs.unread, "dim"))
    later = glyphs.progress if on_its_way else ""
    undo = [Span("u", "text bold"), Span(" undo", "dim")]
    if short and not elsewhere:
        said = f"{act.what.split()[0]}{later}"
        return [Span(sign, style), Span(said, "dim" if on_its_way else "text"), Span(" "), *undo]
    code = clean(act.now.code or "", ascii_only=glyphs.ascii)
    return [
        Span(f"{sign} ", style),
        Span(f"{act.words}{later}", "dim" if on_its_way else "text"),
        Span(f" {'-' if glyphs.ascii else '·'} {code}" if code else "", style),
        Span(f" of {elsewhere}" if elsewhere else "", "dim"),
        Span("   "),
        *undo,
    ]


def error_line(message: str, cells: int, glyphs: Glyphs) -> Line:
    said = cut_end(message, max(4, cells - 4), glyphs.cut)
    return fitted([Span(f" {glyphs.error} ", "error bold"), Span(said, "error")], cells, "surface")


def question_line(ask: Sequence[Span], answers: Sequence[Hint], cells: int) -> Line:
    """A question of the moment, in the row above the footer."""
    spans = [Span(" "), *ask]
    for key, label in answers:
        spans += [Span("     "), Span(key, "text bold"), Span(f" {label}", "dim")]
    return fitted(spans, cells, "select")
