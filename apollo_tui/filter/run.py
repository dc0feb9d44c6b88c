"""Filtering one rollout: its trajectory and a configuration give its verdicts, always the same.

This is the one way to verdicts: a stored run, Review and every export come through here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from pydantic import Field, model_validator

from apollo_tui.filter.agreement import agreement, judge_with_people, to_store
from apollo_tui.filter.docket import judgeable
from apollo_tui.filter.gates import GateSettings
from apollo_tui.filter.judge import standing_words
from apollo_tui.filter.mask import mask
from apollo_tui.filter.rules import OPTIONAL_RULES, RULES, Case, RuleSettings, ask_rules
from apollo_tui.filter.samples import samples
from apollo_tui.filter.verdicts import Finding, Verdict, Verdicts, decide
from apollo_tui.log.events import JudgeAndPeople, RolloutFiltered, VerdictGiven
from apollo_tui.log.read import VerdictRow
from apollo_tui.log.trajectory import Trajectory, collector_paused
from apollo_tui.log.types import TextRef, Value


class FilterSettings(Value):
    """The configuration of a filter run, stored with it. Refuses names that are no rule's."""

    rules: RuleSettings = Field(default_factory=RuleSettings)
    judge: str | None = Field(default=None, min_length=1)
    """The model whose words count; None: no judge's do."""
    gate: GateSettings = Field(default_factory=GateSettings)

    @model_validator(mode="after")
    def _rules_are_known(self) -> FilterSettings:
        for name in self.rules.off:
            if name not in RULES:
                raise ValueError(f"there is no rule {name!r}; there are {', '.join(RULES)}")
        for name in self.rules.on:
            if name not in OPTIONAL_RULES:
                optional = ", ".join(OPTIONAL_RULES)
                raise ValueError(f"{name!r} is no optional rule; those are {optional}")
        return self


def filter_rollout(
    trajectory: Trajectory, read: Callable[[TextRef], str], settings: FilterSettings
) -> Verdicts:
    """The verdicts on a rollout's actions. `read` gives a text by its hash (LogCorrupt when it is
    missing); a judge is not asked here: its words are in the trajectory."""
    with collector_paused():
        found, suggested = ask_rules(Case(trajectory, read, settings.rules))
    judged = {} if settings.judge is None else {settings.judge: words(trajectory, settings.judge)}
    return decide(trajectory, found, judged, suggested)


def words(trajectory: Trajectory, judge: str) -> list[Finding]:
    """What one judge says of a rollout's actions as they are now."""
    return [
        Finding(*key, said.why, said.keep)
        for key, said in standing_words(trajectory, judge).items()
    ]


def decided_by(verdict: Verdict) -> str:
    """Under which name a masked action is counted: "human", "judge", or the rule's."""
    return verdict.rule if verdict.by == "rule" else verdict.by


def counted(
    rollout: str, trajectory: Trajectory, verdicts: Verdicts, judge: str | None = None
) -> RolloutFiltered:
    """What the verdicts leave of a rollout, counted in the actions of its samples: the same ones, as
    often, as an export writes."""
    kept = unread = within = 0
    masked: Counter[str] = Counter()
    for sample in samples(rollout, trajectory.segments):
        for turn, turn_mask in zip(sample.turns, mask(sample, verdicts), strict=True):
            for action, trains in zip(turn.step.actions, turn_mask.actions, strict=True):
                key = (action.step, action.ordinal)
                within += 1
                if trains:
                    kept += 1
                    unread += key not in verdicts.read
                else:
                    masked[decided_by(verdicts.of(*key))] += 1
    actions = sum(len(step.actions) for segment in trajectory.segments for step in segment.steps)
    return RolloutFiltered(
        kept=kept,
        unread=unread,
        masked=dict(sorted(masked.items())),
        outside=actions - within,
        suggested=len(verdicts.suggested),
        unjudged=0 if judge is None else len(unjudged(trajectory, judge)),
        judge_and_people=JudgeAndPeople()
        if judge is None
        else to_store(agreement(judge_with_people(trajectory, judge))),
    )


def unjudged(trajectory: Trajectory, judge: str) -> set[tuple[int, int]]:
    """The actions that a judge is to see and has said nothing of."""
    every = {(action.step, action.ordinal) for action in judgeable(trajectory)}
    return every - standing_words(trajectory, judge).keys()


def verdict_events(run: str, rollout: str, verdicts: Verdicts) -> Iterator[VerdictGiven]:
    """The verdicts as a stored run keeps them, in the order of the actions."""
    for (step, ordinal), verdict in sorted(verdicts.decided.items()):
        yield VerdictGiven(
            rollout=rollout,
            run=run,
            step=step,
            ordinal=ordinal,
            verdict="keep" if verdict.keep else "mask",
            decided_by=verdict.by,
            rule=verdict.rule,
            why=verdict.why,
        )


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
