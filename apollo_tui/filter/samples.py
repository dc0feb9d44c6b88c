"""Samples: the contexts that a model was really sent, one for each segment of a rollout.

A segment only ever appends messages, so its last prompt and last reply hold all of it. What a segment's
first request carried over from before is context there: its steps trained in the segment they were
said in. So each step is the turn of at most one sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from apollo_tui.log.trajectory import Segment, Step
from apollo_tui.log.types import TextRef


@dataclass(frozen=True, slots=True)
class Turn:
    """A step whose reply is the sample's message at `position` (counted from 0)."""

    position: int
    step: Step


@dataclass(frozen=True, slots=True)
class Sample:
    """One segment as it was sent: references to the JSON of its messages, and which are its turns."""

    rollout: str
    segment: int
    system_ref: TextRef | None
    tools_ref: TextRef | None
    messages: tuple[TextRef, ...]
    turns: tuple[Turn, ...]

    def until(self, position: int) -> Sample:
        """The same sample, ending with the message at `position`."""
        return Sample(
            self.rollout,
            self.segment,
            self.system_ref,
            self.tools_ref,
            self.messages[: position + 1],
            tuple(turn for turn in self.turns if turn.position <= position),
        )


def samples(rollout: str, segments: Iterable[Segment]) -> Iterator[Sample]:
    """The sample of each segment that got a reply."""
    for segment in segments:
        if segment.steps:
            yield _sample(rollout, segment)


def _sample(rollout: str, segment: Segment) -> Sample:
    """Follows what each request added: a reply is a turn when the next request sent it back, or when
    it is the last one. A reply that no later request held (it was replaced) is no turn."""
    messages: list[TextRef] = []
    turns: list[Turn] = []
    replied: Step | None = None
    for step in segment.steps:
        if replied is not None and replied.message_ref in step.sent:
            position = len(messages) + step.sent.index(replied.message_ref)
            turns.append(Turn(position, replied))
        messages += step.sent
        replied = step
    assert replied is not None
    if replied.message_ref in segment.unanswered or not replied.superseded:
        turns.append(Turn(len(messages), replied))
        messages.append(replied.message_ref)
    return Sample(
        rollout,
        segment.number,
        segment.system_ref,
        segment.tools_ref,
        tuple(messages),
        tuple(turns),
    )
