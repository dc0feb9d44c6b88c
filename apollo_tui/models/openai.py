"""OpenAI's Chat Completions, as OpenAI and the servers that speak it stream it.

Reasoning is no part of that API: servers send it as `reasoning_content` or `reasoning`, and models
like GLM and Kimi want it back under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from json import dumps
from typing import Any, Literal

import httpx2
import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDelta, ChoiceDeltaToolCall

from apollo_tui.config import ModelSettings
from apollo_tui.errors import ContextTooLong, ModelError, ReplyBroken
from apollo_tui.log.types import (
    AssistantMessage,
    Message,
    Prompt,
    Thinking,
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

_REASONING = ("reasoning_content", "reasoning")

_FINISH: dict[str, Literal["stop", "actions", "length"]] = {
    "tool_calls": "actions",
    "function_call": "actions",
    "length": "length",
}
_BROKEN = ("abort", "error", "network_error")  # how servers say that they gave up in the middle


class OpenAIModel(Adapter):
    """Implements `Model`."""

    api = "openai"
    failures = (openai.OpenAIError, httpx2.HTTPError, ValueError)

    def new_http(self) -> httpx2.AsyncClient:
        return openai.DefaultAsyncHttpxClient(timeout=TIMEOUT, follow_redirects=False)

    def body(self, request: Request) -> dict[str, Any]:
        endpoint = self.endpoint
        return payload(
            request.prompt, endpoint.settings, request.sampling, official=endpoint.official
        )

    def growing(self, caller: Caller, body: dict[str, Any]) -> GrowingReply:
        return GrowingReply(caller, body)

    async def ask(
        self, caller: Caller, body: dict[str, Any]
    ) -> openai.AsyncStream[ChatCompletionChunk]:
        client = openai.AsyncOpenAI(
            api_key=caller.key, base_url=caller.base_url, max_retries=0, http_client=self.http()
        )
        rest = {name: value for name, value in body.items() if name not in ("model", "messages")}
        return await client.chat.completions.create(
            model=body["model"], messages=body["messages"], stream=True, extra_body=rest
        )

    def explain(self, caller: Caller, error: Exception, begun: bool) -> ModelError:
        match error:
            case openai.APIStatusError():
                return failure(caller, error.status_code, error.body, error.response.headers)
            case openai.APITimeoutError() | httpx2.TimeoutException():
                return unanswered(caller)
            case openai.APIConnectionError() | httpx2.HTTPError():
                return disconnected(caller, error, begun)
            case openai.APIError() if error.body is not None:
                return failure_in_stream(caller, error.body)
        return ReplyBroken(f"{caller.api} sent a chunk that is not JSON")


# --- what is sent ------------------------------------------------------------------------------


def payload(
    prompt: Prompt,
    settings: ModelSettings,
    sampling: Mapping[str, Any] | None = None,
    *,
    official: bool = False,
) -> dict[str, Any]:
    """The body of the request, except `stream`."""
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": _messages(prompt),
        "stream_options": {"include_usage": True},
    }
    if prompt.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in prompt.tools
        ]
    if settings.max_tokens is not None:
        # OpenAI's newer models refuse the name that other servers know.
        name = "max_completion_tokens" if official else "max_tokens"
        body[name] = settings.max_tokens
    return body | settings.sampling | dict(sampling or {}) | settings.extra_body


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*system, *map(_message, prompt.messages)]


def _message(message: Message) -> dict[str, Any]:
    match message:
        case UserMessage():
            return {"role": "user", "content": message.text}
        case ToolMessage():
            return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
        case AssistantMessage():
            return _assistant(message)


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    sent: dict[str, Any] = {"role": "assistant", "content": message.text}
    for block in message.thinking:
        if block.field is not None:
            sent[block.field] = sent.get(block.field, "") + block.text
    if message.actions:
        sent["content"] = message.text or None
        sent["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.tool,
                    "arguments": dumps(arguments_to_send(call), ensure_ascii=False),
                },
            }
            for call in message.actions
        ]
    return sent


# --- what comes back ---------------------------------------------------------------------------


class GrowingReply:
    """Folds the chunks of one reply."""

    def __init__(self, caller: Caller, body: Mapping[str, Any]) -> None:
        self._caller = caller
        self._body = body
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._field: str | None = None
        self._calls: list[CallBuffer] = []
        self._by_index: dict[int, CallBuffer] = {}
        self._finish: str | None = None
        self._counted: CompletionUsage | None = None
        self._served_model = ""

    def take(self, chunk: ChatCompletionChunk) -> list[Delta]:
        self._served_model = chunk.model or self._served_model
        self._counted = chunk.usage or self._counted
        if not chunk.choices:
            return []
        choice = chunk.choices[0]
        self._finish = choice.finish_reason or self._finish
        return self._take_delta(choice.delta) if choice.delta else []

    def _take_delta(self, delta: ChoiceDelta) -> list[Delta]:
        deltas = []
        if reasoning := self._reasoning_in(delta):
            self._reasoning.append(reasoning)
            deltas.append(Delta("thinking", reasoning))
        if delta.content:
            self._text.append(delta.content)
            deltas.append(Delta("text", delta.content))
        for piece in delta.tool_calls or []:
            buffer = self._buffer_for(piece)
            arguments = (piece.function and piece.function.arguments) or ""
            buffer.pieces.append(arguments)
            deltas.append(Delta("action", arguments, buffer.tool))
        return deltas

    def _reasoning_in(self, delta: ChoiceDelta) -> str:
        extra = delta.model_extra or {}
        for name in (self._field,) if self._field else _REASONING:
            if text := extra.get(name):
                self._field = name
                return str(text)
        return ""

    def _buffer_for(self, piece: ChoiceDeltaToolCall) -> CallBuffer:
        """The call a piece belongs to. Some servers send no index, or the same for every call."""
        buffer = self._calls[-1] if piece.index is None and self._calls else None
        if piece.index is not None:
            buffer = self._by_index.get(piece.index)
        tool = (piece.function and piece.function.name) or ""
        is_next = tool and piece.id and buffer is not None and buffer.id not in ("", piece.id)
        if buffer is None or is_next:
            buffer = CallBuffer()
            self._calls.append(buffer)
            self._by_index[len(self._calls) - 1 if piece.index is None else piece.index] = buffer
        buffer.id = buffer.id or piece.id or ""
        buffer.tool = buffer.tool or tool
        return buffer

    def reply(self, usage: Usage) -> Reply:
        if self._finish is None:
            raise ReplyBroken(f"the reply of {self._caller.api} ended before it was whole")
        if self._finish in _BROKEN:
            raise ReplyBroken(f"{self._caller.api} gave up in the middle of a reply")
        if self._finish == "model_context_window_exceeded":
            raise ContextTooLong(f"the reply did not fit the window of {self._caller.api} any more")
        reasoning = "".join(self._reasoning)
        message = AssistantMessage(
            text="".join(self._text),
            thinking=(Thinking(text=reasoning, field=self._field),) if reasoning else (),
            actions=tuple(call.finished(ordinal) for ordinal, call in enumerate(self._calls, 1)),
        )
        finish = _FINISH.get(self._finish, "stop")
        if finish == "stop" and message.actions:
            finish = "actions"
        return Reply(message, usage, finish, self._served_model)

    def usage(self) -> Usage:
        """The tokens the server counted; an estimate, marked as such, when it counted none."""
        counted = self._counted
        if counted is None:
            pieces = [piece for call in self._calls for piece in call.pieces]
            written = sum(map(len, [*self._text, *self._reasoning, *pieces]))
            return Usage(input=len(dumps(self._body)) // 4, output=written // 4, estimated=True)
        details = counted.prompt_tokens_details
        extra = counted.model_extra or {}
        cached = details.cached_tokens if details else None
        if cached is None:  # Kimi's name, DeepSeek's name
            cached = extra.get("cached_tokens") or extra.get("prompt_cache_hit_tokens")
        return Usage(
            input=counted.prompt_tokens or 0,
            cached=cached or 0,
            cache_written=(details.cache_write_tokens if details else None) or 0,
            output=counted.completion_tokens or 0,
        )
