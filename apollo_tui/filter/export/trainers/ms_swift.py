"""ms-swift: honours `loss` on each message, with its own templates only. It knows no thinking beside a
message's text, and no two turns of one side in a row, such as advice straight after an observation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import groupby

from apollo_tui.filter.export import Row
from apollo_tui.filter.export.chat_messages import ChatMessage
from apollo_tui.filter.export.trainers.trainer import LONGEST, Trainer, thought

NOT_BY_TURNS = (
    "rows that ms-swift cannot read: advice straight after an observation, or two turns of one side"
)


class MsSwift(Trainer):
    name = "ms-swift"
    reads = ("chat",)

    def adapt(self, format: str, row: Row) -> Row | None:
        messages: list[ChatMessage] = row["messages"]
        if not _by_turns(messages):
            self.reasons[NOT_BY_TURNS] += 1
            return None
        return row | {"messages": [_message(message) for message in messages]}

    def loading(self, format: str, model: str) -> str:
        return (
            "```\nswift sft --model MODEL --dataset chat.jsonl --template_backend swift "
            f"--loss_scale default --strict true --max_length {LONGEST} "
            f"--output_dir {shlex.quote(model)}\n```\n\n"
            "Keep `--template_backend swift`: with `jinja` ms-swift trains everything, the prompts too. "
            "Keep `--strict true`: without it rows that are too long, or wrong, vanish. Thinking is "
            "written into the text as Qwen writes it, `<think>…</think>`.\n"
        )


def _by_turns(messages: Sequence[ChatMessage]) -> bool:
    """Whether they are, after the system prompt, a message to the model or observations, a reply, and
    so on to a reply."""
    roles = [role for role in (message["role"] for message in messages) if role != "system"]
    turns = [
        role for role, run in groupby(roles) for _ in ([role] if role == "tool" else list(run))
    ]
    asked, replies = turns[::2], turns[1::2]
    return (
        len(asked) == len(replies)
        and all(role in ("user", "tool") for role in asked)
        and all(role == "assistant" for role in replies)
    )


def _message(message: ChatMessage) -> ChatMessage:
    if message["role"] != "assistant":
        return message
    names = ("role", "content", "tool_calls", "loss")
    made = {name: message[name] for name in names if name in message}
    if thinking := thought(message):
        made["content"] = f"<think>\n{thinking}\n</think>\n\n{message['content']}"
    return made
