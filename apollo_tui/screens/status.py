"""How a rollout's state, age, spend and limits read. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from apollo_tui.log.read import RolloutRow
from apollo_tui.screens.format import age, clean, cut_end, duration, money, number, tokens
from apollo_tui.screens.glyphs import Glyphs
from apollo_tui.screens.line import Span

FINAL = frozenset({"finished", "failed", "stopped"})


def asks(row: RolloutRow) -> bool:
    return row.state == "waiting" and row.why.startswith("asks")


def imported(row: RolloutRow) -> bool:
    """Whether another program recorded it: it has no sandbox, never runs, and tells no times."""
    return row.sandbox == "none"


def sandbox_name(row: RolloutRow) -> str:
    """Where it acts; "" where it does not."""
    return "" if imported(row) else row.sandbox


def state_span(row: RolloutRow, glyphs: Glyphs) -> Span:
    """The state with its sign, as titles and headers show it."""
    if imported(row):
        return Span(f"{glyphs.unread} imported", "dim")
    match row.state:
        case "running":
            return Span(f"{glyphs.running} running", "running")
        case "paused" if row.in_flight:
            return Span(f"{glyphs.paused} pausing", "paused bold")
        case "paused" | "frozen":
            return Span(f"{glyphs.paused} {row.state}", "paused bold")
        case "waiting" if asks(row):
            return Span(f"{glyphs.needs} asks you", "attention bold")
        case "waiting":
            return Span(f"{glyphs.waiting} waits", "attention")
        case "evaluating":
            return Span(f"{glyphs.submission} evaluating", "accent")
        case "summarising":
            return Span(f"{glyphs.summary} summarising", "accent")
        case "finished":
            return Span(f"{glyphs.finished} finished", "running")
        case "failed":
            return Span(f"{glyphs.error} failed", "error bold")
        case "stopped":
            return Span(f"{glyphs.unread} stopped", "dim")
    return Span(f"{glyphs.waiting} {row.state}", "dim")


def state_spans(row: RolloutRow, glyphs: Glyphs) -> list[Span]:
    """The state, and "not isolated" beside it where the rollout acts on this machine itself."""
    spans = [state_span(row, glyphs)]
    if not row.isolated and not imported(row):
        spans.append(Span("  not isolated", "attention"))
    return spans


def rollout_age(row: RolloutRow, now: int) -> str:
    """How long it has been going, or went; "" where nobody knows."""
    if imported(row):
        return ""
    end = row.ended_at if row.state in FINAL and row.ended_at else now
    return age((end - (row.started_at or row.created_at)) / 1e6)


def spend(row: RolloutRow, glyphs: Glyphs) -> str:
    """Dollars where prices are known (">" when only some are), else tokens."""
    if row.cost_usd is None:
        used = row.tokens_in + row.tokens_out
        return f"{tokens(used)} tokens" if used else ""
    return money(row.cost_usd) if row.cost_complete else f">{money(row.cost_usd)}"


def total_spend(rows: Sequence[RolloutRow]) -> str:
    known = [row.cost_usd for row in rows if row.cost_usd is not None]
    if known:
        complete = all(
            row.cost_complete and (row.cost_usd is not None or not row.tokens_out) for row in rows
        )
        return ("" if complete else ">") + money(sum(known))
    used = sum(row.tokens_in + row.tokens_out for row in rows)
    return f"{tokens(used)} tokens" if used else ""


def worked(row: RolloutRow, now: int) -> float:
    """Seconds of working time up to now."""
    return row.worked + (max(0, now - row.last_at) / 1e6 if row.working else 0.0)


def time_left(row: RolloutRow, now: int) -> str:
    """Working time that is left, in whole minutes; "" without a limit or at the end."""
    if row.time_limit is None or row.state in FINAL:
        return ""
    left = max(0.0, row.time_limit - worked(row, now))
    return duration(left // 60 * 60) if left >= 60 else "<1m"


def model_name(row: RolloutRow, cells: int, glyphs: Glyphs) -> str:
    """The model as the person wrote it, without an address or a folder before the name."""
    name = clean(row.model, ascii_only=glyphs.ascii)
    if name.startswith("scripted:"):
        name = "scripted"
    name = name.partition("@")[0].rpartition(":")[2]
    return cut_end(name, cells, glyphs.cut)


def waits_for(row: RolloutRow, now: int, glyphs: Glyphs) -> str:
    """ "waits for glm, 4m": why a rollout waits, or why the program paused it; "" when it does
    neither, or asks a person."""
    paused = row.state == "paused" and row.why
    if not paused and (row.state != "waiting" or asks(row)):
        return ""
    why = clean(row.why, ascii_only=glyphs.ascii) or "waits"
    return f"{why}, {age((now - row.last_at) / 1e6)}"


def measures(row: RolloutRow, now: int) -> list[tuple[str, str]]:
    """Label and value of what there is to say in numbers: score, evaluations, time left."""
    parts: list[tuple[str, str]] = []
    if row.score is not None:
        parts.append(("score", number(row.score)))
    if row.submissions:
        of = f"/{row.max_submissions}" if row.max_submissions else ""
        parts.append(("evals", f"{row.submissions}{of}"))
    if left := time_left(row, now):
        parts.append(("left", left))
    return parts


def position(row: RolloutRow) -> str:
    return f"step {row.step}"
