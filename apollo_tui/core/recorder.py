"""Writing one rollout's facts: append to the log, then fold, in the same order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence

from apollo_tui.core.progress import Progress
from apollo_tui.log.events import Event
from apollo_tui.log.store import Log


def now() -> int:
    """UTC microseconds."""
    return time.time_ns() // 1000


class Recorder:
    """The only way a running rollout writes: what `progress` says is what the log says."""

    def __init__(self, log: Log, rollout: str, progress: Progress) -> None:
        self.log = log
        self.rollout = rollout
        self.progress = progress
        self.writing = asyncio.Lock()  # one write at a time: the fold's order is the log's

    async def record(self, *events: Event, texts: Iterable[str] = (), durable: bool = False) -> int:
        """Append in one transaction; returns the last seq once it is committed."""
        return await self.decide(lambda _: events, texts=texts, durable=durable)

    async def decide(
        self,
        choose: Callable[[Progress], Iterable[Event]],
        *,
        texts: Iterable[str] = (),
        durable: bool = False,
    ) -> int:
        """Like `record`, with events chosen when nothing else is being written (so that numbers
        counted from `progress` are unique). Choosing none writes nothing and returns 0."""
        async with self.writing:
            stamped = [
                event
                if event.at
                else event.model_copy(update={"at": max(now(), self.progress.last_at)})
                for event in choose(self.progress)
            ]
            if not stamped:
                return 0
            # A write that has begun is finished and folded even when its caller is cancelled.
            return await _unbroken(self._write(stamped, list(texts), durable))

    async def _write(self, events: list[Event], texts: list[str], durable: bool) -> int:
        seq = await self.log.append(*events, texts=texts, durable=durable)
        for event in events:
            self.progress.apply(event)
        return seq


async def record_together(log: Log, recorders: Sequence[Recorder], events: Sequence[Event]) -> None:
    """Append facts about several rollouts in one transaction, durably: all of them or none.

    `recorders` are those of the rollouts among them that run; always name them in the same order, as
    nothing else may be written of any of them meanwhile.
    """

    async def write() -> int:
        stamped = [event.model_copy(update={"at": now()}) for event in events]
        seq = await log.append(*stamped, durable=True)
        for recorder in recorders:
            for event in stamped:
                if event.rollout == recorder.rollout:
                    recorder.progress.apply(event)
        return seq

    async with contextlib.AsyncExitStack() as stack:
        for recorder in recorders:
            await stack.enter_async_context(recorder.writing)
        await _unbroken(write())


async def _unbroken(work: Coroutine[object, object, int]) -> int:
    """Await `work` to its end; a cancellation that arrives meanwhile is raised afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()
