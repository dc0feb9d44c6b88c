"""What needs a person: an ordered list, each with a sentence of reason. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apollo_tui.log.read import RolloutRow
from apollo_tui.screens.status import asks


@dataclass(frozen=True, slots=True)
class Need:
    """`urgent` needs you; else it is only worth a look. `since` is UTC µs."""

    rollout: str
    name: str
    reason: str
    step: int
    since: int
    urgent: bool


def needs(rows: Sequence[RolloutRow]) -> list[Need]:
    """Questions first (who waits longest before the others), then what stands still, then what failed,
    then what could be looked at, in the order of `rows`."""
    found: list[tuple[int, Need]] = []
    waiting: dict[str, list[RolloutRow]] = {}
    for row in rows:
        if asks(row):
            found.append((0, _need(row, "asks you a question and waits for the answer", True)))
        elif row.state == "waiting":
            waiting.setdefault(row.why, []).append(row)
        elif row.state == "paused" and row.why:  # the program paused it, nobody who knows why
            waiting.setdefault(f"paused: {row.why}", []).append(row)
        elif row.state == "failed":
            found.append((2, _need(row, f"failed: {row.why or 'no reason given'}", True)))
        elif row.state == "paused" and row.queued_advice:
            several = f"{row.queued_advice} pieces of advice wait"
            said = "advice waits" if row.queued_advice == 1 else several
            found.append((3, _need(row, f"paused; {said} for the resume", False)))
    for why, stopped in waiting.items():
        first = stopped[0]
        others = f" (stops {len(stopped)} rollouts)" if len(stopped) > 1 else ""
        found.append((1, _need(first, (why or "waits") + others, True)))
    order = sorted(found, key=lambda pair: (pair[0], pair[1].since if pair[0] == 0 else 0))
    return [need for _, need in order]


def _need(row: RolloutRow, reason: str, urgent: bool) -> Need:
    return Need(row.id, row.name, reason, row.step, row.last_at, urgent)
