"""Two exports compared: which actions train in one and not in the other, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from apollo_tui.errors import ExportError
from apollo_tui.filter.export.facts import Facts, read_facts
from apollo_tui.filter.export.origin import filtered_again, read_meta, said_of
from apollo_tui.filter.export.rows import read_rows
from apollo_tui.filter.export.source import FilteredRollout
from apollo_tui.log.read import History
from apollo_tui.log.trajectory import ActionKey

Trained = dict[str, set[ActionKey]]
"""By rollout, the actions that train."""


@dataclass(frozen=True, slots=True)
class Change:
    """An action that trains in one export only; `why` says why not in the other."""

    rollout: str
    name: str
    step: int
    ordinal: int
    why: str


@dataclass
class Difference:
    """`gone` train in the old export only, `new` in the new one only, `both` in both."""

    gone: list[Change] = field(default_factory=list)
    new: list[Change] = field(default_factory=list)
    both: int = 0


def compare(old: Path, new: Path, history: History) -> Difference:
    """Compare two export folders. `history` is the log they came from; what it does not hold is said
    to be unknown. Raises ExportError when a folder is no export, LogCorrupt."""
    sides = [_Side(folder, history) for folder in (old, new)]
    before, after = sides
    difference = Difference()
    for rollout in sorted({*before.trained, *after.trained}):
        had, has = before.trained.get(rollout, set()), after.trained.get(rollout, set())
        difference.both += len(had & has)
        name = (after.facts.exported | before.facts.exported).get(rollout, rollout)
        for only, other, changes in (
            (had - has, after, difference.gone),
            (has - had, before, difference.new),
        ):
            changes += (
                Change(rollout, name, *key, other.why_not(rollout, key)) for key in sorted(only)
            )
    return difference


class _Side:
    """One of the two exports, and what the log knows of it."""

    def __init__(self, folder: Path, history: History) -> None:
        self.facts: Facts = read_facts(folder)
        self.trained: Trained = {}
        for rollout, key in _trained(folder, self.facts):
            self.trained.setdefault(rollout, set()).add(key)
        self._history = history
        self._rollout = cache(self._filtered)

    def why_not(self, rollout: str, key: ActionKey) -> str:
        """Why an action does not train in this export."""
        if rollout not in self.facts.exported:
            gate = self.facts.gated.get(rollout)
            return f"its rollout does not train: {gate}" if gate else "its rollout is not exported"
        filtered = self._rollout(rollout)
        if isinstance(filtered, str):
            return filtered
        if key[0] not in filtered.steps:
            return f"it was not on the log yet, as of {self.facts.as_of}"
        verdict = filtered.verdicts.of(*key)
        if not verdict.keep:
            return said_of(verdict)
        return self._kept_all_the_same(filtered, key)

    def _kept_all_the_same(self, filtered: FilteredRollout, key: ActionKey) -> str:
        masks = {turn.step: turn for one in filtered.samples() for turn in one.masks}
        if key[0] not in masks:
            return "kept, but its reply is in no sample: it was replaced or rewound"
        if self.facts.sample is not None:
            return f"kept, but its row is not in the sample of {self.facts.sample}"
        if not masks[key[0]].whole:
            return f"kept, but {self.facts.format} masks whole replies, and not all of it is kept"
        return "kept, but left out of the rows: see what the README counts"

    def _filtered(self, rollout: str) -> FilteredRollout | str:
        try:
            return filtered_again(
                self._history,
                self.facts.filter_run,
                rollout,
                reviewed_only=self.facts.reviewed_only,
            )
        except ExportError:
            return f"not known: this log does not hold the filter run {self.facts.filter_run}"


def _trained(folder: Path, facts: Facts) -> Iterator[tuple[str, ActionKey]]:
    path = folder / facts.rows_file
    for number, row in read_rows(path):
        meta = read_meta(path, number, row)
        for key in meta.trained:
            yield meta.rollout, key
