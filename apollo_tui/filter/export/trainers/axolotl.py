"""Axolotl: honours `train` on each message, and labels of rows that are tokenized already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from apollo_tui.filter.export import Row
from apollo_tui.filter.export.trainers.trainer import LONGEST, Trainer

_CHAT = """\
chat_template: tokenizer_default
datasets:
  - path: chat.jsonl
    ds_type: json
    type: chat_template
    field_messages: messages
    field_tools: tools
    # Only what this field says trains: no role does by itself.
    message_field_training: train
    roles_to_train: []
    train_on_eos: turn
    # Without these, templates that do not call a message `message` (GLM's) lose tool calls.
    message_property_mappings:
      role: role
      content: content
      reasoning_content: reasoning_content
      tool_calls: tool_calls
      tool_call_id: tool_call_id
      name: name
train_on_inputs: false
"""
_TOKENS = """\
datasets:
  - path: tokens.jsonl
    ds_type: json
    type:
"""
_REST = f"""\
# A row that is longer is an error; it is neither dropped nor cut.
excess_length_strategy: raise
sequence_len: {LONGEST}
# Yours to choose:
micro_batch_size: 1
gradient_accumulation_steps: 8
num_epochs: 1
learning_rate: 1.0e-5
"""


class Axolotl(Trainer):
    name = "axolotl"
    reads = ("chat", "tokens")
    shows_with_the_tokenizers_template = True
    refuses: ClassVar[Mapping[str, str]] = {
        "preferences": "Axolotl's loader of preferences would drop tool calls and thinking"
    }

    def adapt(self, format: str, row: Row) -> Row | None:
        """Rows of tokens count as tokenized only with an attention mask."""
        if format == "tokens":
            return row | {"attention_mask": [1] * len(row["input_ids"])}
        return row

    def files(self, format: str, model: str) -> dict[str, str]:
        rows = _CHAT if format == "chat" else _TOKENS
        return {"axolotl.yaml": f"{rows}output_dir: {json.dumps(model)}\n{_REST}"}

    def loading(self, format: str, model: str) -> str:
        return (
            "```\naxolotl train axolotl.yaml --base-model MODEL\n```\n\n"
            "`axolotl.yaml` beside the rows says what trains; add to it what you train with, and keep "
            "its `datasets`.\n"
        )
