"""What needs you, below the panes: an ordered list, each with a sentence of reason."""

from __future__ import annotations

from collections.abc import Sequence

from apollo_tui.screens.format import age, clean, count, cut_end, fit
from apollo_tui.screens.glyphs import Glyphs
from apollo_tui.screens.line import Line, Span, two_sided
from apollo_tui.screens.lines import rule
from apollo_tui.screens.needs import Need
from apollo_tui.screens.widgets.rows import Rows

NAME = 16


class Attention(Rows):
    """The section under the panes."""


def attention_lines(
    needs: Sequence[Need], fine: int, now: int, cells: int, glyphs: Glyphs, rows: int
) -> list[Line]:
    """A title, then as many needs as `rows` allows; a sentence when there is none."""
    if rows <= 0:
        return []
    urgent = sum(need.urgent for need in needs)
    look = len(needs) - urgent
    if not needs:
        said = f"Nothing needs you. {count(fine)} fine." if fine else "Nothing needs you."
        return [rule([Span(said, "dim")], [], cells, glyphs)]
    title = []
    if urgent:
        verb = "needs" if urgent == 1 else "need"
        title.append(Span(f"{glyphs.needs} {urgent} {verb} you", "attention bold"))
    if look:
        title.append(Span(f"{'   ' if urgent else ''}{look} to look at", "dim"))
    lines = [rule(title, [], cells, glyphs)]
    name = min(NAME, max((len(need.name) for need in needs), default=0) + 1, cells // 4)
    name = max(name, 8)
    for need in needs[: rows - 1]:
        style = "attention bold" if need.urgent else "faint"
        step = f"step {need.step}" if cells >= 100 else f"{need.step}"
        right = [
            Span(f"  {step}", "dim"),
            Span(age((now - need.since) / 1e6).rjust(9 if cells >= 100 else 6), "dim"),
        ]
        room = cells - name - 5 - 2 - len(right[0].text) - len(right[1].text)
        title_of = cut_end(clean(need.name, ascii_only=glyphs.ascii), name, glyphs.cut)
        reason = cut_end(clean(need.reason, ascii_only=glyphs.ascii), max(0, room), glyphs.cut)
        left = [
            Span(" "),
            Span(glyphs.needs if need.urgent else glyphs.unread, style),
            Span(" "),
            Span(fit(title_of, name), "text bold" if need.urgent else "text"),
            Span("  "),
            Span(reason, "text" if need.urgent else "dim"),
        ]
        lines.append(two_sided(left, right, cells))
    return lines
