"""The log's messages in the form that chat templates take.

A tool call's arguments are a JSON object, not a text: GLM's template calls `.items()` on them. What the
model said in a form that was no JSON object is what it was sent back as: {"malformed": …}.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apollo_tui.log.types import AssistantMessage, Message, ToolCall, ToolSpec, UserMessage

ChatMessage = dict[str, Any]


def chat_messages(system: str, messages: Iterable[Message]) -> list[ChatMessage]:
    """System prompt and messages; a sample's message at `position` stands at
    `position + system_offset(system)`."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, *(chat_message(message) for message in messages)]


def system_offset(system: str) -> int:
    return 1 if system else 0


def chat_message(message: Message) -> ChatMessage:
    match message:
        case UserMessage():
            return {"role": "user", "content": message.text}
        case AssistantMessage():
            return _assistant(message)
        case _:
            return {
                "role": "tool",
                "tool_call_id": message.call_id,
                "name": message.tool,
                "content": message.text,
            }


def _assistant(message: AssistantMessage) -> ChatMessage:
    made: ChatMessage = {"role": "assistant", "content": message.text}
    if thinking := "".join(block.text for block in message.thinking):
        made["reasoning_content"] = thinking
    if message.actions:
        made["tool_calls"] = [_call(action) for action in message.actions]
    return made


def _call(action: ToolCall) -> dict[str, Any]:
    arguments = action.arguments if action.malformed is None else {"malformed": action.malformed}
    function = {"name": action.tool, "arguments": arguments}
    return {"id": action.id, "type": "function", "function": function}


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
