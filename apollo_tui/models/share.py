"""What all rollouts share of one model: how many may call at once, and an hourly price."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from time import monotonic
from weakref import WeakKeyDictionary

from apollo_tui.config import ModelSettings

_SHARES: WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[tuple[str, int | None, float | None], Share]
] = WeakKeyDictionary()


def share_of(name: str, settings: ModelSettings) -> Share:
    """The one share of this model in the running loop; a changed configuration makes a new one."""
    price = settings.price
    per_hour = None if price is None else price.per_hour
    shares = _SHARES.setdefault(asyncio.get_running_loop(), {})
    return shares.setdefault(
        (name, settings.concurrency, per_hour), Share(settings.concurrency, per_hour)
    )


class Share:
    """Calls of one model that run at the same time split its hourly price evenly."""

    def __init__(
        self,
        concurrency: int | None = None,
        per_hour: float | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._slots = None if concurrency is None else asyncio.Semaphore(concurrency)
        self._per_hour = per_hour
        self._calls = 0
        self._paid = 0.0  # seconds that a call from the very beginning would pay for by now
        self._now = clock
        self._read_at = clock()

    @contextlib.asynccontextmanager
    async def call(self) -> AsyncIterator[Rent]:
        """Hold one of the slots while a call runs; waits for a free one."""
        async with self._slots or contextlib.nullcontext():
            started = self._advance()
            self._calls += 1
            try:
                yield Rent(self, started)
            finally:
                self._advance()
                self._calls -= 1

    def _advance(self) -> float:
        now = self._now()
        if self._calls:
            self._paid += (now - self._read_at) / self._calls
        self._read_at = now
        return self._paid


class Rent:
    """One running call's part of the hourly price."""

    def __init__(self, share: Share, started: float) -> None:
        self._share = share
        self._started = started

    def dollars(self) -> float | None:
        """What the call has cost so far; None when its model is not paid by the hour."""
        per_hour = self._share._per_hour
        if per_hour is None:
            return None
        return (self._share._advance() - self._started) * per_hour / 3600
