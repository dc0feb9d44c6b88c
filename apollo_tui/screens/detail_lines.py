"""The right side of the rollout screen: its tabs, the budget, the advice. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from apollo_tui.log.read import AdviceRow, Entry, RolloutRow
from apollo_tui.screens.format import (
    ago,
    clean_lines,
    count,
    duration,
    fit,
    money,
    number,
    plural,
    tokens,
    width,
    wrap,
)
from apollo_tui.screens.line import Line, Span, fitted, two_sided
from apollo_tui.screens.lines import View, advice_fate, quoted
from apollo_tui.screens.status import spend, time_left, worked

TABS = ("action", "budget", "advice")
SHOWN = 4000
"""Lines of one text shown at most; the rest is in the log."""


def tab_lines(tabs: Sequence[tuple[str, int]], chosen: str, cells: int, view: View) -> list[Line]:
    """Words, the open one bold over a heavy rule; a count behind a word only if there is one."""
    words: list[Span] = []
    under: list[Span] = []
    for name, many in tabs:
        word = [Span(" "), Span(name, "text bold" if name == chosen else "dim")]
        if many:
            word.append(Span(f" {count(many)}", "faint"))
        word.append(Span(" "))
        wide = sum(width(span.text) for span in word)
        sign = view.glyphs.heavy if name == chosen else view.glyphs.light
        under.append(Span(sign * wide, "accent" if name == chosen else "line"))
        words += word
    rest = max(0, cells - sum(width(span.text) for span in under))
    under.append(Span(view.glyphs.light * rest, "line"))
    return [fitted(words, cells), fitted(under, cells)]


def blank(view: View) -> Line:
    return fitted([], view.width)


def title(name: str, right: str, view: View) -> Line:
    if width(name) + 2 + width(right) > view.width:
        right = ""
    return two_sided([Span(name, "text bold")], [Span(right, "faint")], view.width)


def field(name: str, spans: Sequence[Span], view: View) -> Line:
    return fitted([Span(fit(name, 10), "faint"), *spans], view.width)


def clock(at: int) -> str:
    """Local time of day; it always stands beside an age."""
    return datetime.fromtimestamp(at / 1e6).strftime("%H:%M")


def prose(text: str, view: View, thinking: bool) -> list[Line]:
    style = "dim italic" if thinking else "text"
    return [
        fitted([Span(piece, style)], view.width)
        for row in clean_lines(text.strip(), ascii_only=view.glyphs.ascii)[:SHOWN]
        for piece in wrap(row, view.width, mark=view.glyphs.cut)
    ]


def entry_detail(entry: Entry, view: View) -> list[Line]:
    """What is not an action: its text in full."""
    name = entry.kind if entry.kind != "notice" else entry.head.replace("_", " ")
    lines = [
        two_sided(
            [Span(f"{entry.step}  ", "faint"), Span(view.clean(name), "text bold")],
            [Span(f"at {clock(entry.at)}, {ago((view.now - entry.at) / 1e6)}", "dim")],
            view.width,
        ),
        blank(view),
    ]
    if entry.score is not None:
        lines.append(field("score", [Span(number(entry.score), "text bold")], view))
    return [*lines, *prose(entry.text, view, entry.kind == "thinking")]


# --- budget, advice ----------------------------------------------------------------------------


def budget_lines(row: RolloutRow, view: View) -> list[Line]:
    """What is used, and of what."""
    unlimited = Span("  no limit", "faint")
    used = worked(row, view.now)
    lines = [title("working time", "paused and waiting time is free", view)]
    if row.time_limit:
        left = time_left(row, view.now)
        lines.append(_bar(used / row.time_limit, view))
        rest = f"  {left} left" if left else ""
        lines.append(
            field(
                "worked",
                [
                    Span(duration(used), "text"),
                    Span(f" of {duration(row.time_limit)}{rest}", "dim"),
                ],
                view,
            )
        )
    else:
        lines.append(field("worked", [Span(duration(used), "text"), unlimited], view))
    lines += [blank(view), title("steps", "", view)]
    if row.step_limit:
        lines.append(_bar(row.step / row.step_limit, view))
        lines.append(
            field(
                "steps",
                [Span(count(row.step), "text"), Span(f" of {count(row.step_limit)}", "dim")],
                view,
            )
        )
    else:
        lines.append(field("steps", [Span(count(row.step), "text"), unlimited], view))
    lines.append(
        field(
            "actions",
            [
                Span(count(row.actions), "text"),
                Span(f"  {plural(row.errors, 'error')}, {plural(row.marks, 'mark')}", "dim"),
            ],
            view,
        )
    )
    lines += [
        blank(view),
        title("spend", "" if row.cost_complete else "prices are not all known", view),
    ]
    paid = spend(row, view.glyphs) or "nothing yet"
    if row.usd_limit and row.cost_usd is not None:
        lines.append(_bar(row.cost_usd / row.usd_limit, view))
    limit = Span(f" of {money(row.usd_limit)}", "dim") if row.usd_limit else unlimited
    lines.append(field("spent", [Span(paid, "text"), limit], view))
    cached = f" ({tokens(row.tokens_cached)} cached)" if row.tokens_cached else ""
    lines.append(
        field(
            "tokens",
            [
                Span(tokens(row.tokens_in), "text"),
                Span(f" in{cached}  ", "dim"),
                Span(tokens(row.tokens_out), "text"),
                Span(" out", "dim"),
            ],
            view,
        )
    )
    if row.max_submissions or row.submissions:
        lines += [blank(view), title("evaluations", "", view)]
        of = f" of {row.max_submissions}" if row.max_submissions else ""
        best = f"  best {number(row.score)}" if row.score is not None else "  no score yet"
        lines.append(
            field("used", [Span(count(row.submissions), "text"), Span(f"{of}{best}", "dim")], view)
        )
    return lines


def _bar(part: float, view: View) -> Line:
    cells = max(4, view.width - 6)
    filled = round(min(1.0, max(0.0, part)) * cells)
    style = "attention" if part >= 0.9 else "dim"
    return two_sided(
        [
            Span(view.glyphs.heavy * filled, style),
            Span(view.glyphs.light * (cells - filled), "line"),
        ],
        [Span(f"{min(999, round(part * 100))} %", "dim")],
        view.width,
    )


def advice_lines(advice: Sequence[AdviceRow], view: View) -> list[Line]:
    """The newest first."""
    if not advice:
        return [
            fitted(
                [
                    Span("No advice yet. ", "dim"),
                    Span("a", "text bold"),
                    Span(" writes some.", "dim"),
                ],
                view.width,
            )
        ]
    lines: list[Line] = []
    for one in sorted(advice, key=lambda row: -row.advice):
        styles = {"followed": "running", "ignored": "attention", "queued": "accent"}
        lines.append(
            two_sided(
                [
                    Span(f"{view.glyphs.advice} advice {one.advice}", "accent bold"),
                    Span(f"  {view.who(one.by)}", "dim"),
                ],
                [Span(one.state, styles.get(one.state, "dim"))],
                view.width,
            )
        )
        lines += quoted(one.text, view, "accent", column=0)
        fate = advice_fate(
            "delivered" if one.delivered_step else one.state, one.delivered_step, view
        )
        when = ago((view.now - one.queued_at) / 1e6)
        lines.append(fitted([Span("  "), *fate, Span(f"  written {when}", "faint")], view.width))
        lines.append(blank(view))
    return lines
