"""The gate: whether a rollout trains at all, by its score, what it gained, or its tags."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, model_validator

from apollo_tui.log.trajectory import Trajectory
from apollo_tui.log.types import Value


class GateSettings(Value):
    """What a rollout must have; nothing set lets every rollout through."""

    min_score: float | None = Field(default=None, allow_inf_nan=False)
    min_gain: float | None = Field(default=None, allow_inf_nan=False)
    """Over `baseline`, else over the parent's score at the fork."""
    baseline: float | None = Field(default=None, allow_inf_nan=False)
    tags: tuple[str, ...] = ()  # a rollout must carry one of them

    @model_validator(mode="after")
    def _baseline_is_used(self) -> GateSettings:
        if self.baseline is not None and self.min_gain is None:
            raise ValueError("baseline is what min_gain is counted from: set min_gain too")
        return self


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
        from_baseline = settings.baseline is not None
        baseline = settings.baseline if from_baseline else parent_score
        if baseline is None:
            return "has nothing to compare its score with: no parent's score, no baseline"
        if score is None:
            return "has no score"
        if score - baseline < settings.min_gain:
            over = "the baseline" if from_baseline else "its parent at the fork"
            gained = f"{score - baseline:g} over {baseline:g} of {over}"
            return f"gained {gained}, less than {settings.min_gain:g}"
    return ""


def score_at_fork(
    parent_scores: Iterable[tuple[int, float | None]], forked_at: int | None
) -> float | None:
    """The best of a parent's scores, each with its step, up to the step it was forked at; None when
    it had none. Without `forked_at` nothing of the parent is known to have come before."""
    if forked_at is None:
        return None
    before = [score for step, score in parent_scores if score is not None and step <= forked_at]
    return max(before, default=None)


def _carries(trajectory: Trajectory, tags: tuple[str, ...]) -> bool:
    spec = trajectory.spec
    return spec is not None and not set(tags).isdisjoint(spec.tags)
