"""The loss mask: a sample and the verdicts on its actions give what of each reply trains.

Nothing but what the model said in this segment can train: the system prompt, the task, advice,
observations and what was carried over are context. A reply's thinking and text led to all of its
actions, so they train only when every one of them is kept. A reply without an action trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from apollo_tui.filter.samples import Sample, Turn
from apollo_tui.filter.verdicts import Verdicts


@dataclass(frozen=True, slots=True)
class TurnMask:
    """What of the reply at `position` trains: each action by its ordinal, and its thinking and text."""

    position: int
    step: int
    actions: tuple[bool, ...]
    prose: bool

    @property
    def trains(self) -> bool:
        return any(self.actions)

    @property
    def whole(self) -> bool:
        """Whether all of the reply trains: forms that mask whole messages can use no other."""
        return self.prose and bool(self.actions) and all(self.actions)


def mask(sample: Sample, verdicts: Verdicts) -> tuple[TurnMask, ...]:
    """One TurnMask for each turn, in the order of the sample."""
    return tuple(_mask_turn(turn, verdicts) for turn in sample.turns)


def _mask_turn(turn: Turn, verdicts: Verdicts) -> TurnMask:
    step = turn.step
    actions = tuple(verdicts.keeps(step.number, action.ordinal) for action in step.actions)
    # The thinking before a rewrite led to another action than the one that stands there now.
    stale = step.rewritten_from is not None
    return TurnMask(
        turn.position, step.number, actions, bool(actions) and all(actions) and not stale
    )
