"""TRL trains on exactly the kept actions: what its own collator leaves unmasked, word for word."""

from __future__ import annotations

import math
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from apollo_tui.filter.export import Format
from apollo_tui.filter.export.chat import Chat
from apollo_tui.filter.export.preferences import Preferences
from apollo_tui.filter.export.turns import Turns
from tests.proof.tiny import model, plain_template, published, tokenizer_folder
from tests.proof.written import MASKED, PAIR, WHOLE, export

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


async def dataset(tmp_path: Path, a_format: Format) -> Any:
    done = await export(tmp_path / "out", a_format)
    file = tmp_path / "out" / done.file
    return load_dataset(
        "json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
    )


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


async def test_turns_train_the_kept_replies(tmp_path: Path) -> None:
    tokenizer = published(tokenizer_folder(tmp_path / "tokenizer", plain_template()))
    trainer = sft(tmp_path, await dataset(tmp_path, Turns()), tokenizer)
    # A completion is all that follows the prompt, so the template's line end after it trains too.
    assert unmasked(trainer) == sorted(f"{reply}\n" for reply in WHOLE)
    trains_one_step(trainer)


async def test_chat_trains_the_kept_replies_where_the_template_honours_train(
    tmp_path: Path,
) -> None:
    tokenizer = published(tokenizer_folder(tmp_path / "tokenizer", honouring_train()))
    trainer = sft(tmp_path, await dataset(tmp_path, Chat()), tokenizer, assistant_only_loss=True)
    assert unmasked(trainer) == sorted(WHOLE)
    trains_one_step(trainer)


async def test_chat_trains_masked_replies_where_the_template_does_not(tmp_path: Path) -> None:
    """Why `--trainer trl` does not write `chat` for any template: TRL has no switch of its own."""
    tokenizer = published(tokenizer_folder(tmp_path / "tokenizer", plain_template()))
    trainer = sft(tmp_path, await dataset(tmp_path, Chat()), tokenizer, assistant_only_loss=True)
    trained = " ".join(unmasked(trainer))
    assert all(reply in trained for reply in WHOLE)
    assert any(command in trained for command in MASKED)


async def test_preferences_are_pairs_of_dpo(tmp_path: Path) -> None:
    tokenizer = published(tokenizer_folder(tmp_path / "tokenizer", plain_template()))
    trainer = DPOTrainer(
        model=model(tokenizer),
        ref_model=model(tokenizer),
        args=DPOConfig(output_dir=str(tmp_path / "run"), **QUIET),
        train_dataset=await dataset(tmp_path, Preferences()),
        processing_class=tokenizer,
    )
    (batch,) = trainer.get_train_dataloader()
    said = [
        tokenizer.decode([token for token, trains in zip(ids, mask, strict=True) if trains])
        for ids, mask in zip(
            batch["input_ids"].tolist(), batch["completion_mask"].tolist(), strict=True
        )
    ]
    assert said == [f"{reply}\n" for reply in PAIR]
    trains_one_step(trainer)


def honouring_train() -> str:
    """The plain template, with the marks of generation only around replies that train."""
    template = plain_template()
    reply = re.search(r"\{%- generation %\}(.*)\{%- endgeneration %\}", template, re.DOTALL)
    assert reply is not None
    once = f"{{%- if message.train %}}{reply[0]}{{%- else %}}{reply[1]}{{%- endif %}}"
    return template.replace(reply[0], once)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of a hub, whoever starts these tests."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
