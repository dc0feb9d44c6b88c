"""Room on the home's disk: told when it gets low, and rollouts pause before there is none."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from apollo_tui.config import Config, load
from apollo_tui.config.settings import Retention
from apollo_tui.core.progress import Progress
from apollo_tui.core.recorder import Recorder
from apollo_tui.core.restore import restore_progress
from apollo_tui.core.rollout import Rollout
from apollo_tui.errors import ApolloError, CommandRefused, DiskFull
from apollo_tui.log.events import DiskLow, Event, Paused, RolloutRecovered
from apollo_tui.log.states import FINAL_STATES
from apollo_tui.log.store import Log
from apollo_tui.paths import Home

logger = logging.getLogger(__name__)

EVERY = 60.0  # seconds between looks


@dataclass(frozen=True)
class Room:
    """How full the disk is, of 1, and what that means by the settings."""

    used: float
    warns: bool
    pauses: bool

    @property
    def why(self) -> str:
        """Why rollouts are paused, in words."""
        return f"disk {self.used:.0%} full"


class DiskWatch:
    """Looks at the disk now and then. Notes on the log when it has become low, once each time; pauses
    every rollout while it is too full.

    A rollout whose events find no room stands still, as its log does. It is taken up again, paused,
    once there is room.
    """

    def __init__(
        self,
        home: Home,
        log: Log,
        running: Callable[[], Iterable[Rollout]],
        take_up: Callable[[Recorder], Awaitable[None]],
        every: float = EVERY,
    ) -> None:
        """`running` gives the rollouts that run; `take_up` makes one run that does not."""
        self._home = home
        self._log = log
        self._running = running
        self._take_up = take_up
        self._every = every
        self._thrown_out: set[str] = set()  # ended by a log without room, which has them running
        self._held: set[str] = set()  # stand still, but their pause found no room on the log
        self._told = Room(0.0, False, False)
        self._wrong = ""  # what was wrong with the settings at the last look

    async def watch(self) -> None:
        """Until cancelled. What goes wrong at one look is said, and the next one comes."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look()
            except (ApolloError, OSError) as error:
                logger.error("the disk was not looked at: %s", error)

    async def look(self) -> Room:
        """Look, note, and pause what must pause."""
        room = await self.room()
        if room.pauses or room.warns:
            if (room.warns, room.pauses) > (self._told.warns, self._told.pauses):
                logger.warning("%s: %s", self._home.path, room.why)
                await self._note(room)
        elif self._told.warns:
            logger.info("%s: %s, there is room again", self._home.path, room.why)
        self._told = room
        if room.pauses:
            await self._pause_all(room.why)
        else:
            await self._go_on()
        return room

    def thrown_out(self, rollout: str) -> None:
        """A rollout ended because the log had no room for its events."""
        self._thrown_out.add(rollout)

    async def _pause_all(self, why: str) -> None:
        for rollout in list(self._running()):
            if rollout.has_ended or rollout.progress.finished or rollout.progress.paused:
                continue
            rollout.channel.pause(now=False)
            try:
                await _pause(rollout.recorder, why)
                self._held.discard(rollout.id)
            except DiskFull as error:
                logger.error("%s stands still, unrecorded: %s", rollout.spec.name, error.line)
                self._held.add(rollout.id)

    async def _go_on(self) -> None:
        for rollout in list(self._running()):
            if rollout.id in self._held and not rollout.progress.paused:
                rollout.channel.resume()
        self._held.clear()
        for lost in list(self._thrown_out):
            self._thrown_out.discard(lost)
            try:
                await self._take_up_again(lost)
            except DiskFull as error:
                logger.error("rollout %s stands still: %s", lost, error.line)
                self._thrown_out.add(lost)

    async def _take_up_again(self, rollout: str) -> None:
        recorder = Recorder(self._log, rollout, await restore_progress(self._log, rollout))
        if recorder.progress.state not in FINAL_STATES:
            await recorder.record(RolloutRecovered(rollout=rollout))
            await _pause(recorder, "the disk was full")
            await self._take_up(recorder)

    async def require_room(self, name: str) -> None:
        """Raises CommandRefused where a rollout that went on would be paused at once."""
        room = await self.room()
        if room.pauses:
            raise CommandRefused(
                f"{name} stays paused: {room.why}; make room (apollo-tui du, apollo-tui gc), or raise "
                "retention.disk_pause in config.toml"
            )

    async def room(self) -> Room:
        settings = self._settings()
        usage = await asyncio.to_thread(shutil.disk_usage, self._home.path)
        used = usage.used / max(1, usage.used + usage.free)
        return Room(used, used >= settings.disk_warn, used >= settings.disk_pause)

    def _settings(self) -> Retention:
        try:
            config, self._wrong = load(self._home), ""
        except ApolloError as error:
            if error.line != self._wrong:
                logger.warning("the disk is watched by the default settings: %s", error.line)
            config, self._wrong = Config(), error.line
        return config.retention

    async def _note(self, room: Room) -> None:
        try:
            await self._log.append(DiskLow(used=room.used, pauses=room.pauses), durable=True)
        except ApolloError as error:  # so full that even this cannot be written
            logger.error("%s cannot be noted on the log: %s", room.why, error.line)


async def _pause(recorder: Recorder, why: str) -> None:
    """The program's own pause, unless somebody has paused it, or nothing of it is left to pause."""

    def choose(progress: Progress) -> list[Event]:
        if progress.paused or progress.finished or progress.state in FINAL_STATES:
            return []
        return [Paused(rollout=recorder.rollout, why=why)]

    await recorder.decide(choose, durable=True)
