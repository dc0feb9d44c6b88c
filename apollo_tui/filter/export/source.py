"""What exports are made from: the rollouts of a stored filter run with verdicts, samples and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from apollo_tui.errors import LogCorrupt
from apollo_tui.filter.export.chat_messages import (
    ChatMessage,
    chat_of_stored,
    chat_tools,
    system_offset,
)
from apollo_tui.filter.export.rewritten import with_rewritten_calls
from apollo_tui.filter.mask import TurnMask, mask
from apollo_tui.filter.run import stored_verdicts
from apollo_tui.filter.samples import Sample, samples
from apollo_tui.filter.verdicts import Verdict, Verdicts, standing_mark
from apollo_tui.log.prompts import read_segment_texts
from apollo_tui.log.read import FilterRunRow, History
from apollo_tui.log.trajectory import ActionKey, MarkMade, Step, Trajectory, read_trajectory
from apollo_tui.log.types import Message, TextRef, ToolSpec

HELD_STEPS = 100_000
"""Rollouts are counted before they are written; so many steps are kept folded between the two."""

_message: TypeAdapter[Message] = TypeAdapter(Message)


@dataclass(frozen=True, slots=True)
class MaskedSample:
    """A sample and what of it trains: `masks` has one for each of the sample's turns."""

    sample: Sample
    masks: tuple[TurnMask, ...]

    @property
    def trains(self) -> bool:
        return any(one.trains for one in self.masks)


class Chat(NamedTuple):
    """A sample in the chat form: its message at `position` stands at `position + offset`."""

    messages: list[ChatMessage]
    tools: list[dict[str, Any]]
    offset: int


@dataclass
class FilteredRollout:
    """One rollout as a filter run left it."""

    history: History
    run: FilterRunRow
    rollout: str
    name: str
    trajectory: Trajectory
    verdicts: Verdicts
    reviewed_only: bool = False
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    replies_told: int = 0  # how many of its replies were given out, for progress

    def samples(self) -> Iterator[MaskedSample]:
        """The samples that the model was sent, in order, one a segment."""
        self.replies_told = 0
        for one in self._masked:
            yield one
            self.replies_told += len(one.masks)

    @cached_property
    def _masked(self) -> tuple[MaskedSample, ...]:
        return tuple(
            MaskedSample(sample, mask(sample, self.verdicts))
            for sample in samples(self.rollout, self.trajectory.segments)
        )

    @cached_property
    def steps(self) -> dict[int, Step]:
        """All steps by their numbers, superseded ones too."""
        return {step.number: step for segment in self.trajectory.segments for step in segment.steps}

    def marks(self) -> dict[ActionKey, tuple[MarkMade, ...]]:
        return dict(self.trajectory.marks)

    def text(self, ref: TextRef) -> str:
        """Raises LogCorrupt when it is missing or damaged."""
        return self.history.text(ref)

    def messages(self, refs: Sequence[TextRef]) -> list[Message]:
        """The log's messages, as the model was sent them. Raises LogCorrupt."""
        texts = self.history.texts(refs)
        try:
            return [_message.validate_json(texts[ref]) for ref in refs]
        except ValidationError as error:
            raise LogCorrupt(
                f"a message of {self.name} cannot be read: {error.errors()[0]['msg']}; see what else "
                "with: apollo-tui verify"
            ) from error

    def chat(self, sample: Sample) -> Chat:
        """A sample in the chat form. Raises LogCorrupt."""
        system, tools = self.prompt_head(sample)
        return Chat(
            self.chat_messages(sample.messages, system), chat_tools(tools), system_offset(system)
        )

    def chat_messages(self, refs: Sequence[TextRef], system: str = "") -> list[ChatMessage]:
        """Messages in the chat form, after the system prompt if there is one. Raises LogCorrupt."""
        texts = self.history.encoded_texts(refs)
        try:
            return chat_of_stored(system, (from_json(texts[ref]) for ref in refs))
        except (ValueError, KeyError, TypeError) as error:
            raise LogCorrupt(
                f"a message of {self.name} cannot be read ({type(error).__name__}: {error}); see what "
                "else with: apollo-tui verify"
            ) from error

    def prompt_head(self, sample: Sample) -> tuple[str, tuple[ToolSpec, ...]]:
        """A sample's system prompt and tools."""
        if sample.system_ref is None or sample.tools_ref is None:
            return "", ()
        return read_segment_texts(self.text(sample.system_ref), self.text(sample.tools_ref))

    def meta(
        self, segment: int, masks: Sequence[TurnMask], *, whole: bool = False
    ) -> dict[str, Any]:
        """Where a row comes from, so that `why` finds the way back: its rollout, segment, the steps
        said in it, the actions that train as [step, ordinal], and the filter run. `whole` says that
        the row masks whole replies: actions beside a masked one do not train in it."""
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
                if one.whole or not whole
                for ordinal, trains in enumerate(one.actions, 1)
                if trains
            ],
            "filter_run": self.run.run,
            "as_of": self.run.as_of,
        }

    def left_out(self, reason: str, count: int = 1) -> None:
        """Count something that a format could not write, by a reason in a few words."""
        if count:
            self.reasons[reason] += count

    def noted(self, what: str, count: int = 1) -> None:
        """Count something that is written, and that a reader should know of; 0 is said, too."""
        self.notes[what] += count


class Source:
    """The rollouts of a filter run, folded one at a time. With `reviewed_only`, only what a person
    read, and did not put aside as unsure, trains."""

    def __init__(self, history: History, run: FilterRunRow, *, reviewed_only: bool = False) -> None:
        self.history = history
        self.run = run
        self.reviewed_only = reviewed_only
        self._held: dict[str, FilteredRollout] = {}
        self._held_steps = 0

    def rollouts(self) -> Iterator[FilteredRollout]:
        """Each rollout of the run that its gate let through."""
        for rollout in self.run.rollouts:
            if rollout not in self.run.gated:
                yield self._held.get(rollout) or self._folded(rollout)

    def _folded(self, rollout: str) -> FilteredRollout:
        folded = self._rollout(rollout)
        steps = sum(len(segment.steps) for segment in folded.trajectory.segments)
        if not self._held or self._held_steps + steps <= HELD_STEPS:
            self._held[rollout] = folded
            self._held_steps += steps
        return folded

    def _rollout(self, rollout: str) -> FilteredRollout:
        trajectory = read_trajectory(self.history, rollout, self.run.as_of)
        verdicts = stored_verdicts(self.history.verdicts(self.run.run, rollout), trajectory)
        row = self.history.rollout(rollout)
        name = row.name if row is not None else rollout
        found = FilteredRollout(
            self.history, self.run, rollout, name, trajectory, verdicts, self.reviewed_only
        )
        found.trajectory, found.verdicts = with_rewritten_calls(
            trajectory, verdicts, found.messages
        )
        if self.reviewed_only:
            found.verdicts = only_reviewed(found.verdicts, found.trajectory)
        return found


def only_reviewed(verdicts: Verdicts, trajectory: Trajectory) -> Verdicts:
    """The same verdicts, with every action masked that no person accepted or reviewed: as `unsure`
    where a person put it aside, else as `unread`."""
    marks = {key: standing_mark(made) for key, made in trajectory.marks}
    decided = dict(verdicts.decided)
    for segment in trajectory.segments:
        for step in segment.steps:
            for action in step.actions:
                key = (action.step, action.ordinal)
                mark = marks.get(key)
                if not verdicts.keeps(*key) or (mark and mark.mark in ("accept", "reviewed")):
                    continue
                rule, why = (
                    ("unsure", f"put aside as unsure by {mark.annotator or 'someone'}")
                    if mark
                    else ("unread", "no person has looked at it")
                )
                decided[key] = Verdict(*key, False, "rule", rule, why)
    return replace(verdicts, decided=decided)
