"""Search engines: Serper (Google's results) and the Bing Web Search API, one function for each.

Only these requests carry the user's key, only to the engine's own address, and no redirect is
followed with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import httpx2
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from apollo_tui.errors import WebError

Name = Literal["serper", "bing"]

ADDRESSES: dict[Name, str] = {
    "serper": "https://google.serper.dev",
    "bing": "https://api.bing.microsoft.com/v7.0",
}
MOST: dict[Name, int] = {"serper": 100, "bing": 50}  # results that one request may ask for
SECONDS = 30.0
_LARGEST = 4 << 20  # bytes of an answer
_TRIES = 3


@dataclass(frozen=True)
class Engine:
    """Whom to ask, how, and with which key."""

    name: Name
    key: str
    address: str | None = None  # None: the official one
    region: str = "us"  # a country, two letters
    language: str = "en"
    wait: float = 1.0  # seconds before a second try, twice as long before the third

    @property
    def base(self) -> str:
        return self.address or ADDRESSES[self.name]


class Found(BaseModel):
    """One result."""

    model_config = ConfigDict(frozen=True)

    title: str = ""
    link: str = ""
    snippet: str = ""
    date: str = ""


async def search(engine: Engine, query: str, top_k: int) -> tuple[Found, ...]:
    """The best results, at most `top_k` and at most what one request may ask for.

    Raises WebError when the engine refuses, is down, or says what cannot be read.
    """
    count = min(top_k, MOST[engine.name])
    ask = _ask_serper if engine.name == "serper" else _ask_bing
    return tuple((await ask(engine, query, count))[:count])


class _Read(BaseModel):
    """A part of an answer, of which only some fields are read; null is the same as none."""

    model_config = ConfigDict(extra="ignore")


A = TypeVar("A", bound=_Read)
_Words = Annotated[str, BeforeValidator(lambda given: "" if given is None else given)]


class _SerperResult(_Read):
    title: _Words = ""
    link: _Words = ""
    snippet: _Words = ""
    date: _Words = ""


class _SerperAnswer(_Read):
    organic: list[_SerperResult] = Field(default_factory=list)


async def _ask_serper(engine: Engine, query: str, count: int) -> Sequence[Found]:
    asked = {"q": query, "num": count, "gl": engine.region, "hl": engine.language}
    request = httpx2.Request(
        "POST", f"{engine.base}/search", json=asked, headers={"X-API-KEY": engine.key}
    )
    answer = _parsed(_SerperAnswer, engine, await _send(engine, request))
    return [Found(**one.model_dump()) for one in answer.organic]


class _BingResult(_Read):
    name: _Words = ""
    url: _Words = ""
    snippet: _Words = ""
    date_published: _Words = Field(default="", alias="datePublished")


class _BingPages(_Read):
    value: list[_BingResult] = Field(default_factory=list)


class _BingAnswer(_Read):
    web_pages: _BingPages | None = Field(default=None, alias="webPages")


async def _ask_bing(engine: Engine, query: str, count: int) -> Sequence[Found]:
    market = f"{engine.language}-{engine.region.upper()}"
    request = httpx2.Request(
        "GET",
        f"{engine.base}/search",
        params={"q": query, "count": count, "mkt": market},
        headers={"Ocp-Apim-Subscription-Key": engine.key},
    )
    answer = _parsed(_BingAnswer, engine, await _send(engine, request))
    return [
        Found(title=one.name, link=one.url, snippet=one.snippet, date=one.date_published[:10])
        for one in (answer.web_pages.value if answer.web_pages else ())
    ]


async def _send(engine: Engine, request: httpx2.Request) -> bytes:
    """The answer's body. What may pass (busy, down, no connection) is tried again."""
    failure = ""
    async with httpx2.AsyncClient(timeout=SECONDS, follow_redirects=False) as client:
        for number in range(_TRIES):
            if number:
                await asyncio.sleep(engine.wait * 2 ** (number - 1))
            try:
                async with asyncio.timeout(SECONDS):
                    status, body = await _once(engine, client, request)
            except (TimeoutError, httpx2.TimeoutException):
                failure = f"no answer within {SECONDS:g} s"
            except httpx2.HTTPError as error:
                failure = " ".join(str(error).split())[:200] or type(error).__name__
            else:
                if status == 200:
                    return body
                failure = _refusal(engine, status, body)
                if status != 429 and status < 500:
                    break
    raise WebError(f"the search engine {engine.name} at {engine.base} failed: {failure}")


async def _once(
    engine: Engine, client: httpx2.AsyncClient, request: httpx2.Request
) -> tuple[int, bytes]:
    response = await client.send(request, stream=True)
    try:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > _LARGEST:
                raise WebError(
                    f"the search engine {engine.name} answered with more than {_LARGEST >> 20} MiB"
                )
        return response.status_code, bytes(body)
    finally:
        await response.aclose()


def _refusal(engine: Engine, status: int, body: bytes) -> str:
    """What an error status means. An engine may repeat the key: it is never shown."""
    said = " ".join(body.decode("utf-8", "replace").split()).replace(engine.key, "(the key)")[:200]
    answered = f"it answered {status}" + (f": {said}" if said else "")
    if status in (401, 403):
        return f"{answered}; set its key with: apollo-tui auth set {engine.name}"
    return answered


def _parsed(kind: type[A], engine: Engine, body: bytes) -> A:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        raise WebError(
            f"the search engine {engine.name} at {engine.base} said what cannot be read: {where}: "
            f"{first['msg']}"
        ) from error
