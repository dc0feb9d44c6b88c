"""Where a row of an export comes from: its rollout and segment, and who decided on each of its actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from apollo_tui.errors import ExportError, UnknownName, UsageError
from apollo_tui.filter.export.facts import FACTS_FILE, read_facts
from apollo_tui.filter.export.rows import read_row
from apollo_tui.filter.export.source import FilteredRollout, Source
from apollo_tui.filter.verdicts import Verdict, standing_mark
from apollo_tui.log.read import History
from apollo_tui.log.trajectory import Action, ActionKey
from apollo_tui.log.types import Value


class Meta(Value):
    """What a row says of itself; formats may add more."""

    model_config = ConfigDict(extra="ignore")

    rollout: str
    name: str = ""
    segment: int
    steps: tuple[int, ...] = Field(default=(), max_length=2)
    trained: frozenset[tuple[int, int]] = frozenset()
    filter_run: str


@dataclass(frozen=True, slots=True)
class ActionOrigin:
    """One action of a row. `at` is when the decision was made (UTC µs): a person's mark, a judge's
    word, or for a rule and for what nobody decided on the filter run."""

    action: Action
    trained: bool
    verdict: Verdict
    at: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    meta: Meta
    name: str  # what the rollout is called now
    actions: tuple[ActionOrigin, ...]


def row_at(place: str) -> tuple[Path, Meta]:
    """The file and the meta of FILE:LINE. Raises UsageError or ExportError."""
    file, _, line = place.rpartition(":")
    if not file or not line.isdecimal() or int(line) < 1:
        raise UsageError(f"{place!r} is no FILE:LINE; lines count from 1")
    path, number = Path(file), int(line)
    try:
        with path.open("rb") as lines:
            found = next((text for at, text in enumerate(lines, 1) if at == number), None)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if found is None:
        raise UsageError(f"{path} has no line {number}")
    return path, read_meta(path, number, read_row(path, number, found))


def read_meta(path: Path, number: int, row: Mapping[str, Any]) -> Meta:
    """Raises ExportError naming the line."""
    try:
        return Meta.model_validate(row["meta"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("meta", *first["loc"]))
        raise ExportError(f"{path} line {number}: {where}: {first['msg']}") from error


def find_origin(history: History, path: Path, meta: Meta) -> Origin:
    """What the log knows of a row. Raises ExportError when it does not hold the row's filter run."""
    facts = read_facts(path.parent) if (path.parent / FACTS_FILE).is_file() else None
    reviewed_only = facts is not None and facts.reviewed_only
    rollout = filtered_again(history, meta.filter_run, meta.rollout, reviewed_only=reviewed_only)
    actions = tuple(
        ActionOrigin(
            action, trained, verdict, decided_at(rollout, verdict), _note(trained, verdict)
        )
        for action in _actions(rollout, meta)
        for trained in [(action.step, action.ordinal) in meta.trained]
        for verdict in [rollout.verdicts.of(action.step, action.ordinal)]
    )
    return Origin(meta, rollout.name, actions)


def filtered_again(
    history: History, run: str, rollout: str, *, reviewed_only: bool
) -> FilteredRollout:
    """A rollout as an earlier export had it. Raises ExportError when the log does not hold it."""
    try:
        row = history.filter_run(run)
    except UnknownName as error:
        raise ExportError(
            f"this comes from the filter run {run}, which this log does not hold; choose the home it was "
            "made in with --home"
        ) from error
    if rollout not in row.rollouts:
        raise ExportError(f"the filter run {run} has no rollout {rollout}: the row was changed")
    # A rollout that the gate closed was decided on all the same.
    alone = replace(row, rollouts=(rollout,), gated={})
    (found,) = Source(history, alone, reviewed_only=reviewed_only).rollouts()
    return found


def _actions(rollout: FilteredRollout, meta: Meta) -> Iterator[Action]:
    """The actions of the row's own replies, not of those it carries as context."""
    if not meta.steps:
        return
    first, last = meta.steps[0], meta.steps[-1]
    replies = {turn.step.number for one in rollout.samples() for turn in one.sample.turns}
    replies |= {step for step, _ in meta.trained}
    for number in sorted(replies):
        if first <= number <= last and number in rollout.steps:
            yield from rollout.steps[number].actions


def decided_at(rollout: FilteredRollout, verdict: Verdict) -> int | None:
    """When what decided was said (UTC µs)."""
    key: ActionKey = (verdict.step, verdict.ordinal)
    if verdict.by == "human":
        mark = standing_mark(rollout.marks().get(key, ()))
        return None if mark is None else rollout.history.time_of(mark.seq)
    if verdict.by == "judge":
        return rollout.history.judged_at(
            verdict.rule, rollout.rollout, *key, as_of=rollout.run.as_of
        )
    return rollout.run.at


def _note(trained: bool, verdict: Verdict) -> str:
    if trained and not verdict.keep:
        return "the better reply of a pair trains in spite of it"
    if not trained and verdict.keep:
        return "kept, and does not train in this row: another action of its reply is masked, or its place is in another row"
    return ""


def said_of(verdict: Verdict) -> str:
    """A verdict in words: who decided, by which rule or code, and why."""
    if verdict.by == "default":
        return "kept: nobody and no rule said anything"
    what = "kept" if verdict.keep else "masked"
    who = {"human": "a person", "judge": "a judge", "rule": "a rule"}[verdict.by]
    rule = f" ({verdict.rule})" if verdict.rule else ""
    return f"{what} by {who}{rule}" + (f": {verdict.why}" if verdict.why else "")
