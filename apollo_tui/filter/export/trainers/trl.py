"""TRL: trains what labels or completions say; it has no switch for single replies of a conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from apollo_tui.filter.export.trainers.trainer import Trainer

_TRAIN = """\
```python
from datasets import load_dataset
from trl import {trainer}Config, {trainer}Trainer

rows = load_dataset("json", data_files="{format}.jsonl", split="train")
trainer = {trainer}Trainer(
    model="MODEL",
    args={trainer}Config(output_dir={model}, max_length=None),
    train_dataset=rows,
)
trainer.train()
```

Keep `max_length=None`: the default of 1024 cuts longer rows without a word, and with them what trains.
"""
_SAME_TOKENIZER = "\n`MODEL` must have the tokenizer that the tokens were made with.\n"


class Trl(Trainer):
    name = "trl"
    reads = ("tokens", "turns", "preferences")
    refuses: ClassVar[Mapping[str, str]] = {
        "chat": "TRL's stock SFT would train {masked}all that the model was sent"
    }

    def loading(self, format: str, model: str) -> str:
        trainer = "DPO" if format == "preferences" else "SFT"
        text = _TRAIN.format(trainer=trainer, format=format, model=json.dumps(model))
        return text + _SAME_TOKENIZER if format == "tokens" else text
