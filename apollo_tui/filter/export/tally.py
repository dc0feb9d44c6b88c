"""What an export holds, counted from verdicts and masks before anything is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from apollo_tui.filter.export.source import FilteredRollout


@dataclass
class Tally:
    """Counts of actions, over all the rollouts of an export.

    `masked` counts by who decided: "human", "judge", or a rule's name. `unread` are the kept actions
    that no person looked at. `partial` are kept actions whose reply has a masked one beside them: forms
    that mask whole messages can't train them. `masked_replies` are replies, among those that samples
    hold, which may not train as a whole: what a trainer that trains every reply would train wrongly.
    `toolless` are samples with calls of tools that the log does not describe, as imported ones have.
    """

    rollouts: int = 0
    samples: int = 0
    replies: int = 0
    kept: int = 0
    unread: int = 0
    partial: int = 0
    masked_replies: int = 0
    toolless: int = 0
    masked: Counter[str] = field(default_factory=Counter)

    def add(self, rollout: FilteredRollout) -> None:
        """Count one rollout."""
        verdicts = rollout.verdicts
        self.rollouts += 1
        for one in rollout.samples():
            self.samples += 1
            if any(turn.step.actions for turn in one.sample.turns):
                self.toolless += not rollout.prompt_head(one.sample)[1]
            for turn, masked in zip(one.sample.turns, one.masks, strict=True):
                self.replies += 1
                self.masked_replies += not masked.whole
                for action, trains in zip(turn.step.actions, masked.actions, strict=True):
                    key = (action.step, action.ordinal)
                    if trains:
                        self.kept += 1
                        self.unread += key not in verdicts.read
                        self.partial += not all(masked.actions)
                    else:
                        verdict = verdicts.of(*key)
                        by = verdict.rule if verdict.by == "rule" else verdict.by
                        self.masked[by] += 1
