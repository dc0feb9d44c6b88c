"""Both adapters through the real SDKs against a real server, in good days and bad."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from apollo_tui.errors import (
    ContextTooLong,
    KeyMissing,
    ModelError,
    ModelUnavailable,
    ReplyBroken,
)
from apollo_tui.log.types import AssistantMessage, Message, Prompt, ToolMessage, UserMessage
from apollo_tui.models import Model, Request
from tests.models.asking import BASH, PROMPT, ask, model_of, streamed
from tests.models.llmock_server import LlmockServer, running_llmock, script_conversation

BASES = {"openai": "/v1", "anthropic": "/anthropic"}


@pytest.fixture(scope="module")
def running() -> Iterator[LlmockServer]:
    with running_llmock() as server:
        yield server


@pytest.fixture
def server(running: LlmockServer) -> LlmockServer:
    running.reset()
    return running


@pytest.fixture(params=sorted(BASES))
async def model(
    request: pytest.FixtureRequest, server: LlmockServer, tmp_path: Path
) -> AsyncIterator[Model]:
    settings = {
        "api": request.param,
        "model": "test-model",
        "base_url": server.base_url + BASES[request.param],
        "price": {"input": 1.0, "output": 1_000_000.0},
    }
    async with model_of("glm", tmp_path, models={"glm": settings}) as made:
        yield made


async def test_text_streams_and_ends_with_one_reply(server: LlmockServer, model: Model) -> None:
    script_conversation(server, [{"text": "There are two files, “a” and b."}])
    reply, deltas = await ask(model)
    assert reply.message.text == streamed(deltas, "text") == "There are two files, “a” and b."
    assert len(deltas) > 3
    assert (reply.finish, reply.served_model) == ("stop", "test-model")
    assert reply.usage.output > 0
    assert not reply.usage.estimated
    assert reply.usage.cost_usd == pytest.approx(reply.usage.output + reply.usage.input / 1e6)


async def test_several_calls_in_one_reply(server: LlmockServer, model: Model) -> None:
    calls: list[dict[str, Any]] = [
        {"tool": "bash", "arguments": {"command": 'echo "ü" | wc -c'}},
        {"tool": "finish"},
    ]
    script_conversation(server, [{"text": "Two at once.", "actions": calls}])
    reply, deltas = await ask(model)
    assert reply.finish == "actions"
    assert [(call.tool, call.arguments) for call in reply.message.actions] == [
        ("bash", {"command": 'echo "ü" | wc -c'}),
        ("finish", {}),
    ]
    assert len({call.id for call in reply.message.actions}) == 2
    first = "".join(delta.text for delta in deltas if delta.tool == "bash")
    assert json.loads(first) == {"command": 'echo "ü" | wc -c'}
    assert any(delta.tool == "finish" for delta in deltas)


async def test_a_conversation_with_observations(server: LlmockServer, model: Model) -> None:
    script_conversation(
        server,
        [
            {"tool": "bash", "arguments": {"command": "ls"}},
            {"tool": "bash", "arguments": {"command": "pwd"}},
            {"tool": "finish", "arguments": {}},
        ],
    )
    messages: list[Message] = [UserMessage(text="List the files.")]
    tools = []
    for _ in range(3):
        reply, _ = await ask(model, Prompt(messages=tuple(messages), tools=(BASH,)))
        call = reply.message.actions[0]
        tools.append(call.tool)
        messages += [
            reply.message,
            ToolMessage(call_id=call.id, tool=call.tool, text="a b", error=True),
        ]
    assert tools == ["bash", "bash", "finish"]
    assert [request["status"] for request in server.requests()] == [200, 200, 200]


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ({"status": 400, "message": "prompt is too long: 9 > 8"}, ContextTooLong, "window of glm"),
        ({"status": 400, "message": "bad tool"}, ModelError, "refused the request (400): bad tool"),
        ({"status": 401}, KeyMissing, "auth set glm"),
        ({"status": 402}, ModelUnavailable, "wants to be paid"),
        ({"status": 403}, KeyMissing, "does not allow"),
        ({"status": 404}, ModelUnavailable, "correct the model's name or base URL"),
        ({"status": 413}, ContextTooLong, "window of glm"),
        ({"status": 429}, ModelUnavailable, "limits the rate"),
        ({"status": 500}, ModelUnavailable, "failed (500)"),
        ({"status": 503}, ModelUnavailable, "failed (503)"),
        ({"status": 529}, ModelUnavailable, "overloaded"),
    ],
)
async def test_refusals(
    server: LlmockServer,
    model: Model,
    fault: dict[str, Any],
    error: type[ModelError],
    says: str,
) -> None:
    server.queue({"type": "fail", **fault})
    with pytest.raises(ModelError) as raised:
        await ask(model)
    assert type(raised.value) is error
    assert says in raised.value.line
    assert "\n" not in str(raised.value)
    assert len(server.requests()) == 1, "the SDK must not try again by itself"


async def test_retry_after_is_handed_on_and_the_next_call_works(
    server: LlmockServer, model: Model
) -> None:
    server.queue({"type": "fail", "status": 429, "retry_after": 3600})
    with pytest.raises(ModelUnavailable) as raised:
        await ask(model)
    assert raised.value.retry_after == 3600
    script_conversation(server, [{"text": "Here."}])
    assert (await ask(model))[0].message.text == "Here."


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("disconnect", "broke in the middle of a reply"),
        ("truncate", "ended before it was whole"),
        ("malformed", "not JSON"),
    ],
)
@pytest.mark.parametrize("after", [2, 4])
async def test_a_reply_that_breaks_is_never_taken_for_whole(
    server: LlmockServer, model: Model, kind: str, says: str, after: int
) -> None:
    script_conversation(server, [{"tool": "bash", "arguments": {"command": "rm -r build"}}])
    server.queue({"type": "stream_fault", "kind": kind, "after_chunks": after})
    with pytest.raises(ReplyBroken, match=says):
        await ask(model)


async def test_arguments_that_are_no_json_are_kept_as_they_came(
    server: LlmockServer, model: Model
) -> None:
    script_conversation(server, [{"tool": "bash", "arguments": {"command": "ls"}}])
    server.queue({"type": "tool_fault", "kind": "malformed_arguments"})
    reply, deltas = await ask(model)
    call = reply.message.actions[0]
    assert call.arguments == {}
    assert call.malformed == streamed(deltas, "action")
    observation = ToolMessage(call_id=call.id, tool=call.tool, text="not JSON", error=True)
    script_conversation(server, [{"text": "Sorry."}])
    again = Prompt(messages=(*PROMPT.messages, reply.message, observation), tools=(BASH,))
    assert (await ask(model, again))[0].message.text == "Sorry."


async def test_cancelling_a_stalled_reply_returns_at_once(
    server: LlmockServer, model: Model
) -> None:
    script_conversation(server, [{"text": "one two three four five six"}])
    server.queue({"type": "stream_fault", "kind": "stall", "stall_seconds": 30, "after_chunks": 5})
    began = asyncio.Event()

    async def listen() -> None:
        async for _ in model.stream(Request(PROMPT)):
            began.set()

    task = asyncio.create_task(listen())
    await asyncio.wait_for(began.wait(), 10)
    started = monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert monotonic() - started < 1
    script_conversation(server, [{"text": "Back."}])
    assert (await ask(model))[0].message.text == "Back."


async def test_check_is_silent_when_somebody_listens(model: Model) -> None:
    await model.check()


async def test_an_empty_reply_in_the_history_is_sendable(
    server: LlmockServer, model: Model
) -> None:
    script_conversation(server, [{"text": "Now."}])
    history = (*PROMPT.messages, AssistantMessage(), UserMessage(text="Go on."))
    assert (await ask(model, Prompt(messages=history)))[0].message.text == "Now."
