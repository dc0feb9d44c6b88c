"""Between a person and a running agent: the pause gate, interrupts, and what ends a wait early.

Advice and the pause are facts of the log (`progress.py` holds them); the channel only wakes the
loop, so that no wait has to poll.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """Work was cut off before it ended. `why` is "stop" or "pause"."""

    def __init__(self, why: Literal["stop", "pause"]) -> None:
        super().__init__(why)
        self.why = why


class Channel:
    """Signals of one rollout. All methods are called on the core's event loop."""

    def __init__(self, paused: bool = False) -> None:
        self._open = asyncio.Event()
        if not paused:
            self._open.set()
        self._stop = asyncio.Event()
        self._cut = asyncio.Event()
        self._poke = asyncio.Event()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def pause(self, now: bool) -> None:
        """Close the gate. With `now`, also cut off the model call in flight."""
        self._open.clear()
        if now:
            self._cut.set()
        self._poke.set()

    def resume(self) -> None:
        self._cut.clear()
        self._open.set()
        self._poke.set()

    def stop(self) -> None:
        self._stop.set()

    def poke(self) -> None:
        """Something a sleeping agent should look at: advice, a new key."""
        self._poke.set()

    async def gate(self) -> None:
        """Wait while paused. Raises Interrupted when the rollout is stopped."""
        if self.stopping:
            raise Interrupted("stop")
        if not self._open.is_set():
            await self.unless_stopped(_wait(self._open))

    async def model_call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a model call, which stop and *pause now* cut off."""
        return await self._unless(work, (self._stop, "stop"), (self._cut, "pause"))

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._unless(work, (self._stop, "stop"))

    async def sleep(self, seconds: float) -> bool:
        """Sleep; True when something ended it early. Raises Interrupted on stop."""
        self._poke.clear()
        try:
            async with asyncio.timeout(seconds):
                await self.unless_stopped(_wait(self._poke))
        except TimeoutError:
            return False
        return True

    async def _unless(
        self,
        work: Coroutine[Any, Any, T],
        *signals: tuple[asyncio.Event, Literal["stop", "pause"]],
    ) -> T:
        task = asyncio.ensure_future(work)
        waits = {asyncio.ensure_future(signal.wait()): why for signal, why in signals}
        try:
            await asyncio.wait([task, *waits], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Interrupted(next(why for wait, why in waits.items() if wait.done()))
        finally:
            for pending in (task, *waits):
                pending.cancel()
            await asyncio.gather(task, *waits, return_exceptions=True)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
