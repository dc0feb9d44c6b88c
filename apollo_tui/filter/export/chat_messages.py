"""The log's messages in the form that chat templates take.

A tool call's arguments are a JSON object, not a text: GLM's template calls `.items()` on them. What the
model said in a form that was no JSON object is what it was sent back as: {"malformed": …}.

Messages are taken as the log stores them, as JSON: it wrote them itself, and an export reads millions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apollo_tui.log.types import AssistantMessage, Message, ToolCall, ToolSpec

ChatMessage = dict[str, Any]
Stored = Mapping[str, Any]
"""A message's JSON in the log, read: what `Message.model_dump()` gives."""


def chat_messages(system: str, messages: Iterable[Message]) -> list[ChatMessage]:
    """System prompt and messages; a sample's message at `position` stands at
    `position + system_offset(system)`."""
    return [*_head(system), *map(chat_message, messages)]


def chat_of_stored(system: str, messages: Iterable[Stored]) -> list[ChatMessage]:
    """The same from messages as they are stored."""
    return [*_head(system), *map(_of_stored, messages)]


def _head(system: str) -> list[ChatMessage]:
    return [{"role": "system", "content": system}] if system else []


def system_offset(system: str) -> int:
    return 1 if system else 0


def chat_message(message: Message) -> ChatMessage:
    """One message in the chat form."""
    return _of_stored(message.model_dump())


def _of_stored(message: Stored) -> ChatMessage:
    role = message["role"]
    if role == "tool":
        return {
            "role": "tool",
            "tool_call_id": message["call_id"],
            "name": message["tool"],
            "content": message["text"],
        }
    if role == "assistant":
        return _assistant(message)
    return {"role": "user", "content": message["text"]}


def thinking_text(message: AssistantMessage) -> str:
    """All of a reply's thinking."""
    return "".join(block.text for block in message.thinking)


def called_with(call: ToolCall) -> dict[str, Any]:
    """A call's arguments as a JSON object."""
    return call.arguments if call.malformed is None else {"malformed": call.malformed}


def _assistant(message: Stored) -> ChatMessage:
    made: ChatMessage = {"role": "assistant", "content": message["text"]}
    if thinking := "".join([block["text"] for block in message["thinking"]]):
        made["reasoning_content"] = thinking
    if message["actions"]:
        made["tool_calls"] = [_call(action) for action in message["actions"]]
    return made


def _call(action: Stored) -> dict[str, Any]:
    malformed = action["malformed"]
    arguments = action["arguments"] if malformed is None else {"malformed": malformed}
    function = {"name": action["tool"], "arguments": arguments}
    return {"id": action["id"], "type": "function", "function": function}


def chat_tools(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Tools as chat completions describe them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            },
        }
        for tool in tools
    ]
