"""Which rollouts need a person, from their state: the `attention` of `ls --json`."""

from __future__ import annotations

from typing import Any

from apollo_tui.log.read import RolloutRow


def attention(row: RolloutRow) -> list[dict[str, Any]]:
    """A list of {kind, reason, step}; empty when nothing needs you."""
    found = []
    if row.state == "waiting":
        kind = "question" if row.why.startswith("asks you") else "api"
        found.append((kind, row.why))
    if row.state == "paused" and row.why:  # the program paused it
        found.append(("disk" if row.why.startswith("disk ") else "paused", f"paused: {row.why}"))
    if row.state == "failed":
        found.append(("failed", row.why))
    if row.state == "paused" and row.queued_advice:
        found.append(("paused", f"advice waits for the resume ({row.queued_advice})"))
    return [{"kind": kind, "reason": reason, "step": row.step} for kind, reason in found]
