"""Reads an export of `apollo-tui export --format tokens` in verl's SFT trainer, mask and all.

verl's own loader trains every assistant message; this one trains what the export's labels say.

    python -m verl.trainer.sft_trainer data.train_files=tokens.jsonl \
        data.custom_cls.path=verl_tokens.py data.custom_cls.name=TokensDataset ...
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad
from torch.utils.data import Dataset

MASKED = -100  # the label of a token that does not train


class TokensDataset(Dataset):
    """Rows of tokens as verl's collator takes them. `parquet_files` is verl's name for the path, or
    paths, of the JSONL. Raises ValueError naming the row that is longer than `data.max_length`:
    nothing is cut."""

    def __init__(
        self,
        parquet_files: str | list[str],
        tokenizer: Any,
        config: Any,
        processor: Any = None,
        max_samples: int = -1,
    ) -> None:
        self.max_length = config.get("max_length", 1024)
        self.right_padded = config.get("pad_mode", "no_padding") == "right"
        self.pad_token = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        paths = [parquet_files] if isinstance(parquet_files, str) else list(parquet_files)
        self.rows = [row for path in paths for row in _read_rows(path, self.max_length)]
        if max_samples > 0:
            self.rows = self.rows[:max_samples]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens, trains = self.rows[index]
        row = {
            "input_ids": tokens,
            "position_ids": torch.arange(len(tokens)),
            "loss_mask": trains,
        }
        if self.right_padded:
            row["attention_mask"] = torch.ones_like(tokens)
            missing = self.max_length - len(tokens)
            row = {
                name: pad(values, (0, missing), value=self.pad_token if name == "input_ids" else 0)
                for name, values in row.items()
            }
        return row


def _read_rows(path: str, max_length: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The tokens of each row, and 1 for those that train."""
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            row = json.loads(line)
            tokens, labels = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])
            if len(tokens) > max_length:
                raise ValueError(
                    f"{path} line {number} has {len(tokens)} tokens; set data.max_length to that or more"
                )
            yield tokens, (labels != MASKED).long()
