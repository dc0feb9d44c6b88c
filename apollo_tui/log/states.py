"""What a rollout's state means for its clock and its end. Free of pydantic: the console reads it."""

from __future__ import annotations

STATES = (
    *("pending", "running", "waiting", "paused", "frozen", "summarising", "evaluating"),
    *("finished", "failed", "stopped"),
)
WORKING_STATES = frozenset({"running", "summarising", "evaluating"})
"""The states whose time counts against the task's limit."""
FINAL_STATES = frozenset({"finished", "failed", "stopped"})
