"""What TRL makes of an export: the text that its own collator leaves unmasked, and a step of training."""

from __future__ import annotations

import math
import re
from itertools import groupby
from pathlib import Path
from typing import Any

from datasets import load_dataset
from trl import DPOTrainer, SFTConfig, SFTTrainer

from tests.proof.tiny import model, plain_template

QUIET: dict[str, Any] = {
    "per_device_train_batch_size": 2,
    "max_steps": 1,
    "learning_rate": 1e-3,
    "report_to": "none",
    "save_strategy": "no",
    "use_cpu": True,
    "max_length": None,  # what is longer than the default of 1024 tokens would be cut unseen
    "disable_tqdm": True,
    "bf16": False,
}


def loaded(file: Path) -> Any:
    """The rows as `datasets` reads them."""
    cache = file.parent.parent / "cache"
    return load_dataset("json", data_files=str(file), split="train", cache_dir=str(cache))


def sft(tmp_path: Path, data: Any, tokenizer: Any, **more: Any) -> SFTTrainer:
    settings = SFTConfig(output_dir=str(tmp_path / "run"), **QUIET, **more)
    return SFTTrainer(
        model=model(tokenizer), args=settings, train_dataset=data, processing_class=tokenizer
    )


def unmasked(trainer: SFTTrainer) -> list[str]:
    """The text of each unmasked span of the batches that the trainer feeds its model, sorted."""
    tokenizer: Any = trainer.processing_class
    spans = []
    for batch in trainer.get_train_dataloader():
        for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
            pairs = list(zip(ids, labels, strict=True))
            assert all(label in (-100, token) for token, label in pairs)
            for trains, run in groupby(pairs, key=lambda pair: pair[1] != -100):
                if trains:
                    spans.append(tokenizer.decode([token for token, _ in run]))
    return sorted(spans)


def trains_one_step(trainer: SFTTrainer | DPOTrainer) -> None:
    loss = trainer.train().training_loss
    assert math.isfinite(loss) and loss > 0


def honouring_train() -> str:
    """The plain template, with the marks of generation only around replies that train."""
    template = plain_template()
    reply = re.search(r"\{%- generation %\}(.*)\{%- endgeneration %\}", template, re.DOTALL)
    assert reply is not None
    once = f"{{%- if message.train %}}{reply[0]}{{%- else %}}{reply[1]}{{%- endif %}}"
    return template.replace(reply[0], once)
