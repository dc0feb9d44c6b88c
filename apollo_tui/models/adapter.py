"""What the adapters of all SDKs have in common: ask, fold what streams in, explain what fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Protocol

import httpx2

from apollo_tui.errors import ModelError, ReplyBroken
from apollo_tui.log.types import Usage
from apollo_tui.models import Delta, Reply, Request
from apollo_tui.models.endpoint import CONNECT_SECONDS, READ_SECONDS, Endpoint
from apollo_tui.models.failures import Caller
from apollo_tui.models.prices import price_of, token_cost
from apollo_tui.models.share import share_of

TIMEOUT = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)

_MISSHAPEN = (AttributeError, LookupError, TypeError, ValueError)
"""What reading an SDK's object may raise: the SDKs build theirs from whatever came, unchecked."""


class Growing(Protocol):
    """A reply while it streams, folded from an SDK's events."""

    def take(self, event: Any) -> Sequence[Delta]: ...

    def usage(self) -> Usage: ...

    def reply(self, usage: Usage) -> Reply:
        """The whole reply. Raises ReplyBroken when it had no stop reason, ContextTooLong when it
        ended because the window was full."""
        ...


class Adapter(ABC):
    """Implements `Model` on an SDK. The key is read anew for every call."""

    api: str
    failures: ClassVar[tuple[type[Exception], ...]]
    """What the SDK raises for an API that fails: its own errors, httpx2's, and bad JSON."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = endpoint.name
        self.endpoint = endpoint
        self._http: httpx2.AsyncClient | None = None

    @property
    def priced(self) -> bool:
        return price_of(self.endpoint.settings) is not None

    def cost(self, usage: Usage) -> float | None:
        return token_cost(price_of(self.endpoint.settings), usage)

    async def check(self) -> None:
        """Raise KeyMissing without a key, ModelUnavailable when nobody listens."""
        await self.endpoint.check()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Reply]:
        caller = self.endpoint.caller()
        settings = self.endpoint.settings
        body = self.body(request)
        growing, begun = self.growing(caller, body), False
        async with share_of(self.name, settings).call() as rent:
            try:
                async with await self.ask(caller, body) as events:
                    async for event in events:
                        begun = True
                        for delta in _taken(growing, event, caller):
                            yield delta
            except self.failures as error:
                raise self.explain(caller, error, begun) from error
            rent_cost = rent.dollars()
        try:
            usage = growing.usage()
            cost = self.cost(usage) if rent_cost is None else rent_cost
            reply = growing.reply(usage.model_copy(update={"cost_usd": cost}))
        except _MISSHAPEN as error:
            raise ReplyBroken(f"the reply of {caller.api} is not what its API promises") from error
        yield reply

    def http(self) -> httpx2.AsyncClient:
        """One client for all calls. It follows no redirects: they would carry the key along."""
        if self._http is None:
            self._http = self.new_http()
        return self._http

    @abstractmethod
    def new_http(self) -> httpx2.AsyncClient: ...

    @abstractmethod
    def body(self, request: Request) -> dict[str, Any]:
        """What is sent, except `stream`."""

    @abstractmethod
    def growing(self, caller: Caller, body: dict[str, Any]) -> Growing: ...

    @abstractmethod
    async def ask(
        self, caller: Caller, body: dict[str, Any]
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]: ...

    @abstractmethod
    def explain(self, caller: Caller, error: Exception, begun: bool) -> ModelError:
        """What an error means; `begun`: a part of the reply had come."""


def _taken(growing: Growing, event: Any, caller: Caller) -> Sequence[Delta]:
    try:
        return growing.take(event)
    except _MISSHAPEN as error:
        raise ReplyBroken(f"{caller.api} sent a chunk that is not what its API promises") from error
