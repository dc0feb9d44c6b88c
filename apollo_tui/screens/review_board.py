"""What Review is drawn from: one rollout folded, with all that rules, judge and people said of it.

A long rollout takes seconds, so `read_board` runs on a thread with a connection of its own; this module
brings the filter with it, so the console imports it there too, never at its start.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from apollo_tui.config.read import load
from apollo_tui.config.settings import Review
from apollo_tui.errors import ApolloError, ConfigError, LogError
from apollo_tui.filter.agreement import Agreement, agreement, judge_with_people
from apollo_tui.filter.mask import TurnMask, mask
from apollo_tui.filter.rules import OPTIONAL_RULES, RULES, Case, ask_rules
from apollo_tui.filter.run import FilterSettings, words
from apollo_tui.filter.samples import Sample, samples
from apollo_tui.filter.tokenizer import Tokenizer, load_tokenizer
from apollo_tui.filter.verdicts import Finding, Verdict, Verdicts, decide, standing_mark
from apollo_tui.log.read import FilterRunRow, History
from apollo_tui.log.trajectory import (
    Action,
    ActionKey,
    MarkMade,
    Trajectory,
    fold,
    read_trajectory,
)
from apollo_tui.paths import Home
from apollo_tui.screens.marks import Mark
from apollo_tui.screens.review_state import TurnTokens
from apollo_tui.screens.review_tally import Tally, facts, mark_of

_NOTHING = fold(())
NEWEST = (1 << 63) - 1
"""Stands for the seq of a mark that is still on its way."""


class Abandoned(Exception):
    """Nobody waits for the board any more."""


class WatchedHistory(History):
    """A history that stops a long fold (raising Abandoned) once `wanted` says no."""

    def __init__(self, database: Path, wanted: Callable[[], bool]) -> None:
        super().__init__(database)
        self._wanted = wanted

    def payloads(
        self, rollout: str, kinds: Iterable[str], as_of: int | None = None
    ) -> Iterator[tuple[int, str, str]]:
        for payload in super().payloads(rollout, kinds, as_of):
            self._check()
            yield payload

    def text(self, ref: str) -> str:
        self._check()
        return super().text(ref)

    def _check(self) -> None:
        if not self._wanted():
            raise Abandoned


@dataclass(frozen=True, slots=True)
class Row:
    """An action: the segment it was said in, and which of its sample's turns; -1 when none is."""

    action: Action
    segment: int
    turn: int

    @property
    def key(self) -> ActionKey:
        return (self.action.step, self.action.ordinal)


@dataclass(slots=True)
class Words:
    """What was said of one action by others than people: rules by name, the judge, a suggestion."""

    rules: dict[str, Finding] = field(default_factory=dict)
    judge: Finding | None = None
    suggested: Finding | None = None


@dataclass(frozen=True)
class Board:
    """One rollout for Review. `orders` holds the places of all rows in each order; `settings_of` is
    the filter run whose settings these are, "" for the defaults."""

    rollout: str
    rows: Sequence[Row]
    at: Mapping[ActionKey, int]
    marks: Mapping[ActionKey, tuple[MarkMade, ...]]
    words: Mapping[ActionKey, Words]
    verdicts: Verdicts
    samples: Sequence[Sample]
    orders: Mapping[str, Sequence[int]]
    ranks: Mapping[str, Sequence[int]]  # of each row in each order
    said: frozenset[int]  # places of the rows that `words` has something of
    tally: Tally
    judge: str | None
    rules: int  # how many are asked
    agreement: Agreement | None  # of the judge with people
    settings_of: str = ""
    gate: str = ""  # why the gate lets nothing of it train
    seconds: float = 0.0  # that the making took

    def verdict(
        self, key: ActionKey, marks: tuple[MarkMade, ...], *, judge: bool = True
    ) -> Verdict:
        """The verdict on an action if these were its marks: what `decide` says of it alone; without
        `judge` as if it had not spoken."""
        said = self.words.get(key, Words())
        alone = replace(_NOTHING, marks=((key, marks),) if marks else ())
        rules = {name: [finding] for name, finding in said.rules.items()}
        judged = {self.judge: [said.judge]} if judge and self.judge and said.judge else {}
        return decide(alone, rules, judged).of(*key)

    def marks_with(self, key: ActionKey, annotator: str, own: Mark | None) -> tuple[MarkMade, ...]:
        """An action's marks, with the annotator's own replaced by one that is on its way."""
        made = self.marks.get(key, ())
        if own is None:
            return made
        others = tuple(mark for mark in made if mark.annotator != annotator)
        if not own.kind:
            return others
        return (*others, MarkMade(annotator, own.kind, own.code, own.note, NEWEST))

    def standing(self, marks: tuple[MarkMade, ...]) -> MarkMade | None:
        return standing_mark(marks)

    def mask(self, segment: int, turn: int, verdicts: Mapping[ActionKey, Verdict]) -> TurnMask:
        """What of one turn trains; `verdicts` are those on its actions."""
        sample = self.samples[segment]
        (masked,) = mask(replace(sample, turns=(sample.turns[turn],)), Verdicts(verdicts))
        return masked


def read_board(history: History, rollout: str, annotator: str) -> Board:
    """Fold a rollout and ask the rules, with the settings of its newest finished filter run.

    Raises LogError (LogCorrupt when a text is missing) or Abandoned.
    """
    began = time.monotonic()
    run = newest_run(history, rollout)
    settings = settings_of(run)
    board = make_board(read_trajectory(history, rollout), history.text, settings, annotator)
    return replace(
        board,
        settings_of=run.run if run is not None else "",
        gate=run.gated.get(rollout, "") if run is not None else "",
        seconds=time.monotonic() - began,
    )


def make_board(
    trajectory: Trajectory, read: Callable[[str], str], settings: FilterSettings, annotator: str
) -> Board:
    """The board of a trajectory; what `annotator` masked is counted apart from what others did."""
    # The steps of filter_rollout, whose parts are kept: Review says what each of them thinks.
    found, suggested = ask_rules(Case(trajectory, read, settings.rules))
    judge = settings.judge
    judged = [] if judge is None else words(trajectory, judge)
    verdicts = decide(trajectory, found, {} if judge is None else {judge: judged}, suggested)
    said = _gather(found, judged, suggested)
    rows, sent = _rows(trajectory)
    at = {row.key: place for place, row in enumerate(rows)}
    marks = dict(trajectory.marks)
    orders = _orders(trajectory.rollout, rows, said)
    return Board(
        rollout=trajectory.rollout,
        rows=rows,
        at=at,
        marks=marks,
        words=said,
        verdicts=verdicts,
        samples=sent,
        orders=orders,
        ranks={name: _ranks(order) for name, order in orders.items()},
        said=frozenset(at[key] for key in said if key in at),
        tally=_tally(rows, marks, verdicts, annotator),
        judge=judge,
        rules=sum(
            name not in settings.rules.off
            and (name not in OPTIONAL_RULES or name in settings.rules.on)
            for name in RULES
        ),
        agreement=None if judge is None else agreement(judge_with_people(trajectory, judge)),
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the configuration says of Review, and what was wrong with it."""

    settings: Review
    tokenizer: Tokenizer | None
    complaint: str


def read_settings(home: Home) -> Chosen:
    """Never raises: a broken setting is said, and Review goes on without it."""
    try:
        settings = load(home).review
    except ConfigError as error:
        return Chosen(Review(), None, error.line)
    if settings.tokenizer is None:
        return Chosen(settings, None, "")
    try:
        return Chosen(settings, load_tokenizer(Path(settings.tokenizer).expanduser()), "")
    except ApolloError as error:
        return Chosen(settings, None, f"review.tokenizer: {error.line}")


def count_tokens(history: History, sample: Sample, tokenizer: Tokenizer) -> list[TurnTokens]:
    """The tokens of each reply of a sample, without what a chat template puts around them: of its
    thinking and text, and of each call's tool and arguments. Raises LogCorrupt or Abandoned."""
    counted = []
    for turn in sample.turns:
        message = json.loads(history.text(turn.step.message_ref))
        prose = "".join(block["text"] for block in message["thinking"]) + message["text"]
        calls = tuple(tokenizer.count(_call(call)) for call in message["actions"])
        counted.append(TurnTokens(tokenizer.count(prose), calls))
    return counted


def _call(call: Mapping[str, Any]) -> str:
    said = call["malformed"]
    if said is None:
        said = json.dumps(call["arguments"], ensure_ascii=False)
    return f"{call['tool']}{said}"


def newest_run(history: History, rollout: str) -> FilterRunRow | None:
    """The newest finished filter run that this rollout was in."""
    runs = history.filter_runs()
    return next(
        (run for run in reversed(runs) if run.state == "finished" and rollout in run.rollouts), None
    )


def settings_of(run: FilterRunRow | None) -> FilterSettings:
    """Raises LogError when this version does not understand the run's configuration."""
    if run is None:
        return FilterSettings()
    try:
        return FilterSettings.model_validate(run.configuration)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LogError(
            f"the configuration of filter run {run.run} is not understood ({where}: {first['msg']}); "
            "a new run of apollo-tui filter stores one that is"
        ) from error


def _gather(
    found: Mapping[str, list[Finding]], judged: list[Finding], suggested: list[Finding]
) -> dict[ActionKey, Words]:
    said: dict[ActionKey, Words] = {}
    for name, findings in found.items():
        for finding in findings:
            said.setdefault(finding.key, Words()).rules.setdefault(name, finding)
    for finding in judged:
        said.setdefault(finding.key, Words()).judge = finding
    for finding in suggested:
        said.setdefault(finding.key, Words()).suggested = finding
    return said


def _rows(trajectory: Trajectory) -> tuple[list[Row], list[Sample]]:
    replied = [segment for segment in trajectory.segments if segment.steps]
    sent = list(samples(trajectory.rollout, replied))
    rows: list[Row] = []
    for place, (segment, sample) in enumerate(zip(replied, sent, strict=True)):
        turns = {turn.step.number: index for index, turn in enumerate(sample.turns)}
        rows += [
            Row(action, place, turns.get(step.number, -1))
            for step in segment.steps
            for action in step.actions
        ]
    return rows, sent


def _tally(
    rows: Iterable[Row],
    marks: Mapping[ActionKey, tuple[MarkMade, ...]],
    verdicts: Verdicts,
    annotator: str,
) -> Tally:
    tally = Tally()
    for row in rows:
        made = marks.get(row.key, ())
        own, standing = mark_of(made, annotator), standing_mark(made)
        tally.count(facts(row, own, standing, verdicts.of(*row.key), annotator), 1)
    return tally


def _ranks(order: Sequence[int]) -> list[int]:
    ranks = [0] * len(order)
    for rank, place in enumerate(order):
        ranks[place] = rank
    return ranks


def _orders(
    rollout: str, rows: Sequence[Row], said: Mapping[ActionKey, Words]
) -> dict[str, list[int]]:
    """Every order has every row; equals stand as they happened. What a judge is asked about is only
    an order where one has spoken."""
    places = range(len(rows))
    nothing = Words()
    of = [said.get(row.key, nothing) for row in rows]
    precedence = {name: rank for rank, name in enumerate(RULES)}

    def by_rule(place: int) -> int:
        if of[place].suggested is not None:
            return -1  # only a suggestion waits for somebody to decide
        return min((precedence[name] for name in of[place].rules), default=len(precedence))

    def agreed(place: int) -> int:
        judge = of[place].judge
        if judge is not None and judge.keep == bool(of[place].rules):
            return 0
        return 1 if of[place].suggested is not None else 2

    def drawn(place: int) -> bytes:
        step, ordinal = rows[place].key
        return hashlib.blake2b(f"{rollout} {step}.{ordinal}".encode(), digest_size=8).digest()

    orders = {"transcript": list(places), "rule": sorted(places, key=by_rule)}
    if any(one.judge is not None for one in of):
        orders["disagreement"] = sorted(places, key=agreed)
    return orders | {"sample": sorted(places, key=drawn)}
