"""All rollouts of one home: start, recover, command, stop."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from apollo_tui.client import Streamed
from apollo_tui.config import Config, load
from apollo_tui.core.disk import DiskWatch
from apollo_tui.core.filtering import FilterRuns
from apollo_tui.core.housekeeping import Housekeeping
from apollo_tui.core.importing import Importing
from apollo_tui.core.marking import ImportingMarks
from apollo_tui.core.preflight import plan_run
from apollo_tui.core.progress import Progress
from apollo_tui.core.recorder import Recorder, record_together
from apollo_tui.core.restore import restore_progress
from apollo_tui.core.rollout import Rollout
from apollo_tui.core.watching import FileWatch, Watcher
from apollo_tui.errors import ApolloError, CommandRefused, DiskFull, UnknownName
from apollo_tui.log import commands
from apollo_tui.log.events import (
    AdviceQueued,
    AdviceWithdrawn,
    Event,
    Marked,
    Paused,
    Resumed,
    RolloutCreated,
    RolloutEnded,
    RolloutRecovered,
    RolloutReopened,
    SandboxRemoved,
    StopRequested,
    Unmarked,
)
from apollo_tui.log.states import FINAL_STATES
from apollo_tui.log.store import Log
from apollo_tui.log.types import RolloutSpec
from apollo_tui.models.choose import choose_model
from apollo_tui.paths import Home
from apollo_tui.sandbox import Sandbox, SandboxSpec
from apollo_tui.sandbox.choose import open_sandbox

E = TypeVar("E")

logger = logging.getLogger(__name__)


class Supervisor:
    """Owns the running rollouts. One that fails never touches its neighbours."""

    def __init__(self, home: Home, log: Log, publish: Callable[[Streamed], None]) -> None:
        self.home = home
        self.log = log
        self.home_label = hashlib.sha256(str(home.path).encode()).hexdigest()[:12]
        self._publish = publish
        self._importing = Importing(log)
        self._running: dict[str, Rollout] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._filters = FilterRuns(home, log, self.record)
        self._importing_marks = ImportingMarks(home, log, self.record_together)
        self._housekeeping = Housekeeping(
            home, log, self.home_label, self._at_rest, self._sandbox_of
        )
        self._watcher = Watcher()
        self._disk = DiskWatch(home, log, self._running.values, self._take_up)
        self._watching_disk: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        return len(self._tasks)

    # --- lifetime ------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Take up every rollout that had not ended; remove what ended ones left behind."""
        await self._filters.recover()
        for rollout in await self.log.sandboxes_left():
            await self._clear_away(rollout)
        for rollout in await self.log.open_rollouts():
            recorder = Recorder(self.log, rollout, await restore_progress(self.log, rollout))
            await recorder.record(RolloutRecovered(rollout=rollout))
            await self._take_up(recorder)
        await self._disk.look()
        self._watching_disk = asyncio.create_task(self._disk.watch(), name="the disk's watch")

    async def _clear_away(self, rollout: str) -> None:
        """A core died between a rollout's final event and the removal of its sandbox."""
        progress = await restore_progress(self.log, rollout)
        stop, spec = progress.stop_requested, progress.spec
        if spec is None or (stop is not None and stop.jobs == "leave"):
            return
        sandbox = self._sandbox_of(rollout, spec)
        try:
            await sandbox.close(remove=True)
        except ApolloError as error:
            logger.warning("the sandbox of %s could not be removed: %s", spec.name, error.line)
            return
        await self.log.append(SandboxRemoved(rollout=rollout, identity=sandbox.identity))

    async def stop(self) -> None:
        """The core ends; containers and jobs stay, and another core goes on with them."""
        await self._filters.stop()
        tasks = list(self._tasks.values())
        if self._watching_disk is not None:
            tasks.append(self._watching_disk)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._watcher.close)

    async def _take_up(self, recorder: Recorder) -> None:
        spec = recorder.progress.spec
        assert spec is not None
        try:
            config = load(self.home)
            place = sandbox_spec(recorder.rollout, spec, self.home, config)
            rollout = Rollout(
                recorder,
                await asyncio.to_thread(choose_model, spec.model, config, self.home),
                self._sandbox_opener(spec, config.sandbox.image),
                place,
                self._publish,
                self.home,
                FileWatch(self._watcher, recorder, place.workspace, config.sandbox.exclude),
            )
        except ApolloError as error:
            await recorder.record(
                RolloutEnded(rollout=recorder.rollout, state="failed", reason=error.line),
                durable=True,
            )
            return
        if stopping := recorder.progress.stop_requested:
            rollout.stop_requested = stopping
            rollout.channel.stop()
        self._running[rollout.id] = rollout
        task = asyncio.create_task(rollout.run(), name=f"rollout {spec.name}")
        self._tasks[rollout.id] = task
        task.add_done_callback(functools.partial(self._ended, rollout.id))

    def _ended(self, rollout: str, task: asyncio.Task[None]) -> None:
        self._running.pop(rollout, None)
        self._tasks.pop(rollout, None)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, DiskFull):
            logger.error("rollout %s stands still: %s", rollout, error.line)
            self._disk.thrown_out(rollout)
        else:
            logger.error("rollout %s could not record its end", rollout, exc_info=error)

    def _sandbox_opener(
        self, spec: RolloutSpec, image: str | None = None
    ) -> Callable[[SandboxSpec], Sandbox]:
        if spec.sandbox == "none":
            raise CommandRefused(f"{spec.name} was imported: it has no sandbox")
        return functools.partial(
            open_sandbox, spec.sandbox, home_label=self.home_label, image=image
        )

    def _sandbox_of(self, rollout: str, spec: RolloutSpec) -> Sandbox:
        """The sandbox of a rollout that has ended, to be closed."""
        return self._sandbox_opener(spec)(sandbox_spec(rollout, spec, self.home))

    async def _at_rest(self, rollout: str) -> bool:
        """Whether a rollout does not run; when its end is being written, after that."""
        if (live := self._running.get(rollout)) and not live.has_ended:
            return False
        if ending := self._tasks.get(rollout):
            await asyncio.wait([ending])
        return rollout not in self._running

    # --- commands ------------------------------------------------------------------------------

    async def obey(self, command: commands.Command) -> dict[str, Any]:
        """Carry a command out; its answer is given after its event is durable.

        A command whose id was seen before does nothing and gets the same answer.
        """
        if isinstance(command, commands.Run):
            return await self._run(command)
        if isinstance(command, commands.Import):
            return await self._importing.obey(command)
        if isinstance(command, commands.ImportMarks):
            return await self._importing_marks.obey(command)
        if isinstance(command, commands.Filter | commands.CancelFilter | commands.NoteExport):
            return await self._filters.obey(command)
        if isinstance(command, commands.RemoveFiles):
            return await self._housekeeping.remove(command)
        if isinstance(command, commands.CollectGarbage):
            return await self._housekeeping.collect(command)
        if isinstance(command, commands.RolloutCommand) and (
            told := await self.log.answered(command.command)
        ):
            return _answer(told[0][1])
        match command:
            case commands.Pause():
                return await self._pause(command)
            case commands.Resume():
                return await self._resume(command)
            case commands.Stop():
                return await self._stop(command)
            case commands.Advise():
                return await self._advise(command)
            case commands.Unadvise():
                return await self._unadvise(command)
            case commands.Mark() | commands.Unmark():
                return await self._mark(command)
            case _:
                raise CommandRefused(f"the core does not know the command {command.method}")

    async def _run(self, command: commands.Run) -> dict[str, Any]:
        told = [
            event
            for number in range(command.count * len(command.tasks))
            for _, event in await self.log.answered(_nth(command.command, number))
        ]
        if not told:
            told = await self._start(command)
        return {
            "rollouts": [
                {"rollout": event.rollout, "name": event.spec.name}
                for event in told
                if isinstance(event, RolloutCreated)
            ]
        }

    async def _start(self, command: commands.Run) -> list[Event]:
        taken = {row.name for row in await self.log.rollouts()}
        specs = await plan_run(command, self.home, taken)
        created: list[Event] = [
            RolloutCreated(
                rollout=secrets.token_hex(6),
                by=command.by,
                command=_nth(command.command, number),
                spec=spec,
            )
            for number, spec in enumerate(specs)
        ]
        recorders = [
            Recorder(self.log, event.rollout, Progress()) for event in created if event.rollout
        ]
        for recorder, event in zip(recorders, created, strict=True):
            await recorder.record(event, durable=True)
        for recorder in recorders:
            await self._take_up(recorder)
        await self._disk.look()
        return created

    async def _pause(self, command: commands.Pause) -> dict[str, Any]:
        rollout = await self._live(command.rollout, "paused")
        await rollout.recorder.decide(
            lambda progress: (
                []
                if progress.paused and not command.now
                else [_said(Paused, command, now=command.now)]
            ),
            durable=True,
        )
        rollout.channel.pause(command.now)
        return {"rollout": rollout.id}

    async def _resume(self, command: commands.Resume) -> dict[str, Any]:
        if (live := self._running.get(command.rollout)) and not live.has_ended:
            await self._disk.require_room(live.spec.name)
            await live.recorder.decide(lambda _: [_said(Resumed, command)], durable=True)
            live.channel.resume()
            return {"rollout": live.id}
        async with self._housekeeping.deciding:
            await self._reopen(command)
        return {"rollout": command.rollout}

    async def _reopen(self, command: commands.Resume) -> None:
        if not await self._at_rest(command.rollout):
            return  # somebody else let it go on meanwhile
        recorder = Recorder(self.log, command.rollout, await self._known(command.rollout))
        progress = recorder.progress
        _refuse_imported(progress)
        if progress.state != "stopped":
            raise CommandRefused(f"{_name(progress)} has {progress.state} and cannot go on")
        if progress.files_removed is not None:
            raise CommandRefused(
                f"{_name(progress)} cannot go on: its files were removed "
                f"({progress.files_removed.why}); run its task anew"
            )
        await self._disk.require_room(_name(progress))
        await recorder.record(_said(RolloutReopened, command), durable=True)
        await self._take_up(recorder)

    async def _stop(self, command: commands.Stop) -> dict[str, Any]:
        rollout = await self._live(command.rollout, "stopped")
        request = _said(StopRequested, command, jobs=command.jobs, evaluate=command.evaluate)
        await rollout.recorder.record(request, durable=True)
        rollout.stop_requested = request
        rollout.channel.stop()
        return {"rollout": rollout.id}

    async def _advise(self, command: commands.Advise) -> dict[str, Any]:
        rollout = await self._live(command.rollout, "advised")
        if rollout.spec.hands_off:
            raise CommandRefused(f"{rollout.spec.name} is hands-off: a control run takes no advice")
        if command.resume:
            await self._disk.require_room(rollout.spec.name)
        given = 0

        def queue(progress: Progress) -> list[Event]:
            nonlocal given
            given = progress.advice_count + 1
            events: list[Event] = [_said(AdviceQueued, command, advice=given, text=command.text)]
            if command.resume and progress.paused:
                events.append(Resumed(rollout=rollout.id, by=command.by))
            return events

        await rollout.recorder.decide(queue, durable=True)
        if command.resume:
            rollout.channel.resume()
        rollout.channel.poke()
        return {"rollout": rollout.id, "advice": given}

    async def _unadvise(self, command: commands.Unadvise) -> dict[str, Any]:
        rollout = await self._live(command.rollout, "changed")

        def withdraw(progress: Progress) -> list[Event]:
            if command.advice not in progress.queue:
                raise CommandRefused(
                    f"advice {command.advice} is not in the queue of {rollout.spec.name}: it was "
                    "delivered, withdrawn, or never given"
                )
            return [_said(AdviceWithdrawn, command, advice=command.advice)]

        await rollout.recorder.decide(withdraw, durable=True)
        return {"rollout": rollout.id}

    async def _mark(self, command: commands.Mark | commands.Unmark) -> dict[str, Any]:
        missing = await self.log.missing_actions(
            command.rollout, [(ref.step, ref.ordinal) for ref in command.actions]
        )
        if missing:
            step, ordinal = missing[0]
            raise CommandRefused(f"there is no action {step}.{ordinal} to mark")
        event: Event = (
            _said(
                Marked,
                command,
                actions=command.actions,
                mark=command.mark,
                code=command.code,
                note=command.note,
            )
            if isinstance(command, commands.Mark)
            else _said(Unmarked, command, actions=command.actions)
        )
        await self.record(command.rollout, event, durable=True)
        return {"rollout": command.rollout}

    async def record(
        self, rollout: str, *events: Event, texts: Iterable[str] = (), durable: bool = False
    ) -> int:
        """Put facts about a rollout on the log: through its recorder while it runs."""
        if live := self._running.get(rollout):
            return await live.recorder.record(*events, texts=texts, durable=durable)
        return await self.log.append(*events, texts=texts, durable=durable)

    async def record_together(self, events: Sequence[Event]) -> None:
        """Put facts about several rollouts on the log, all of them or none, durably."""
        concerned = sorted({event.rollout for event in events if event.rollout is not None})
        live = [
            self._running[rollout].recorder for rollout in concerned if rollout in self._running
        ]
        await record_together(self.log, live, events)

    async def _live(self, rollout: str, done_to: str) -> Rollout:
        live = self._running.get(rollout)
        if live is not None and not live.has_ended:
            if live.progress.finished and done_to != "stopped":
                raise CommandRefused(
                    f"{live.spec.name}: {live.progress.finished}; it is being scored and cannot be "
                    f"{done_to}"
                )
            return live
        progress = live.progress if live is not None else await self._known(rollout)
        _refuse_imported(progress)
        if progress.state in FINAL_STATES:
            raise CommandRefused(f"{_name(progress)} has {progress.state} and cannot be {done_to}")
        raise CommandRefused(f"{_name(progress)} is not running in this core")

    async def _known(self, rollout: str) -> Progress:
        progress = await restore_progress(self.log, rollout)
        if progress.spec is None:
            raise UnknownName(f"there is no rollout {rollout!r}; apollo-tui ls shows them")
        return progress


def sandbox_spec(
    rollout: str, spec: RolloutSpec, home: Home, config: Config | None = None
) -> SandboxSpec:
    """What a rollout's sandbox is made from: the rollout before the task before the settings."""
    settings = (config or Config()).sandbox
    return SandboxSpec(
        name=rollout,
        rollout=rollout,
        folder=home.rollout(rollout),
        image=spec.image or spec.task.image,
        network=spec.network or spec.task.network,
        mounts=(*spec.task.mounts, *spec.mounts),
        memory=int(settings.memory_gb * (1 << 30)),
        processes=settings.processes,
    )


def _said(kind: Callable[..., E], command: Any, **fields: Any) -> E:
    """The event of a person's command: who, which rollout, under which id."""
    return kind(rollout=command.rollout, by=command.by, command=command.command, **fields)


def _answer(event: Event) -> dict[str, Any]:
    if isinstance(event, AdviceQueued):
        return {"rollout": event.rollout, "advice": event.advice}
    return {"rollout": event.rollout}


def _nth(command: str, number: int) -> str:
    """The id under which the n-th rollout of one command is recorded."""
    return command if number == 0 else f"{command}#{number}"


def _refuse_imported(progress: Progress) -> None:
    if progress.spec is not None and progress.spec.sandbox == "none":
        raise CommandRefused(
            f"{progress.spec.name} was imported: it is read-only, and can only be read and marked"
        )


def _name(progress: Progress) -> str:
    return progress.spec.name if progress.spec else "the rollout"
