"""The rows of a transcript, as look.md's table lays them out: an entry in, lines out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from apollo_tui.log.read import AdviceRow, Entry
from apollo_tui.screens.format import (
    age,
    ago,
    clean,
    clean_lines,
    count,
    cut_end,
    cut_middle,
    cut_tool,
    duration,
    head,
    number,
    plural,
    width,
    wrap,
)
from apollo_tui.screens.glyphs import UNICODE, Glyphs
from apollo_tui.screens.line import Line, Span, columns, fitted, two_sided

STEP, MARK, BODY, RESULT = 1, 6, 8, 9
"""Columns: where the step begins, the mark, the tool or text; the result's width at the right."""


@dataclass(frozen=True, slots=True)
class View:
    """How a row is to be shown: `width` cells at `now` (UTC µs), to this annotator."""

    width: int
    now: int
    annotator: str = ""
    glyphs: Glyphs = UNICODE
    tool: int = 16
    pane: bool = False
    free_rows: bool = False  # a free row before thinking that follows output, and around advice
    brief: bool = False  # a small pane: advice and questions in two lines
    opened: bool = False  # the thinking in full
    submissions: int | None = None  # how many the task allows

    def clean(self, text: str) -> str:
        return clean(text, ascii_only=self.glyphs.ascii)

    def who(self, name: str | None) -> str:
        return "you" if name == self.annotator else self.clean(name or "")


def entry_lines(entry: Entry, view: View, before: Entry | None = None) -> list[Line]:
    """Every line is exactly `view.width` cells; `before` is the entry above, if there is one."""
    match entry.kind:
        case "thinking":
            lines = _thinking(entry, view)
        case "action":
            lines = _action(entry, view)
        case "advice":
            lines = _advice(entry, view)
        case "question":
            lines = _question(entry, view)
        case "submission":
            lines = _submission(entry, view)
        case _:
            lines = _notice(entry, view)
    if view.free_rows and before is not None and _free_row(before, entry):
        blank = fitted([], view.width)
        return [blank, *lines]
    return lines


def _free_row(before: Entry, entry: Entry) -> bool:
    if entry.kind == "advice" or before.kind == "advice":
        return True
    return entry.kind == "thinking" and before.kind != "thinking"


def mark_sign(mark: str, glyphs: Glyphs) -> Span:
    match mark:
        case "reject":
            return Span(glyphs.rejected, "masked")
        case "accept":
            return Span(glyphs.accepted, "running")
        case "unsure":
            return Span(glyphs.unsure, "paused")
    return Span(" ")


def step_number(step: int) -> Span:
    """Four cells, right; five from 10,000 on."""
    text = str(step)
    return Span(text[-5:] if len(text) > 4 else text.rjust(4), "faint")


# --- action and observation --------------------------------------------------------------------


def _action(entry: Entry, view: View) -> list[Line]:
    result = result_of(entry, view)
    rejected = entry.mark == "reject"
    tool = min(view.tool, max(6, view.width - BODY - RESULT - 8))
    at = BODY + tool + 1
    room = max(0, view.width - at - RESULT - 1)
    parts: list[tuple[int, Span]] = []
    if entry.ordinal <= 1:
        parts.append((STEP, step_number(entry.step)))
    parts.append((MARK, mark_sign(entry.mark, view.glyphs)))
    name = cut_tool(view.clean(entry.tool), tool, view.glyphs.cut)
    parts.append((BODY, Span(name, "dim")))
    code = view.clean(entry.code or "") if view.pane and rejected else ""
    for_code = width(code) + 2 if code else 0
    arguments = cut_middle(view.clean(entry.arguments), max(8, room - for_code), view.glyphs.cut)
    parts.append((at, Span(head(arguments, room), "dim" if rejected else "text")))
    if code:
        parts.append((at + width(arguments) + 2, Span(code, "masked")))
    left = columns(parts, max(0, view.width - width(result.text) - 1))
    lines = [fitted([*left.spans, Span(" "), result], view.width)]
    lines += _observation(entry, view)
    if not view.pane:
        lines += _reason(entry, view)
    return lines


def result_of(entry: Entry, view: View) -> Span:
    """What came of an action, at most nine cells; never a bare ok."""
    glyphs = view.glyphs
    if entry.state == "proposed":
        return Span("waits", "faint")
    since = (view.now - (entry.started_at or entry.at)) / 1e6
    if entry.state == "running":
        return Span(
            f"{glyphs.progress} {age(since)}" if since >= 60 else glyphs.progress, "running"
        )
    if entry.disposition == "background":
        return Span(f"{glyphs.job} {age(since)}", "running")
    if entry.disposition == "unknown":
        return Span("unknown", "attention bold")
    if entry.disposition in ("timeout", "killed", "invalid"):
        return Span(entry.disposition, "error bold")
    if entry.disposition == "interrupted":
        return Span("cut short", "attention")
    if entry.exit_code:
        return Span(f"exit {entry.exit_code}"[:RESULT], "error bold")
    if entry.error or entry.disposition == "failed":
        return Span("failed", "error bold")
    if entry.added is not None or entry.removed is not None:
        return Span(_edit(entry.added or 0, entry.removed or 0, glyphs), "dim")
    return Span("done" if entry.seconds is None else duration(entry.seconds), "dim")


def _edit(added: int, removed: int, glyphs: Glyphs) -> str:
    parts = [f"+{added}"] if added or not removed else []
    if removed:
        parts.append(f"{glyphs.minus}{removed}")
    return " ".join(parts)[:RESULT]


def _observation(entry: Entry, view: View) -> list[Line]:
    edited = entry.added is not None or entry.removed is not None
    said = entry.summary.strip()
    if not said or (edited and not entry.error) or (entry.tool == "think" and not entry.error):
        return []
    folded = Span(f"{count(entry.lines)} lines", "faint") if entry.lines > 1 else Span("")
    room = view.width - BODY - 2 - (width(folded.text) + 2 if folded.text else 0)
    telling = cut_end(view.clean(said), max(0, room), view.glyphs.cut)
    left = columns(
        [
            (BODY, Span(view.glyphs.output + " ", "faint")),
            (BODY + 2, Span(telling, "error" if entry.error or entry.exit_code else "dim")),
        ],
        max(0, view.width - width(folded.text)),
    )
    return [fitted([*left.spans, folded], view.width)]


def _reason(entry: Entry, view: View) -> list[Line]:
    if not (entry.code or entry.note) or entry.mark not in ("reject", "accept", "unsure"):
        return []
    sign = mark_sign(entry.mark, view.glyphs)
    style = sign.style
    when = ago((view.now - entry.mark_at) / 1e6) if entry.mark_at else ""
    trailer = ", ".join(part for part in (view.who(entry.mark_by), when) if part)
    code = view.clean(entry.code or "")
    room = view.width - BODY - 2 - (width(code) + 2 if code else 0) - width(trailer) - 2
    note = cut_end(view.clean(entry.note), max(0, room), view.glyphs.cut)
    spans = [Span(" " * BODY), Span(f"{sign.text} ", style)]
    if code:
        spans.append(Span(f"{code}  ", style))
    if note:
        spans.append(Span(f"{note}  ", "dim"))
    return [fitted([*spans, Span(trailer, "faint")], view.width)]


# --- thinking ----------------------------------------------------------------------------------


def _thinking(entry: Entry, view: View) -> list[Line]:
    room = max(1, view.width - BODY - (0 if view.pane else 1))
    if view.opened:
        texts = [
            piece
            for row in clean_lines(entry.text, ascii_only=view.glyphs.ascii)
            for piece in wrap(row, room, mark=view.glyphs.cut)
        ]
    else:
        texts = wrap(view.clean(entry.text), room, 1 if view.pane else 2, view.glyphs.cut)
    return [columns([(BODY, Span(text, "dim italic"))], view.width) for text in texts]


# --- what people and the program said ----------------------------------------------------------


def quoted(
    text: str, view: View, style: str, limit: int | None = None, column: int = MARK
) -> list[Line]:
    """A text in full behind a bar."""
    body = column + 2
    rows = [
        piece
        for row in clean_lines(text.strip(), ascii_only=view.glyphs.ascii)
        for piece in wrap(row, max(4, view.width - body), mark=view.glyphs.cut)
    ]
    if limit is not None and len(rows) > limit:
        rows = rows[:limit]
        room = max(2, view.width - body)
        rows[-1] = cut_end(rows[-1] + " " + view.glyphs.cut * 2, room, view.glyphs.cut).replace(
            " " + view.glyphs.cut * 2, view.glyphs.cut
        )
    return [
        columns([(column, Span(view.glyphs.quote, style)), (body, Span(row, "text"))], view.width)
        for row in rows
    ]


def advice_fate(state: str, delivered: int | None, view: View) -> list[Span]:
    """queued, delivered at step 408, followed …"""
    match state:
        case "queued":
            return [Span("queued", "dim"), Span("  goes in before the next step", "faint")]
        case "delivered":
            where = f"delivered at step {delivered}" if delivered else "delivered"
            return [Span(where, "dim")]
        case "ignored":
            return [Span("ignored", "attention")]
        case "followed":
            return [Span("followed", "running")]
    return [Span(view.clean(state), "dim")]


def _advice(entry: Entry, view: View) -> list[Line]:
    who = "" if view.pane and entry.by == view.annotator else view.who(entry.by)
    spans = [
        Span(" " * MARK),
        Span(f"{view.glyphs.advice} advice {view.clean(entry.head)}", "accent bold"),
    ]
    if who:
        spans.append(Span(f"  {who}", "dim"))
    spans += [Span("  "), *advice_fate(entry.state, entry.step or None, view)]
    return [
        fitted(spans, view.width),
        *quoted(entry.text, view, "accent", 2 if view.brief else None),
    ]


def queued(advice: Iterable[AdviceRow], after: int) -> list[Entry]:
    """Advice that is not in the transcript yet, as the entries it will be; `after` is the last."""
    waiting = [one for one in advice if one.state == "queued"]
    return [
        Entry(
            n=after + index,
            kind="advice",
            seq=0,
            at=one.queued_at,
            step=0,
            by=one.by,
            text=one.text,
            head=str(one.advice),
            state="queued",
        )
        for index, one in enumerate(waiting, 1)
    ]


def _question(entry: Entry, view: View) -> list[Line]:
    top = columns(
        [
            (MARK, Span(f"{view.glyphs.question} asks you", "attention bold")),
            (MARK + 12, Span(f"step {entry.step}", "dim")),
        ],
        MARK + 12 + width(f"step {entry.step}"),
    )
    spans = [*top.spans, Span(f"  {ago((view.now - entry.at) / 1e6)}", "dim")]
    return [
        fitted(spans, view.width),
        *quoted(entry.text, view, "attention", 2 if view.brief else None),
    ]


def _submission(entry: Entry, view: View) -> list[Line]:
    final = entry.head == "final"
    of = f" of {view.submissions}" if view.submissions else ""
    words = "final evaluation" if final else f"submission {view.clean(entry.head)}{of}"
    spans = [
        Span(" " * MARK),
        Span(f"{view.glyphs.submission} ", "accent bold"),
        Span(words, "text bold"),
    ]
    if entry.score is not None:
        spans.append(Span(f"   {number(entry.score)}", "text bold"))
        if entry.seconds is not None:
            spans.append(Span(f"  evaluated in {duration(entry.seconds)}", "dim"))
    elif entry.text or entry.error:
        spans.append(Span(f"   {view.glyphs.error} evaluation failed, no score", "error bold"))
        if entry.text:
            spans.append(Span(f"  {view.clean(entry.text)}", "error"))
    else:
        spans.append(Span("   evaluating", "dim"))
    return [fitted(spans, view.width)]


_SIGNS = {
    "paused": ("paused", "paused"),
    "resumed": ("running", "running"),
    "frozen": ("paused", "paused"),
    "thawed": ("running", "running"),
    "model_failed": ("error", "error"),
    "rollout_reopened": ("running", "running"),
    "rollout_ended": ("finished", "text"),
    "sandbox_lost": ("error", "error"),
    "summary_completed": ("summary", "dim"),
    "summary_failed": ("summary", "error"),
    "guard_fired": ("needs", "attention"),
    "hint_viewed": ("unread", "attention"),
    "operator_touched_files": ("unread", "attention"),
    "model_changed": ("unread", "attention"),
}


def _notice(entry: Entry, view: View) -> list[Line]:
    sign, style = _SIGNS.get(entry.head, ("unread", "dim"))
    said = view.clean(entry.text)
    if entry.head == "rollout_ended" and not said.startswith("finished"):
        sign, style = ("error", "error") if said.startswith("failed") else ("unread", "dim")
    when = ago((view.now - entry.at) / 1e6)
    trailer = f"by {view.who(entry.by)}, {when}" if entry.by else when
    room = max(8, view.width - BODY - width(trailer) - 2)
    spans = [
        Span(" " * MARK),
        Span(f"{getattr(view.glyphs, sign)} ", style),
        Span(cut_end(said, room, view.glyphs.cut), style),
        Span(f"  {trailer}", "faint"),
    ]
    return [fitted(spans, view.width)]


def rule(
    left: list[Span], right: list[Span], cells: int, glyphs: Glyphs, *, focused: bool = False
) -> Line:
    """A title in its rule: heavy and accented where the focus is, else light."""
    sign = glyphs.heavy if focused else glyphs.light
    style = "accent" if focused else "line"
    return two_sided(
        [Span(f"{sign} ", style), *left, Span(" ")],
        [Span(" "), *right, Span(f" {sign}", style)] if right else [],
        cells,
        filler=sign,
        filler_style=style,
    )


def actions_count(number_of: int) -> str:
    return plural(number_of, "action")
