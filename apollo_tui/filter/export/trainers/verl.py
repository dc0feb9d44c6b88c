"""verl: its own SFT data set trains every reply; with a loader of ours it trains what labels say."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import ClassVar

from apollo_tui.filter.export.trainers.trainer import LONGEST, Trainer, shim


class Verl(Trainer):
    name = "verl"
    reads = ("tokens",)
    refuses: ClassVar[Mapping[str, str]] = {
        "chat": "verl's stock SFT would train {masked}arguments that were never given, which Parquet "
        "adds to tool calls",
    }

    def files(self, format: str, model: str) -> dict[str, str]:
        return shim("verl_tokens.py")

    def loading(self, format: str, model: str) -> str:
        return (
            "```\ntorchrun --standalone --nproc_per_node=GPUS -m verl.trainer.sft_trainer "
            "model.path=MODEL data.train_files=tokens.jsonl "
            "data.custom_cls.path=verl_tokens.py data.custom_cls.name=TokensDataset "
            f"data.max_length={LONGEST} data.max_token_len_per_gpu={LONGEST} "
            f"trainer.default_local_dir={shlex.quote(model)}\n```\n\n"
            "A row longer than `data.max_length` is an error that names it. `MODEL` must have the "
            "tokenizer that the tokens were made with.\n"
        )
