"""Anthropic's Messages.

Thinking blocks are signed: they go back unchanged and in order, before the text and the calls
that followed them. Prompts only grow, so the cache is asked for up to their last block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import anthropic
import httpx2
from anthropic.types import RawMessageStreamEvent

from apollo_tui.config import ModelSettings
from apollo_tui.errors import ContextTooLong, ModelError, ReplyBroken
from apollo_tui.log.types import (
    AssistantMessage,
    Message,
    Prompt,
    Thinking,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from apollo_tui.models import Delta, Reply, Request
from apollo_tui.models.adapter import TIMEOUT, Adapter
from apollo_tui.models.calls import CallBuffer, arguments_to_send
from apollo_tui.models.failures import (
    Caller,
    disconnected,
    failure,
    failure_in_stream,
    unanswered,
)

_MAX_TOKENS = 16_000
_CACHED = {"cache_control": {"type": "ephemeral"}}

_FINISH: dict[str, Literal["stop", "actions", "length"]] = {
    "tool_use": "actions",
    "max_tokens": "length",
}

Block = dict[str, Any]


class AnthropicModel(Adapter):
    """Implements `Model`."""

    api = "anthropic"
    failures = (anthropic.AnthropicError, httpx2.HTTPError, ValueError)

    def new_http(self) -> httpx2.AsyncClient:
        return anthropic.DefaultAsyncHttpxClient(timeout=TIMEOUT, follow_redirects=False)

    def body(self, request: Request) -> dict[str, Any]:
        return payload(request.prompt, self.endpoint.settings, request.sampling)

    def growing(self, caller: Caller, body: dict[str, Any]) -> GrowingReply:
        return GrowingReply(caller)

    async def ask(
        self, caller: Caller, body: dict[str, Any]
    ) -> anthropic.AsyncStream[RawMessageStreamEvent]:
        client = anthropic.AsyncAnthropic(
            api_key=caller.key, base_url=caller.base_url, max_retries=0, http_client=self.http()
        )
        named = ("model", "messages", "max_tokens")
        return await client.messages.create(
            model=body["model"],
            messages=body["messages"],
            max_tokens=body["max_tokens"],
            stream=True,
            extra_body={name: value for name, value in body.items() if name not in named},
        )

    def explain(self, caller: Caller, error: Exception, begun: bool) -> ModelError:
        match error:
            case anthropic.APIStatusError() if error.status_code < 300:
                return failure_in_stream(caller, error.body)
            case anthropic.APIStatusError():
                return failure(caller, error.status_code, error.body, error.response.headers)
            case anthropic.APITimeoutError() | httpx2.TimeoutException():
                return unanswered(caller)
            case anthropic.APIConnectionError() | httpx2.HTTPError():
                return disconnected(caller, error, begun)
        return ReplyBroken(f"{caller.api} sent an event that is not JSON")


# --- what is sent ------------------------------------------------------------------------------


def payload(
    prompt: Prompt, settings: ModelSettings, sampling: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The body of the request, except `stream`."""
    body: dict[str, Any] = {
        "model": settings.model,
        "max_tokens": settings.max_tokens or _MAX_TOKENS,
        "messages": _messages(prompt.messages),
    }
    if prompt.system.strip():
        body["system"] = [{"type": "text", "text": prompt.system} | _CACHED]
    if prompt.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in prompt.tools
        ]
        body["tools"][-1] |= _CACHED
    return body | settings.sampling | dict(sampling or {}) | settings.extra_body


def _messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Turns that alternate: what lies between two replies is one user message."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role, blocks = _blocks(message)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        # The results of calls must come before anything else that a user message says.
        results = [block for block in turn["content"] if block["type"] == "tool_result"]
        others = [block for block in turn["content"] if block["type"] != "tool_result"]
        turn["content"] = results + others
    if turns and turns[-1]["role"] == "user":
        turns[-1]["content"][-1] |= _CACHED
    return turns


def _blocks(message: Message) -> tuple[str, list[Block]]:
    match message:
        case UserMessage():
            return "user", _text(message.text)
        case ToolMessage():
            result = {
                "type": "tool_result",
                "tool_use_id": _allowed(message.call_id),
                "content": message.text,
            }
            return "user", [result | ({"is_error": True} if message.error else {})]
        case AssistantMessage():
            said = [*_text(message.text), *map(_tool_use, message.actions)]
            # A reply that only thought may not be sent back.
            return "assistant", [*_thinking(message.thinking), *said] if said else []


def _text(text: str) -> list[Block]:
    """A blank text is refused by the API."""
    return [{"type": "text", "text": text}] if text.strip() else []


def _thinking(blocks: Iterable[Thinking]) -> list[Block]:
    """The blocks that carry Anthropic's signature; another API's reasoning would be refused."""
    sent: list[Block] = []
    for block in blocks:
        if block.redacted is not None:
            sent.append({"type": "redacted_thinking", "data": block.redacted})
        elif block.signature is not None:
            sent.append({"type": "thinking", "thinking": block.text, "signature": block.signature})
    return sent


def _tool_use(call: ToolCall) -> Block:
    return {
        "type": "tool_use",
        "id": _allowed(call.id),
        "name": _allowed(call.tool)[:128],
        "input": arguments_to_send(call),
    }


def _allowed(name: str) -> str:
    """A name as this API takes it: calls may come from another API, or be the model's invention."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name) or "_"


# --- what comes back ---------------------------------------------------------------------------


@dataclass
class _Growing:
    """One content block while it streams."""

    kind: str
    pieces: list[str] = field(default_factory=list)
    signature: str = ""
    redacted: str = ""
    call: CallBuffer = field(default_factory=CallBuffer)


class GrowingReply:
    """Folds the events of one reply."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._blocks: dict[int, _Growing] = {}
        self._stop_reason: str | None = None
        self._counts: dict[str, int] = {}
        self._served_model = ""

    def take(self, event: RawMessageStreamEvent) -> list[Delta]:
        match event.type:
            case "message_start":
                self._served_model = event.message.model or ""
                self._count(event.message.usage)
            case "content_block_start":
                return self._start(event.index, event.content_block)
            case "content_block_delta":
                return self._grow(self._blocks[event.index], event.delta)
            case "message_delta":
                self._stop_reason = event.delta.stop_reason or self._stop_reason
                self._count(event.usage)
        return []

    def _start(self, index: int, block: Any) -> list[Delta]:
        growing = self._blocks[index] = _Growing(block.type)
        match block.type:
            case "text" if block.text:
                growing.pieces.append(block.text)
                return [Delta("text", block.text)]
            case "thinking":
                growing.pieces.append(block.thinking or "")
                growing.signature = block.signature or ""
            case "redacted_thinking":
                growing.redacted = block.data
            case "tool_use":
                growing.call = CallBuffer(block.id, block.name)
                return [Delta("action", "", block.name)]
        return []

    def _grow(self, block: _Growing, delta: Any) -> list[Delta]:
        match delta.type:
            case "text_delta":
                block.pieces.append(delta.text)
                return [Delta("text", delta.text)]
            case "thinking_delta":
                block.pieces.append(delta.thinking)
                return [Delta("thinking", delta.thinking)]
            case "signature_delta":
                block.signature += delta.signature
            case "input_json_delta":
                block.call.pieces.append(delta.partial_json)
                return [Delta("action", delta.partial_json, block.call.tool)]
        return []

    def _count(self, usage: Any) -> None:
        """Counts are cumulative: a later one replaces an earlier one."""
        for name in (
            "input_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "output_tokens",
        ):
            if (count := getattr(usage, name, None)) is not None:
                self._counts[name] = count

    def reply(self, usage: Usage) -> Reply:
        if self._stop_reason is None:
            raise ReplyBroken(f"the reply of {self._caller.api} ended before it was whole")
        if self._stop_reason == "model_context_window_exceeded":
            raise ContextTooLong(f"the reply did not fit the window of {self._caller.api} any more")
        blocks = [self._blocks[index] for index in sorted(self._blocks)]
        calls = [block.call for block in blocks if block.kind == "tool_use"]
        message = AssistantMessage(
            text="".join("".join(block.pieces) for block in blocks if block.kind == "text"),
            thinking=tuple(_thought(block) for block in blocks if "thinking" in block.kind),
            actions=tuple(call.finished(ordinal) for ordinal, call in enumerate(calls, 1)),
        )
        finish = _FINISH.get(self._stop_reason, "stop")
        return Reply(message, usage, finish, self._served_model)

    def usage(self) -> Usage:
        """What the API counted; `input` includes what was read from and written to the cache."""
        cached = self._counts.get("cache_read_input_tokens", 0)
        written = self._counts.get("cache_creation_input_tokens", 0)
        return Usage(
            input=self._counts.get("input_tokens", 0) + cached + written,
            cached=cached,
            cache_written=written,
            output=self._counts.get("output_tokens", 0),
        )


def _thought(block: _Growing) -> Thinking:
    if block.kind == "redacted_thinking":
        return Thinking(redacted=block.redacted)
    return Thinking(text="".join(block.pieces), signature=block.signature)
