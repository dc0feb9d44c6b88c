"""Filtering one rollout: its trajectory and a configuration give its verdicts, always the same.

This is the one way to verdicts: a stored run, Review and every export come through here.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from apollo_tui.filter.gates import GateSettings
from apollo_tui.filter.rules import Case, RuleSettings, ask_rules
from apollo_tui.filter.verdicts import Finding, Verdict, Verdicts, decide
from apollo_tui.log.read import VerdictRow
from apollo_tui.log.trajectory import Trajectory
from apollo_tui.log.types import TextRef, Value


class FilterSettings(Value):
    """The configuration of a filter run, stored with it."""

    rules: RuleSettings = Field(default_factory=RuleSettings)
    judge: str | None = None  # the model whose words count; None: no judge's do
    gate: GateSettings = Field(default_factory=GateSettings)


def filter_rollout(
    trajectory: Trajectory, read: Callable[[TextRef], str], settings: FilterSettings
) -> Verdicts:
    """The verdicts on a rollout's actions. `read` gives a text by its hash (LogCorrupt when it is
    missing); a judge is not asked here: its words are in the trajectory."""
    found, suggested = ask_rules(Case(trajectory, read, settings.rules))
    judged = {} if settings.judge is None else {settings.judge: words(trajectory, settings.judge)}
    return decide(trajectory, found, judged, suggested)


def words(trajectory: Trajectory, judge: str) -> list[Finding]:
    """What one judge said of a rollout's actions."""
    return [
        Finding(step, ordinal, said.why, said.keep)
        for (step, ordinal), all_said in trajectory.judged
        for said in all_said
        if said.judge == judge
    ]


def stored_verdicts(rows: list[VerdictRow], trajectory: Trajectory) -> Verdicts:
    """A stored run's verdicts again. `trajectory` is the rollout as of that run."""
    decided = {
        (row.step, row.ordinal): Verdict(
            row.step,
            row.ordinal,
            row.keep,
            row.by,  # type: ignore[arg-type]  # written from a DecidedBy
            row.rule,
            row.why,
        )
        for row in rows
    }
    return Verdicts(decided, {}, frozenset(key for key, made in trajectory.marks if made))
