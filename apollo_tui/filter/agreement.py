"""Do two who decide on the same actions agree? Cohen's kappa and the confusion table.

One is the judge and the other the people. Only what keeps or masks is compared: an action marked unsure
or reviewed, or not marked at all, is in no table.

Kappa (Cohen 1960, "A coefficient of agreement for nominal scales") is the agreement beyond what chance
would give: 1 when they always agree, 0 when no more often than by chance, below 0 when less often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from apollo_tui.filter.judge import standing_words
from apollo_tui.filter.verdicts import standing_mark
from apollo_tui.log.events import JudgeAndPeople
from apollo_tui.log.trajectory import Trajectory

Pair = tuple[bool, bool]
"""Whether the one and whether the other would keep an action."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The confusion table of two who decided: how many actions each pair of decisions has."""

    both_keep: int = 0
    first_keeps: int = 0  # and the second masks
    second_keeps: int = 0
    both_mask: int = 0

    @property
    def compared(self) -> int:
        return self.both_keep + self.first_keeps + self.second_keeps + self.both_mask

    @property
    def agreed(self) -> int:
        return self.both_keep + self.both_mask

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa; None where it is not defined (`undefined` says why)."""
        if self.undefined:
            return None
        by_chance = self._by_chance()
        return (self.agreed / self.compared - by_chance) / (1 - by_chance)

    @property
    def undefined(self) -> str:
        """Why there is no kappa; "" when there is one."""
        if not self.compared:
            return "no action was decided by both"
        if self.both_keep == self.compared:
            return "both kept every action, so agreeing tells nothing"
        if self.both_mask == self.compared:
            return "both masked every action, so agreeing tells nothing"
        return ""

    def _by_chance(self) -> float:
        first = (self.both_keep + self.first_keeps) / self.compared
        second = (self.both_keep + self.second_keeps) / self.compared
        return first * second + (1 - first) * (1 - second)


def agreement(pairs: Iterable[Pair]) -> Agreement:
    """The table of any number of pairs, of one rollout or of many."""
    count = Counter(pairs)
    return Agreement(count[True, True], count[True, False], count[False, True], count[False, False])


def judge_with_people(trajectory: Trajectory, judge: str) -> Iterator[Pair]:
    """The judge's word and the standing mark, of every action that has both."""
    marks = {key: standing_mark(made) for key, made in trajectory.marks}
    for key, said in standing_words(trajectory, judge).items():
        mark = marks.get(key)
        if mark is not None and mark.mark in ("accept", "reject"):
            yield said.keep, mark.mark == "accept"


def to_store(table: Agreement) -> JudgeAndPeople:
    """The table of a judge (first) with people (second), as a filter run stores it."""
    return JudgeAndPeople(
        keep_accept=table.both_keep,
        keep_reject=table.first_keeps,
        mask_accept=table.second_keeps,
        mask_reject=table.both_mask,
    )


def stored_agreement(stored: Iterable[JudgeAndPeople]) -> Agreement:
    """One table from those that a filter run stored for its rollouts."""
    tables = list(stored)
    return Agreement(
        sum(one.keep_accept for one in tables),
        sum(one.keep_reject for one in tables),
        sum(one.mask_accept for one in tables),
        sum(one.mask_reject for one in tables),
    )
