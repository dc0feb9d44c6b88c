"""The gate: whether a rollout trains at all, by its score, what it gained, or its tags."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field

from apollo_tui.log.trajectory import Trajectory
from apollo_tui.log.types import Value


class GateSettings(Value):
    min_score: float | None = None
    min_gain: float | None = None  # over `baseline`, else over the parent's score at the fork
    baseline: float | None = None
    tags: tuple[str, ...] = Field(default=())  # a rollout must carry one of them


def closed_gate(
    trajectory: Trajectory, settings: GateSettings, parent_score: float | None = None
) -> str:
    """Why a rollout does not train; "" when it may. `parent_score` is the best score that its parent
    had at the fork. A rollout without a score passes no gate that asks for one."""
    score = trajectory.score
    if settings.tags and not _carries(trajectory, settings.tags):
        return f"has none of the tags {', '.join(settings.tags)}"
    if settings.min_score is not None:
        if score is None:
            return "has no score"
        if score < settings.min_score:
            return f"scored {score:g}, less than {settings.min_score:g}"
    if settings.min_gain is not None:
        baseline = settings.baseline if settings.baseline is not None else parent_score
        if baseline is None:
            return "has nothing to compare its score with: no parent's score, no baseline"
        if score is None:
            return "has no score"
        if score - baseline < settings.min_gain:
            return f"gained {score - baseline:g} over {baseline:g}, less than {settings.min_gain:g}"
    return ""


def _carries(trajectory: Trajectory, tags: Collection[str]) -> bool:
    spec = trajectory.spec
    return spec is not None and not set(tags).isdisjoint(spec.tags)
