"""What exports are made from: the rollouts of a stored filter run with verdicts, samples and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from apollo_tui.filter.mask import TurnMask, mask
from apollo_tui.filter.run import stored_verdicts
from apollo_tui.filter.samples import Sample, samples
from apollo_tui.filter.verdicts import Verdict, Verdicts, standing_mark
from apollo_tui.log.prompts import read_segment_texts
from apollo_tui.log.read import FilterRunRow, History
from apollo_tui.log.trajectory import ActionKey, MarkMade, Trajectory, read_trajectory
from apollo_tui.log.types import Message, TextRef, ToolSpec

_message: TypeAdapter[Message] = TypeAdapter(Message)


@dataclass(frozen=True, slots=True)
class MaskedSample:
    """A sample and what of it trains: `masks` has one for each of the sample's turns."""

    sample: Sample
    masks: tuple[TurnMask, ...]

    @property
    def trains(self) -> bool:
        return any(one.trains for one in self.masks)


@dataclass
class FilteredRollout:
    """One rollout as a filter run left it."""

    history: History
    run: FilterRunRow
    rollout: str
    name: str
    trajectory: Trajectory
    verdicts: Verdicts
    reasons: Counter[str] = field(default_factory=Counter)

    def samples(self) -> Iterator[MaskedSample]:
        """The samples that the model was sent, in order, one a segment."""
        for sample in samples(self.rollout, self.trajectory.segments):
            yield MaskedSample(sample, mask(sample, self.verdicts))

    def marks(self) -> dict[ActionKey, tuple[MarkMade, ...]]:
        return dict(self.trajectory.marks)

    def text(self, ref: TextRef) -> str:
        """Raises LogCorrupt when it is missing or damaged."""
        return self.history.text(ref)

    def messages(self, refs: Sequence[TextRef]) -> list[Message]:
        """The log's messages, as the model was sent them."""
        return [_message.validate_json(self.text(ref)) for ref in refs]

    def prompt_head(self, sample: Sample) -> tuple[str, tuple[ToolSpec, ...]]:
        """A sample's system prompt and tools."""
        if sample.system_ref is None or sample.tools_ref is None:
            return "", ()
        return read_segment_texts(self.text(sample.system_ref), self.text(sample.tools_ref))

    def meta(self, segment: int, masks: Sequence[TurnMask]) -> dict[str, Any]:
        """Where a row comes from, so that `why` finds the way back: its rollout, segment, the steps
        said in it, the actions that train as [step, ordinal], and the filter run."""
        return {
            "rollout": self.rollout,
            "name": self.name,
            "task": self.trajectory.spec.task.name if self.trajectory.spec else "",
            "score": self.trajectory.score,
            "segment": segment,
            "steps": [masks[0].step, masks[-1].step] if masks else [],
            "trained": [
                [one.step, ordinal]
                for one in masks
                for ordinal, trains in enumerate(one.actions, 1)
                if trains
            ],
            "filter_run": self.run.run,
            "as_of": self.run.as_of,
        }

    def left_out(self, reason: str, count: int = 1) -> None:
        """Count something that a format could not write, by a reason in a few words."""
        self.reasons[reason] += count


class Source:
    """The rollouts of a filter run, folded one at a time. With `reviewed_only`, only what a person
    read, and did not put aside as unsure, trains."""

    def __init__(self, history: History, run: FilterRunRow, *, reviewed_only: bool = False) -> None:
        self.history = history
        self.run = run
        self.reviewed_only = reviewed_only

    def rollouts(self) -> Iterator[FilteredRollout]:
        """Each rollout of the run that its gate let through."""
        for rollout in self.run.rollouts:
            if rollout not in self.run.gated:
                yield self._rollout(rollout)

    def _rollout(self, rollout: str) -> FilteredRollout:
        trajectory = read_trajectory(self.history, rollout, self.run.as_of)
        verdicts = stored_verdicts(self.history.verdicts(self.run.run, rollout), trajectory)
        if self.reviewed_only:
            verdicts = only_reviewed(verdicts, trajectory)
        row = self.history.rollout(rollout)
        name = row.name if row is not None else rollout
        return FilteredRollout(self.history, self.run, rollout, name, trajectory, verdicts)


def only_reviewed(verdicts: Verdicts, trajectory: Trajectory) -> Verdicts:
    """The same verdicts, with every action masked that no person accepted or reviewed."""
    approved = {
        key
        for key, made in trajectory.marks
        if (mark := standing_mark(made)) is not None and mark.mark in ("accept", "reviewed")
    }
    decided = dict(verdicts.decided)
    for segment in trajectory.segments:
        for step in segment.steps:
            for action in step.actions:
                key = (action.step, action.ordinal)
                if key not in approved and verdicts.keeps(*key):
                    decided[key] = Verdict(
                        *key, False, "rule", "unread", "no person has looked at it"
                    )
    return replace(verdicts, decided=decided)
