"""A small tokenizer with a chat template, made of the words that `logs.py` writes."""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.logs import words

TEMPLATE = (
    "{%- for message in messages %}"
    "<|{{ message.role }}|>"
    "{%- if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}"
    "{{- message.content }}"
    "{%- for call in message.tool_calls or [] %}"
    "<call>{{ call.function.name }} {{ call.function.arguments | tojson }}</call>"
    "{%- endfor %}<|end|>"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"]


def make_tokenizer(folder: Path) -> int:
    """Write tokenizer.json and tokenizer_config.json; returns the size of the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder.mkdir()
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    chance = random.Random(0)
    made.train_from_iterator((words(chance, 200) for _ in range(20)), trainer)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return int(made.get_vocab_size())
