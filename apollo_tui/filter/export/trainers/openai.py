"""OpenAI's fine-tuning: honours `weight` on each assistant message, and refuses keys that it does not know.
It takes no thinking: what replies thought is left out, and counted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from apollo_tui.filter.export import Row
from apollo_tui.filter.export.chat_messages import ChatMessage
from apollo_tui.filter.export.trainers.trainer import Trainer, shim, thought

THINKING = "thinking of replies, which OpenAI does not take"
_KEYS = {
    "system": ("role", "content"),
    "user": ("role", "content"),
    "tool": ("role", "content", "tool_call_id"),
    "assistant": ("role", "content", "tool_calls", "weight"),
}


class OpenAI(Trainer):
    name = "openai"
    reads = ("chat", "preferences")
    takes_thinking = False

    def adapt(self, format: str, row: Row) -> Row | None:
        if format == "chat":
            return {**self._conversation(row["messages"], row["tools"]), "meta": row["meta"]}
        return {
            "input": self._conversation(row["prompt"], row["tools"]),
            "preferred_output": self._messages(row["chosen"]),
            "non_preferred_output": self._messages(row["rejected"]),
            "meta": row["meta"],
        }

    def _conversation(
        self, messages: Iterable[ChatMessage], tools: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """An empty list of tools is refused, so none is written."""
        made: dict[str, Any] = {"messages": self._messages(messages)}
        return made | {"tools": tools} if tools else made

    def _messages(self, messages: Iterable[ChatMessage]) -> list[ChatMessage]:
        return [self._message(message) for message in messages]

    def _message(self, message: ChatMessage) -> ChatMessage:
        if thought(message):
            self.reasons[THINKING] += 1
        made = {name: message[name] for name in _KEYS[message["role"]] if name in message}
        if calls := message.get("tool_calls"):
            made["tool_calls"] = [_call(call) for call in calls]
        return made

    def files(self, format: str, model: str) -> dict[str, str]:
        return shim("openai_rows.py")

    def loading(self, format: str, model: str) -> str:
        method = ', method={"type": "dpo"}' if format == "preferences" else ""
        return (
            f"```\npython openai_rows.py {format}.jsonl upload.jsonl\n```\n\n"
            "writes the same rows without `meta`, which OpenAI refuses. Then\n\n"
            "```python\nfrom openai import OpenAI\n\n"
            "client = OpenAI()\n"
            'file = client.files.create(file=open("upload.jsonl", "rb"), purpose="fine-tune")\n'
            f'client.fine_tuning.jobs.create(model="MODEL", training_file=file.id{method})\n```\n'
        )


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """The arguments as JSON text, as the API has them."""
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return call | {"function": function | {"arguments": arguments}}
