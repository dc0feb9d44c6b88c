"""ResearchGym's observations: a JSON object with `success`, a message, and what the tool gave back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from apollo_tui.importers.recording import Observed, Submitted
from apollo_tui.log.types import Disposition

_RAN = frozenset({"output", "execution_time", "exit_code", "overall_score"})
"""Fields that only the observation of an action which was executed has."""


def read_observation(call_id: str, tool: str, text: str) -> Observed:
    """What an observation tells. A text that is no JSON object tells nothing but itself."""
    fields = _fields(text)
    success = fields.get("success")
    output, message = fields.get("output"), fields.get("error_message") or fields.get("message")
    return Observed(
        call_id=call_id,
        text=text,
        shown=next((one for one in (output, message) if isinstance(one, str) and one), text),
        disposition=_disposition(fields),
        error=success is False,
        exit_code=_whole(fields.get("exit_code")),
        seconds=_number(fields.get("execution_time")),
        submitted=_submitted(fields) if tool == "eval" else None,
        viewed_hint=tool == "view_hint" and success is True,
    )


def _disposition(fields: Mapping[str, Any]) -> Disposition:
    """A command that ran and ended badly is no action that could not be done."""
    if fields.get("success") is True or not _RAN.isdisjoint(fields):
        return "completed"
    return "failed" if fields.get("success") is False else "unknown"


def _fields(text: str) -> dict[str, Any]:
    """An observation's fields; none when it is no JSON object."""
    try:
        value = from_json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _submitted(fields: Mapping[str, Any]) -> Submitted | None:
    number = _whole(fields.get("already_eval_num"))
    if number is None:
        return None
    score = _number(fields.get("overall_score"))
    metrics = {
        name: value
        for name, value in fields.items()
        if name.startswith("metric_") and isinstance(value, dict)
    }
    taken = [_number(metric.get("execution_time")) or 0.0 for metric in metrics.values()]
    said = fields.get("error_message") or fields.get("message") or ""
    return Submitted(
        submission=number,
        score=score,
        error=str(said) if score is None else "",
        results=metrics,
        seconds=sum(taken),
    )


def _whole(value: object) -> int | None:
    """A whole number that every table can hold; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) < 1 << 53 else None


def _number(value: object) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
