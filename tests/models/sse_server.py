"""A tiny streaming HTTP server for what llmock does not do: it answers exactly what a test says.

async with serve_sse(Answer(events=[{"type": "message_start", …}])) as server:
    ... server.base_url, then server.requests[0].body ...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """The answer to one request. An event is sent as JSON, under its own `type` where it has one;
    a text is sent as it is. `hold` keeps the stream open until the client goes away."""

    events: Sequence[dict[str, Any] | str] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hold: bool = False


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class SseServer:
    base_url: str
    requests: list[Asked] = field(default_factory=list)
    client_gone: asyncio.Event = field(default_factory=asyncio.Event)


@contextlib.asynccontextmanager
async def serve_sse(*answers: Answer) -> AsyncIterator[SseServer]:
    """Answers requests in order, each on a connection of its own."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            served.requests.append(await _read(reader))
            reply = left.pop(0)
            await _write(writer, reply)
            if reply.hold:
                await reader.read()
                served.client_gone.set()
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    served = SseServer(f"http://127.0.0.1:{port}")
    try:
        yield served
    finally:
        server.close()
        await server.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Asked(first.split()[1], headers, json.loads(body))


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    kind = "text/event-stream" if answer.status == 200 else "application/json"
    headers = {"content-type": kind, "connection": "close"} | answer.headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {answer.status} Answer\r\n{lines}\r\n".encode())
    for event in answer.events:
        writer.write(_encode(event, streams=answer.status == 200))
        await writer.drain()


def _encode(event: dict[str, Any] | str, *, streams: bool) -> bytes:
    if isinstance(event, str):
        return event.encode()
    if not streams:
        return json.dumps(event).encode()
    named = f"event: {event['type']}\n" if "type" in event else ""
    return f"{named}data: {json.dumps(event)}\n\n".encode()
