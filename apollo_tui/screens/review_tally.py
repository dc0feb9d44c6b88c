"""What Review counts: each action's facts, their sums, and how fast one marks. Plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from apollo_tui.filter.verdicts import Verdict
    from apollo_tui.log.trajectory import MarkMade
    from apollo_tui.screens.review_board import Row

BREAK = 300.0
"""Seconds between two marks from which on they no longer count as work."""


class Facts(NamedTuple):
    """What counts of one action."""

    mark: str  # the kind of the annotator's own mark, "" for none
    looked: bool  # somebody marked it
    by: str  # who masks it: "you", "others", "judge", "rules"; "" when it is kept
    rule: str  # the rule that masks it
    exported: bool  # it stands in a sample

    @property
    def decided(self) -> bool:
        return self.mark != ""


@dataclass
class Tally:
    """Counts of the rollout's actions. Marks are the annotator's own; what is kept, masked and looked
    at is so by whoever decided, of those that stand in samples."""

    marks: Counter[str] = field(default_factory=Counter)  # by kind, "" for none
    masked: Counter[str] = field(default_factory=Counter)  # by who
    rules: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    unread: int = 0  # kept, and nobody looked

    def count(self, facts: Facts, by: int) -> None:
        self.marks[facts.mark] += by
        if not facts.exported:
            return
        if facts.by:
            self.masked[facts.by] += by
            if facts.rule:
                self.rules[facts.rule] += by
        else:
            self.kept += by
            self.unread += by * (not facts.looked)

    def copy(self) -> Tally:
        return Tally(
            Counter(self.marks), Counter(self.masked), Counter(self.rules), self.kept, self.unread
        )

    @property
    def total(self) -> int:
        return sum(self.marks.values())

    @property
    def read(self) -> int:
        return self.total - self.marks[""]


def facts(
    row: Row, own: MarkMade | None, standing: MarkMade | None, verdict: Verdict, annotator: str
) -> Facts:
    by = rule = ""
    if not verdict.keep and verdict.by == "human":
        mine = standing is not None and standing.annotator == annotator
        by = "you" if mine else "others"
    elif not verdict.keep:
        by = "judge" if verdict.by == "judge" else "rules"
        rule = verdict.rule if verdict.by == "rule" else ""
    kind = own.mark if own is not None else ""
    return Facts(kind, standing is not None, by, rule, row.turn >= 0)


def mark_of(marks: Iterable[MarkMade], annotator: str) -> MarkMade | None:
    """The annotator's own among an action's marks."""
    return next((mark for mark in marks if mark.annotator == annotator), None)


class Pace:
    """How fast one marks: what was read, over the time between marks without the breaks."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._seconds = 0.0
        self._read = 0

    def add(self, at: int, many: int) -> None:
        """So many actions were read at this time (UTC µs)."""
        if self._last is not None:
            gap = (at - self._last) / 1e6
            if gap <= BREAK:
                self._seconds += gap
                self._read += many
        self._last = at

    @property
    def a_minute(self) -> float | None:
        """None until there is something to measure."""
        return self._read * 60 / self._seconds if self._seconds >= 1 and self._read > 0 else None
