"""LLaMA-Factory: its version 1 honours `loss_weight` on each message; its version 0 trains every reply of
a conversation, but takes rows that are tokenized already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from apollo_tui.filter.export import Row
from apollo_tui.filter.export.chat_messages import ChatMessage
from apollo_tui.filter.export.trainers.trainer import LONGEST, Trainer, shim, thought

_CHAT = f"""\
train_dataset: dataset.yaml
# A longer row is cut without a word: keep this above the longest.
cutoff_len: {LONGEST}
# Yours to choose; the template must be the model's.
template: qwen3_nothink
micro_batch_size: 1
num_train_epochs: 1
learning_rate: 1.0e-5
"""
_DATASET = """\
rollouts:
  path: chat.jsonl
  source: local
"""
_TOKENS = """\
stage: sft
do_train: true
finetuning_type: full
# Some name must be here; what is read is tokenized_path.
dataset: rollouts
tokenized_path: tokenized
# Yours to choose; the template must be the model's.
template: empty
per_device_train_batch_size: 1
num_train_epochs: 1
learning_rate: 1.0e-5
"""


class LlamaFactory(Trainer):
    name = "llamafactory"
    reads = ("tokens", "chat")
    refuses: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("turns", "preferences"),
        "LLaMA-Factory would drop thinking, and the text beside tool calls",
    )

    def adapt(self, format: str, row: Row) -> Row | None:
        if format == "tokens":
            return row
        return row | {
            "tools": json.dumps(row["tools"], ensure_ascii=False) if row["tools"] else "",
            "messages": [_message(message) for message in row["messages"]],
        }

    def files(self, format: str, model: str) -> dict[str, str]:
        into = f"output_dir: {json.dumps(model)}\n"
        if format == "tokens":
            return {"llamafactory.yaml": into + _TOKENS, **shim("llamafactory_tokens.py")}
        return {"llamafactory.yaml": into + _CHAT, "dataset.yaml": _DATASET}

    def loading(self, format: str, model: str) -> str:
        if format == "tokens":
            return (
                "```\npython llamafactory_tokens.py tokens.jsonl tokenized\n"
                "llamafactory-cli train llamafactory.yaml model_name_or_path=MODEL\n```\n\n"
                "`MODEL` must have the tokenizer that the tokens were made with.\n"
            )
        return (
            "```\nUSE_V1=1 llamafactory-cli sft llamafactory.yaml model=MODEL\n```\n\n"
            "This needs LLaMA-Factory's version 1 (`USE_V1=1`), which reads `loss_weight`. It renders "
            "with templates of its own: `qwen3` leaves out the thinking before the last message to the "
            "model, and trains the replies without it; `qwen3_nothink` keeps it. `chatml` takes "
            "neither thinking nor tool calls. With `--format tokens` what was sent is what trains.\n"
        )


def _message(message: ChatMessage) -> ChatMessage:
    parts = [("reasoning", thought(message))] if thought(message) else []
    calls = message.get("tool_calls", ())
    if message["content"] or not calls:
        parts.append(("text", message["content"]))
    parts += [("tool_call", json.dumps(call["function"], ensure_ascii=False)) for call in calls]
    return {
        "role": message["role"],
        "content": [{"type": kind, "value": value} for kind, value in parts],
        "loss_weight": float(message.get("train", False)),
    }
