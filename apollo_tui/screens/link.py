"""The console's tie to the core: it follows what happens, and sends what the annotator decides.

A key never waits for the core: what it asks for is put into the outbox, sent in order, and its
outcome comes back as a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from apollo_tui.client import Appended, Client, CoreBack, CoreGone, Streamed
from apollo_tui.errors import ApolloError

Heard = Appended | Streamed | CoreGone | CoreBack


@dataclass(frozen=True, slots=True)
class Order:
    """One command: `send` does it; then either `done` or `refused` is called."""

    send: Callable[[Client], Awaitable[Any]]
    done: Callable[[Any], None]
    refused: Callable[[ApolloError], None]


class Link:
    """`hear` is called with everything that comes from the core, on the event loop."""

    def __init__(self, client: Client, hear: Callable[[Heard], None]) -> None:
        self.client = client
        self._hear = hear
        self._outbox: asyncio.Queue[Order] = asyncio.Queue()

    def send(self, order: Order) -> None:
        self._outbox.put_nowait(order)

    async def follow(self) -> None:
        """Connect (starting a core if none runs) and follow, for ever."""
        start, pause, known_gone = True, 0.5, False
        while True:
            try:
                await self.client.open(start=start)
                if known_gone:
                    self._hear(CoreBack())
                    known_gone = False
                pause = 0.5
                async for heard in self.client.follow():
                    self._hear(heard)
            except (ApolloError, OSError) as error:
                start = False
                if not known_gone:
                    self._hear(CoreGone(_one_line(error)))
                    known_gone = True
            await asyncio.sleep(pause)  # nothing tells that a core has come up
            pause = min(pause * 1.5, 3.0)

    async def deliver(self) -> None:
        """Send what is in the outbox, one after the other, for ever."""
        while True:
            order = await self._outbox.get()
            try:
                answer = await order.send(self.client)
            except ApolloError as error:
                order.refused(error)
            except OSError as error:
                order.refused(ApolloError(f"the core cannot be reached: {error}"))
            else:
                order.done(answer)

    async def close(self) -> None:
        await self.client.close()


def _one_line(error: BaseException) -> str:
    return error.line if isinstance(error, ApolloError) else str(error)
