"""A real llmock server for tests: both APIs, scripted conversations, faults.

    async with serve_llmock() as server:
        script_conversation(server, [{"tool": "bash", "arguments": {"command": "ls"}},
                                     {"tool": "finish", "arguments": {}}])
        ... openai:any-model@{server.base_url}/v1 ...
        ... anthropic:any-model@{server.base_url}/anthropic ...

llmock answers each request with the next queued reply. With an empty queue it decides by itself:
it calls an offered tool with arguments made up from its schema, or answers in text.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_START_SECONDS = 30.0


@dataclass(frozen=True)
class LlmockServer:
    base_url: str  # http://127.0.0.1:PORT, without /v1 or /anthropic

    def queue(self, *behaviors: dict[str, Any]) -> None:
        """Queue replies and faults, for instance {"type": "fail", "status": 429, "retry_after": 2}
        or {"type": "stream_fault", "kind": "disconnect", "after_chunks": 3}."""
        self._call("POST", "scenario", {"behaviors": list(behaviors)})

    def reset(self) -> None:
        self._call("POST", "reset", {})

    def requests(self) -> list[dict[str, Any]]:
        """What was asked so far, oldest first, with status and fault of each."""
        return list(self._call("GET", "requests")["requests"])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.base_url}/_llmock/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return dict(json.load(answer))


def script_conversation(server: LlmockServer, replies: Sequence[dict[str, Any]]) -> None:
    """Queue the replies of one conversation, one for each request that streams.

    A reply is {"tool": …, "arguments": {…}}, or {"text": …}, or
    {"text": …, "actions": [{"tool": …, "arguments": {…}}, …]}. A request that fails with an HTTP
    error uses no reply up; one whose stream breaks does.
    """
    server.queue(*map(_behavior, replies))


def _behavior(reply: dict[str, Any]) -> dict[str, Any]:
    actions = list(reply.get("actions", []))
    if "tool" in reply:
        actions.append(reply)
    calls = [{"name": call["tool"], "arguments": call.get("arguments", {})} for call in actions]
    return {
        "type": "reply",
        "text": reply.get("text", ""),
        "tool_calls": calls,
        "match": {"stream": True},
    }


@contextlib.asynccontextmanager
async def serve_llmock(*options: str) -> AsyncIterator[LlmockServer]:
    """A server of its own on a free port; `options` go to `llmock serve`."""
    with running_llmock(*options) as server:
        yield server


@contextlib.contextmanager
def running_llmock(*options: str) -> Iterator[LlmockServer]:
    """The same for fixtures that several tests share."""
    process, port = _start(options)
    try:
        yield LlmockServer(f"http://127.0.0.1:{port}")
    finally:
        _end(process)


def _start(options: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start on a port that was free a moment ago; another one when it was taken meanwhile."""
    for _ in range(5):
        port = _free_port()
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from llmock.cli import app; app()", "serve"),
                *("--port", str(port), "--log-level", "critical", *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if _comes_up(process, port):
            return process, port
        _end(process)
    raise RuntimeError("llmock did not start; try: python -m llmock.cli serve")


def _comes_up(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, urllib.error.URLError):
            LlmockServer(f"http://127.0.0.1:{port}").requests()
            return True
        time.sleep(0.05)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:  # it waits for a stalled stream to end
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
