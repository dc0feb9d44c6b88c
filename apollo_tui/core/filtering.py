"""Filter runs: the judge is asked, the rules and the marks are heard, and the verdicts are stored.

A run goes on in the core, whoever asked for it may leave. One that a core did not finish is ended by
the next one; the judge's answers are on the log, so running it again costs only what was not answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from pydantic import ValidationError

from apollo_tui.config import load
from apollo_tui.core.judging import Judging, Record
from apollo_tui.errors import ApolloError, CommandRefused, UnknownName, UsageError
from apollo_tui.filter.docket import Batch, Docket, batches
from apollo_tui.filter.gates import closed_gate, score_at_fork
from apollo_tui.filter.judge import keys
from apollo_tui.filter.run import FilterSettings, counted, filter_rollout, verdict_events
from apollo_tui.filter.verdicts import Verdicts
from apollo_tui.log import commands
from apollo_tui.log.events import (
    Exported,
    FilterRunEnded,
    FilterRunFinished,
    FilterRunStarted,
    JudgeAnswered,
    JudgeBegan,
    JudgeWord,
    RolloutFiltered,
)
from apollo_tui.log.read import History
from apollo_tui.log.store import Log
from apollo_tui.log.trajectory import read_trajectory
from apollo_tui.models import Model
from apollo_tui.models.choose import choose_model
from apollo_tui.paths import Home

T = TypeVar("T")

CHUNK = 500  # verdicts of one append: other writers wait no longer than for these

logger = logging.getLogger(__name__)


@dataclass
class _Run:
    """A run that goes on. `ends` is the event of its end, should it be cancelled."""

    id: str
    command: commands.Filter
    settings: FilterSettings
    as_of: int
    model: Model | None  # the judge that is asked; None: nobody is
    ends: FilterRunEnded
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class _ToJudge:
    """What of one rollout is for the judge, apart from what it has answered there before."""

    copied: tuple[JudgeWord, ...]  # said of the very same in another rollout
    batches: list[Batch]
    replies: int  # of judges, on the log


class FilterRuns:
    """The filter runs of one home."""

    def __init__(self, home: Home, log: Log, record: Record) -> None:
        """`record` writes facts about a rollout, through its recorder while it runs."""
        self._home = home
        self._log = log
        self._record = record
        self._runs: dict[str, _Run] = {}
        self._judging: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def recover(self) -> None:
        """End the runs that a core left in the middle."""
        for row in await self._read(lambda history: history.filter_runs()):
            if row.state == "running":
                await self._log.append(_ended(row.run, "the core ended"), durable=True)

    async def stop(self) -> None:
        """The core ends, and its runs with it."""
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- commands ------------------------------------------------------------------------------

    async def obey(
        self, command: commands.Filter | commands.CancelFilter | commands.NoteExport
    ) -> dict[str, Any]:
        match command:
            case commands.Filter():
                return await self._start(command)
            case commands.CancelFilter():
                return await self._cancel(command)
            case commands.NoteExport():
                return await self._note_export(command)

    async def _start(self, command: commands.Filter) -> dict[str, Any]:
        """Begin a run. Raises UsageError, UnknownName, or what is wrong with the judge's model."""
        for _, event in await self._log.answered(command.command):
            if isinstance(event, FilterRunStarted):
                return {"run": event.run}
        settings = _settings(command)
        rollouts = tuple(dict.fromkeys(command.rollouts))
        as_of = await self._read(lambda history: _check(history, command, rollouts))
        model = await self._open_judge(command, settings)
        started = FilterRunStarted(
            run=secrets.token_hex(5),
            by=command.by,
            command=command.command,
            rollouts=rollouts,
            configuration=settings.model_dump(mode="json"),
            as_of=as_of,
        )
        await self._log.append(started, durable=True)
        ends = _ended(started.run, "the core was stopped")
        run = _Run(started.run, command, settings, as_of, model, ends)
        self._runs[run.id] = run
        run.task = asyncio.create_task(self._carry_out(run, rollouts), name=f"filter {run.id}")
        run.task.add_done_callback(functools.partial(self._is_over, run.id))
        return {"run": run.id}

    async def _cancel(self, command: commands.CancelFilter) -> dict[str, Any]:
        """End a run. Raises UnknownName; CommandRefused when it is over already."""
        row = await self._read(lambda history: history.filter_run(command.run))
        run = self._runs.get(row.run)
        if run is not None and run.task is not None:
            run.ends = FilterRunEnded(
                run=run.id,
                by=command.by,
                command=command.command,
                why=f"cancelled by {command.by}",
            )
            run.task.cancel()
            await asyncio.wait([run.task])
            row = await self._read(lambda history: history.filter_run(row.run))
        if row.state != "ended" or not await self._log.answered(command.command):
            raise CommandRefused(f"the filter run {row.run} has {row.state} already")
        return {"run": row.run}

    async def _note_export(self, command: commands.NoteExport) -> dict[str, Any]:
        """Raises UnknownName when there is no such run."""
        row = await self._read(lambda history: history.filter_run(command.run))
        if not await self._log.answered(command.command):
            exported = Exported(
                by=command.by,
                command=command.command,
                run=row.run,
                format=command.format,
                path=command.path,
                samples=command.samples,
                digest=command.digest,
            )
            await self._log.append(exported, durable=True)
        return {"run": row.run}

    async def _open_judge(self, command: commands.Filter, settings: FilterSettings) -> Model | None:
        if settings.judge is None or not command.ask_judge or command.as_of is not None:
            if command.judge_usd is not None:
                raise UsageError("a budget for the judge needs a judge that is asked")
            return None
        model = await asyncio.to_thread(choose_model, settings.judge, load(self._home), self._home)
        if command.judge_usd is not None and not model.priced:
            await model.close()
            raise UsageError(
                f"nobody knows what {settings.judge} costs, so no budget can hold; set its price in "
                "config.toml, or leave the budget out"
            )
        return model

    # --- one run -------------------------------------------------------------------------------

    async def _carry_out(self, run: _Run, rollouts: tuple[str, ...]) -> None:
        """To its end on the log, whatever happens."""
        try:
            await self._filter(run, rollouts)
        except asyncio.CancelledError:
            await self._log.append(run.ends, durable=True)
        except Exception as error:
            cause = _first_cause(error)
            if isinstance(cause, ApolloError):
                why = cause.line
            else:
                logger.exception("the filter run %s failed", run.id)
                why = f"{type(cause).__name__}: {cause}; see core.log"
            await self._log.append(_ended(run.id, why), durable=True)
        finally:
            if run.model is not None:
                await run.model.close()

    def _is_over(self, run: str, task: asyncio.Task[None]) -> None:
        self._runs.pop(run, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the filter run %s could not record its end", run, exc_info=error)

    async def _filter(self, run: _Run, rollouts: tuple[str, ...]) -> None:
        judging, as_of = None, run.as_of
        if run.model is not None:
            judging = await self._judge(run, run.model, rollouts)
            as_of = await self._read(lambda history: history.last_seq())
        counts: dict[str, RolloutFiltered] = {}
        gated: dict[str, str] = {}
        for rollout in rollouts:
            verdicts, counts[rollout], closed = await self._read(
                functools.partial(_filtered, rollout=rollout, as_of=as_of, settings=run.settings)
            )
            if closed:
                gated[rollout] = closed
            await self._store(run.id, rollout, verdicts)
        through = [one for rollout, one in counts.items() if rollout not in gated]
        await self._log.append(
            FilterRunFinished(
                run=run.id,
                as_of=as_of,
                kept=sum(one.kept for one in through),
                masked=sum(sum(one.masked.values()) for one in through),
                unread=sum(one.unread for one in through),
                judged=judging.judged if judging else 0,
                unjudged=sum(one.unjudged for one in counts.values()),
                why=_why_unjudged(run, judging),
                gated=gated,
                rollouts=counts,
                cost_usd=judging.cost if judging else 0.0,
            ),
            durable=True,
        )

    async def _store(self, run: str, rollout: str, verdicts: Verdicts) -> None:
        events = verdict_events(run, rollout, verdicts)
        while chunk := list(islice(events, CHUNK)):
            await self._record(rollout, *chunk)

    async def _judge(self, run: _Run, model: Model, rollouts: tuple[str, ...]) -> Judging:
        """Ask the judge what it has not been asked. Two runs never ask the same thing."""
        async with self._judging[model.name]:
            todo: dict[str, _ToJudge] = {}
            for rollout in rollouts:
                todo[rollout] = await self._read(
                    functools.partial(_to_judge, rollout=rollout, judge=model.name)
                )
                if words := todo[rollout].copied:
                    copied = JudgeAnswered(
                        rollout=rollout, run=run.id, judge=model.name, words=words, copied=True
                    )
                    await self._record(rollout, copied)
            asked = [batch for one in todo.values() for batch in one.batches]
            actions = sum(len(batch.actions) for batch in asked)
            await self._log.append(JudgeBegan(run=run.id, actions=actions))
            replies = Counter({rollout: one.replies for rollout, one in todo.items()})
            judging = Judging(
                run.id, model, self._log, self._record, replies, run.command.judge_usd
            )
            await judging.ask(asked)
            return judging

    async def _read(self, work: Callable[[History], T]) -> T:
        """Do something with the log's history on a thread, away from the event loop."""

        def read() -> T:
            with contextlib.closing(History(self._home.database)) as history:
                return work(history)

        return await asyncio.to_thread(read)


def _settings(command: commands.Filter) -> FilterSettings:
    try:
        return FilterSettings.model_validate(command.settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"the filter's settings: {where and f'{where}: '}{why}") from error


def _check(history: History, command: commands.Filter, rollouts: tuple[str, ...]) -> int:
    """The log's seq that a run looks at. Raises UnknownName or UsageError."""
    for rollout in rollouts:
        if history.rollout(rollout) is None:
            raise UnknownName(f"there is no rollout {rollout!r}; apollo-tui ls shows them")
    last = history.last_seq()
    if command.as_of is not None and command.as_of > last:
        raise UsageError(f"the log ends at {last}, before {command.as_of}")
    return command.as_of or last


def _to_judge(history: History, rollout: str, judge: str) -> _ToJudge:
    trajectory = read_trajectory(history, rollout)
    docket = Docket(trajectory)
    key_of = keys(docket, judge)
    answered = {
        said.key for _, all_said in trajectory.judged for said in all_said if said.judge == judge
    }
    new = {at: key for at, key in key_of.items() if key not in answered}
    known = history.judgements(judge, new.values())
    copied = tuple(
        JudgeWord.model_validate(
            {"step": at[0], "ordinal": at[1], "key": key, "verdict": said[0], "why": said[1]}
        )
        for at, key in new.items()
        if (said := known.get(key)) is not None
    )
    ask = {at for at, key in new.items() if key not in known}
    replies = sum(
        not json.loads(payload)["copied"]
        for _, _, payload in history.payloads(rollout, ("judge_answered",))
    )
    return _ToJudge(copied, list(batches(docket, key_of, ask)), replies)


def _filtered(
    history: History, rollout: str, as_of: int, settings: FilterSettings
) -> tuple[Verdicts, RolloutFiltered, str]:
    """The verdicts on a rollout, what they leave of it, and why it does not train at all, if so."""
    trajectory = read_trajectory(history, rollout, as_of)
    verdicts = filter_rollout(trajectory, history.text, settings)
    parent = trajectory.parent
    parent_score = score_at_fork(history.scores(parent) if parent else (), trajectory.forked_at)
    closed = closed_gate(trajectory, settings.gate, parent_score)
    return verdicts, counted(rollout, trajectory, verdicts, settings.judge), closed


def _why_unjudged(run: _Run, judging: Judging | None) -> str:
    """What came between the judge and actions it was to see; "" when nothing did."""
    if run.settings.judge is None:
        return ""
    if judging is None:
        return "the judge was not asked: what it had said before counts"
    return "; ".join(f"{count} not judged: {reason}" for reason, count in judging.missed.items())


def _ended(run: str, why: str) -> FilterRunEnded:
    return FilterRunEnded(run=run, why=why)


def _first_cause(error: BaseException) -> BaseException:
    """The error itself, or the first one in a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
