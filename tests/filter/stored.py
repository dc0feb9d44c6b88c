"""Rollouts made by hand, written to a real log, with a stored filter run over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from apollo_tui.filter.export.source import FilteredRollout, Source
from apollo_tui.filter.run import FilterSettings, filter_rollout
from apollo_tui.log.events import Event, FilterRunFinished, FilterRunStarted, VerdictGiven
from apollo_tui.log.read import History
from apollo_tui.log.store import Log
from apollo_tui.log.trajectory import read_trajectory
from tests.filter.made import Made

RUN = "run-1"


async def write(database: Path, *made: Made, settings: FilterSettings | None = None) -> None:
    """Append the events and texts of each, then what the filter decides on them as RUN."""
    log = await Log.open(database)
    try:
        for one in made:
            await log.append(*one.events, texts=one.texts.values())
        await store_run(log, settings or FilterSettings())
    finally:
        await log.close()


async def store_run(log: Log, settings: FilterSettings) -> None:
    """A filter run over all rollouts of a log, as the core writes it."""
    rollouts = tuple(row.id for row in await log.rollouts())
    history = History(log.path)
    try:
        verdicts = [
            event for rollout in rollouts for event in _verdicts(history, rollout, settings)
        ]
        as_of = history.last_seq()
    finally:
        history.close()
    started = FilterRunStarted(
        run=RUN, rollouts=rollouts, configuration=settings.model_dump(mode="json"), as_of=as_of
    )
    masked = sum(event.verdict == "mask" for event in verdicts)
    finished = FilterRunFinished(run=RUN, as_of=as_of, kept=len(verdicts) - masked, masked=masked)
    events: Sequence[Event] = (started, *verdicts, finished)
    await log.append(*events)


def _verdicts(history: History, rollout: str, settings: FilterSettings) -> list[VerdictGiven]:
    decided = filter_rollout(read_trajectory(history, rollout), history.text, settings).decided
    return [
        VerdictGiven(
            rollout=rollout,
            run=RUN,
            step=verdict.step,
            ordinal=verdict.ordinal,
            verdict="keep" if verdict.keep else "mask",
            decided_by=verdict.by,
            rule=verdict.rule,
            why=verdict.why,
        )
        for verdict in decided.values()
    ]


def only_rollout(history: History) -> FilteredRollout:
    """The one rollout of RUN."""
    (rollout,) = Source(history, history.filter_run(RUN)).rollouts()
    return rollout
