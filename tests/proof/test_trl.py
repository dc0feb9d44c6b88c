"""TRL trains on exactly the kept actions: what its own collator leaves unmasked, word for word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trl import DPOConfig, DPOTrainer

from apollo_tui.filter.export import Format
from apollo_tui.filter.export.chat import Chat
from apollo_tui.filter.export.preferences import Preferences
from apollo_tui.filter.export.tokens import Tokens
from apollo_tui.filter.export.turns import Turns
from apollo_tui.filter.template import load_template
from apollo_tui.filter.tokenizer import load_tokenizer
from tests.proof.tiny import TEMPLATES, model, plain_template, published, tokenizer_folder
from tests.proof.trained import (
    QUIET,
    honouring_train,
    loaded,
    sft,
    trains_one_step,
    unmasked,
)
from tests.proof.written import KEPT, MASKED, PAIR, PARTS, WHOLE, export


async def dataset(tmp_path: Path, a_format: Format) -> Any:
    done = await export(tmp_path / "out", a_format)
    return loaded(tmp_path / "out" / done.rows_file)


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


async def test_tokens_train_the_kept_actions_beside_masked_ones_too(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "tokenizer", plain_template())
    tokens = Tokens(load_tokenizer(folder), load_template(folder))
    trainer = sft(tmp_path, await dataset(tmp_path, tokens), published(folder))
    assert unmasked(trainer) == sorted([*WHOLE, *PARTS])
    trains_one_step(trainer)


@pytest.mark.parametrize("name", ["qwen", "glm"])
async def test_tokens_of_templates_that_rewrite_the_past(tmp_path: Path, name: str) -> None:
    """Their rows are cut where thinking would go. Whatever they show of a reply, a kept command trains
    once, and a masked one never."""
    folder = tokenizer_folder(tmp_path / "tokenizer", (TEMPLATES / f"{name}.jinja").read_text())
    tokens = Tokens(load_tokenizer(folder), load_template(folder))
    trained = unmasked(sft(tmp_path, await dataset(tmp_path, tokens), published(folder)))
    for command in KEPT:
        assert sum(command in span for span in trained) == 1, command
    assert not [span for span in trained for command in MASKED if command in span]


async def test_datasets_reads_tokens(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "tokenizer", plain_template())
    rows = await dataset(tmp_path, Tokens(load_tokenizer(folder), load_template(folder)))
    file = tmp_path / "out" / "tokens.jsonl"
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert [dict(row) for row in rows] == written


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
