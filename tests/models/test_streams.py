"""What streams in, to the byte: thinking, cache usage, odd servers, errors inside a stream."""

from __future__ import annotations

import asyncio
import json
import socket
import traceback
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.errors import (
    ContextTooLong,
    KeyMissing,
    ModelError,
    ModelUnavailable,
    ReplyBroken,
)
from apollo_tui.log.types import Prompt, Thinking, ToolMessage, Usage
from apollo_tui.models import Delta, Request
from tests.models.asking import BASH, PROMPT, ask, model_of, streamed
from tests.models.sse_server import Answer, serve_sse

Event = dict[str, Any]


# --- Anthropic ---------------------------------------------------------------------------------


def message_start(**usage: int) -> Event:
    return {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "claude-served",
            "stop_reason": None,
            "usage": {"input_tokens": 5, "output_tokens": 1} | usage,
        },
    }


def block(index: int, content: Event, *deltas: Event) -> list[Event]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def message_end(reason: str = "end_turn", **usage: int) -> list[Event]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage},
        {"type": "message_stop"},
    ]


THOUGHT = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "Files, "},
    {"type": "thinking_delta", "thinking": "then."},
    {"type": "signature_delta", "signature": "c2ln"},
)
REDACTED = block(1, {"type": "redacted_thinking", "data": "ZGF0YQ=="})
CALL = block(
    3,
    {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}},
    {"type": "input_json_delta", "partial_json": ""},
    {"type": "input_json_delta", "partial_json": '{"comm'},
    {"type": "input_json_delta", "partial_json": 'and": "ls"}'},
)
SAID = block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Looking."})


async def test_signed_thinking_comes_back_unchanged_in_the_next_request(tmp_path: Path) -> None:
    first = Answer(
        [
            message_start(),
            *(*THOUGHT, *REDACTED, *SAID, *CALL),
            *message_end("tool_use", output_tokens=40),
        ]
    )
    second = Answer([message_start(), *message_end(output_tokens=1)])
    async with (
        serve_sse(first, second) as server,
        model_of(f"anthropic:claude@{server.base_url}", tmp_path) as model,
    ):
        reply, deltas = await ask(model)
        observed = ToolMessage(call_id="toolu_1", tool="bash", text="a")
        await ask(model, Prompt(messages=(*PROMPT.messages, reply.message, observed)))
    assert reply.message.thinking == (
        Thinking(text="Files, then.", signature="c2ln"),
        Thinking(redacted="ZGF0YQ=="),
    )
    assert (reply.message.text, reply.message.actions[0].arguments) == (
        "Looking.",
        {"command": "ls"},
    )
    assert (reply.finish, reply.served_model) == ("actions", "claude-served")
    assert streamed(deltas, "thinking") == "Files, then."
    assert Delta("action", "", "bash") in deltas
    assert server.requests[1].body["messages"][1] == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Files, then.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZGF0YQ=="},
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls"}},
        ],
    }


async def test_cached_tokens_count_as_input_and_later_counts_replace_earlier(
    tmp_path: Path,
) -> None:
    start = message_start(cache_read_input_tokens=1000, cache_creation_input_tokens=200)
    events = [start, *SAID]
    for output in (10, 30):
        events += message_end(output_tokens=output)[:1]
    price = {"input": 10.0, "cached": 1.0, "cache_written": 12.5, "output": 50.0}
    async with serve_sse(Answer(events)) as server:
        settings = {"api": "anthropic", "model": "m", "base_url": server.base_url, "price": price}
        async with model_of("c", tmp_path, models={"c": settings}) as model:
            reply, _ = await ask(model)
    cost = (5 * 10 + 1000 * 1 + 200 * 12.5 + 30 * 50) / 1e6
    assert reply.usage == Usage(
        input=1205, cached=1000, cache_written=200, output=30, cost_usd=cost
    )


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", ModelUnavailable),
        ("rate_limit_error", ModelUnavailable),
        ("api_error", ModelUnavailable),
        ("authentication_error", KeyMissing),
        ("something_new", ReplyBroken),
    ],
)
async def test_anthropic_error_event(tmp_path: Path, kind: str, error: type[ModelError]) -> None:
    failing = {"type": "error", "error": {"type": kind, "message": "no more"}}
    async with (
        serve_sse(Answer([message_start(), *SAID, failing])) as server,
        model_of(f"anthropic:m@{server.base_url}", tmp_path) as model,
    ):
        with pytest.raises(ModelError) as raised:
            await ask(model)
    assert type(raised.value) is error


async def test_a_full_window_is_not_a_reply(tmp_path: Path) -> None:
    events = [message_start(), *SAID, *message_end("model_context_window_exceeded")]
    async with (
        serve_sse(Answer(events)) as server,
        model_of(f"anthropic:m@{server.base_url}", tmp_path) as model,
    ):
        with pytest.raises(ContextTooLong):
            await ask(model)


async def test_a_call_cut_by_the_token_limit_is_a_malformed_call(tmp_path: Path) -> None:
    events = [message_start(), *CALL[:3], *message_end("max_tokens", output_tokens=9)]
    async with (
        serve_sse(Answer(events)) as server,
        model_of(f"anthropic:m@{server.base_url}", tmp_path) as model,
    ):
        reply, _ = await ask(model)
    assert reply.finish == "length"
    assert reply.message.actions[0].malformed == '{"comm'


# --- OpenAI and the servers that speak it ------------------------------------------------------


def chunk(delta: Event | None = None, finish: str | None = None, **fields: Any) -> Event:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "glm-served",
        "choices": choices,
    } | fields


def call_piece(index: int | None, arguments: str, **fields: Any) -> Event:
    function = {"arguments": arguments} | {k: v for k, v in fields.items() if k == "name"}
    piece = {"function": function} | {k: v for k, v in fields.items() if k != "name"}
    return chunk({"tool_calls": [piece | ({} if index is None else {"index": index})]})


DONE = "data: [DONE]\n\n"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_is_kept_and_comes_back_under_its_own_name(
    tmp_path: Path, name: str
) -> None:
    first = Answer(
        [
            chunk({"role": "assistant", "content": "", name: "Files, "}),
            chunk({name: "then."}),
            chunk({"content": "Looking."}),
            call_piece(0, '{"command": "ls"}', id="functions.bash:0", name="bash"),
            chunk({}, "tool_calls"),
            chunk(
                usage={
                    "prompt_tokens": 100,
                    "completion_tokens": 20,
                    "total_tokens": 120,
                    "prompt_tokens_details": {"cached_tokens": 64},
                }
            ),
            DONE,
        ]
    )
    second = Answer([chunk({"content": "Done."}, "stop"), DONE])
    async with (
        serve_sse(first, second) as server,
        model_of(f"openai:glm@{server.base_url}/v1", tmp_path) as model,
    ):
        reply, deltas = await ask(model)
        observed = ToolMessage(call_id="functions.bash:0", tool="bash", text="a")
        await ask(model, Prompt(messages=(*PROMPT.messages, reply.message, observed)))
    assert reply.message.thinking == (Thinking(text="Files, then.", field=name),)
    assert streamed(deltas, "thinking") == "Files, then."
    assert reply.usage == Usage(input=100, cached=64, output=20)
    assert (reply.finish, reply.served_model) == ("actions", "glm-served")
    asked, again = (request.body for request in server.requests)
    assert (asked["stream"], asked["stream_options"]) == (True, {"include_usage": True})
    assert again["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Looking.",
            name: "Files, then.",
            "tool_calls": [
                {
                    "id": "functions.bash:0",
                    "type": "function",
                    "function": {"name": "bash", "arguments": '{"command": "ls"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "functions.bash:0", "content": "a"},
    ]


@pytest.mark.parametrize("indexes", [(0, 1), (0, 0), (None, None)])
async def test_calls_are_told_apart_whatever_the_server_numbers(
    tmp_path: Path, indexes: tuple[int | None, int | None]
) -> None:
    one, two = indexes
    if indexes == (None, None):
        events = [
            call_piece(None, '{"a": 1}', id="x", name="bash"),
            call_piece(None, '{"b": 2}', id="y", name="think"),
        ]
    else:
        events = [
            call_piece(one, '{"a"', id="x", name="bash"),
            call_piece(one, ": 1}"),
            call_piece(two, '{"b"', id="y", name="think"),
            call_piece(two, ": 2}"),
        ]
    async with (
        serve_sse(Answer([*events, chunk({}, "stop"), DONE])) as server,
        model_of(f"openai:m@{server.base_url}", tmp_path) as model,
    ):
        reply, _ = await ask(model)
    assert [(call.id, call.tool, call.arguments) for call in reply.message.actions] == [
        ("x", "bash", {"a": 1}),
        ("y", "think", {"b": 2}),
    ]
    assert reply.finish == "actions"


async def test_a_server_that_counts_nothing_gives_an_estimate_marked_as_one(
    tmp_path: Path,
) -> None:
    async with (
        serve_sse(Answer([chunk({"content": "x" * 400}, "stop"), DONE])) as server,
        model_of(f"openai:m@{server.base_url}", tmp_path) as model,
    ):
        reply, _ = await ask(model)
    assert reply.usage.estimated
    assert reply.usage.output == 100
    assert reply.usage.input > 0
    assert reply.usage.cost_usd is None


@pytest.mark.parametrize(
    ("error", "means"),
    [
        ({"message": "maximum context length is 4096 tokens", "code": 400}, ContextTooLong),
        ({"message": "engine died", "type": "InternalServerError", "code": 500}, ModelUnavailable),
        ({"message": "busy", "type": "overloaded_error", "code": None}, ModelUnavailable),
        ({"message": "something"}, ReplyBroken),
    ],
)
async def test_openai_error_inside_a_stream(
    tmp_path: Path, error: Event, means: type[ModelError]
) -> None:
    line = f"data: {json.dumps({'error': error})}\n\n"
    async with (
        serve_sse(Answer([chunk({"content": "a"}), line, DONE])) as server,
        model_of(f"openai:m@{server.base_url}", tmp_path) as model,
    ):
        with pytest.raises(ModelError, match=error["message"]) as raised:
            await ask(model)
    assert type(raised.value) is means


@pytest.mark.parametrize("finish", ["abort", "error", "network_error"])
async def test_a_server_that_gave_up_has_not_replied(tmp_path: Path, finish: str) -> None:
    async with (
        serve_sse(Answer([chunk({"content": "a"}, finish), DONE])) as server,
        model_of(f"openai:m@{server.base_url}", tmp_path) as model,
    ):
        with pytest.raises(ReplyBroken, match="gave up"):
            await ask(model)


@pytest.mark.parametrize(
    "line",
    [
        'data: ["not", "a", "chunk"]\n\n',
        'data: {"choices": 3}\n\n',
        'data: {"choices": [{"delta": {"content": [1, 2]}, "finish_reason": "stop"}]}\n\n',
        "<html>hello</html>",
        "",
    ],
)
@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_what_is_no_stream_of_the_api_is_a_broken_reply(
    tmp_path: Path, api: str, line: str
) -> None:
    named = f"event: message_start\n{line}" if api == "anthropic" and line else line
    async with (
        serve_sse(Answer([named])) as server,
        model_of(f"{api}:m@{server.base_url}", tmp_path) as model,
    ):
        with pytest.raises(ReplyBroken):
            await ask(model)


# --- both --------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_cancelling_closes_the_connection_at_once(tmp_path: Path, api: str) -> None:
    events = [chunk({"content": "a"})] if api == "openai" else [message_start(), *SAID]
    async with (
        serve_sse(Answer(events, hold=True)) as server,
        model_of(f"{api}:m@{server.base_url}", tmp_path) as model,
    ):
        began = asyncio.Event()

        async def listen() -> None:
            async for _ in model.stream(Request(PROMPT)):
                began.set()

        task = asyncio.create_task(listen())
        await asyncio.wait_for(began.wait(), 5)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.wait_for(server.client_gone.wait(), 1)


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_a_new_key_is_used_at_the_next_call_and_never_shown(tmp_path: Path, api: str) -> None:
    refusal = {"error": {"message": "bad key sk-first-secret here", "type": "x"}}
    environ: dict[str, str] = {"OPENAI_API_KEY": "sk-first-secret"}
    environ["ANTHROPIC_API_KEY"] = environ["OPENAI_API_KEY"]
    answers = [Answer([refusal], status=status) for status in (401, 403, 400, 400)]
    async with (
        serve_sse(*answers) as server,
        model_of(f"{api}:m@{server.base_url}", tmp_path, environ=environ) as model,
    ):
        for expected in (KeyMissing, KeyMissing, ModelError):
            with pytest.raises(expected) as raised:
                await ask(model)
            assert "sk-" not in str(raised.value)
        environ["OPENAI_API_KEY"] = environ["ANTHROPIC_API_KEY"] = "sk-second"
        with pytest.raises(ModelError):
            await ask(model)
    assert len(server.requests) == 4
    sent = [request.headers for request in server.requests]
    assert "sk-first-secret" in str(sent[0])
    assert "sk-second" in str(sent[3])
    assert "sk-first" not in str(sent[3])


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_a_redirect_is_not_followed_with_the_key(tmp_path: Path, api: str) -> None:
    environ = {"OPENAI_API_KEY": "sk-x", "ANTHROPIC_API_KEY": "sk-x"}
    async with serve_sse(Answer()) as elsewhere:
        moved = Answer(status=307, headers={"location": f"{elsewhere.base_url}/away"})
        async with (
            serve_sse(moved) as server,
            model_of(f"{api}:m@{server.base_url}", tmp_path, environ=environ) as model,
        ):
            with pytest.raises(ModelError, match="base URL"):
                await ask(model)
    assert elsewhere.requests == []


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_nobody_listens(tmp_path: Path, api: str) -> None:
    with socket.socket() as taken:  # bound and not listening: refused, and nobody else's
        taken.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        expected = (
            f"nobody answers at {base} (connection refused); "
            "start the server or correct the base URL"
        )
        async with model_of(f"{api}:m@{base}", tmp_path) as model:
            with pytest.raises(ModelUnavailable) as checked:
                await model.check()
            with pytest.raises(ModelUnavailable) as asked:
                await ask(model)
    assert checked.value.line == asked.value.line == expected


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_the_official_address_wants_a_key(tmp_path: Path, api: str) -> None:
    async with model_of(f"{api}:some-model", tmp_path) as model:
        with pytest.raises(KeyMissing, match=f"apollo-tui auth set {api}"):
            await model.check()
        with pytest.raises(KeyMissing, match=f"apollo-tui auth set {api}"):
            await ask(model)


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_sampling_and_extra_fields_are_sent_as_they_are(tmp_path: Path, api: str) -> None:
    async with serve_sse(Answer()) as server:
        settings = {
            "api": api,
            "model": "m",
            "base_url": server.base_url,
            "max_tokens": 77,
            "sampling": {"temperature": 0.5, "top_p": 0.9},
            "extra_body": {"chat_template_kwargs": {"enable_thinking": True}},
        }
        async with model_of("x", tmp_path, models={"x": settings}) as model:
            with pytest.raises(ReplyBroken):
                await ask(model, sampling={"temperature": 0.1})
    body = server.requests[0].body
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.1, 0.9, 77)
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert body["stream"] is True
    assert BASH.parameters in (
        body["tools"][0].get("input_schema"),
        body["tools"][0].get("function", {}).get("parameters"),
    )


async def test_an_error_has_one_line_and_a_cause(tmp_path: Path) -> None:
    answer = Answer([{"error": {"message": "line one\nline two"}}], status=400)
    async with (
        serve_sse(answer) as server,
        model_of(f"openai:m@{server.base_url}", tmp_path) as model,
    ):
        with pytest.raises(ModelError) as raised:
            await ask(model)
    assert raised.value.line.endswith("refused the request (400): line one line two")
    assert "BadRequestError" in "".join(traceback.format_exception(raised.value))
