"""Makes what LLaMA-Factory reads as `tokenized_path` from `apollo-tui export --format tokens`.

python llamafactory_tokens.py tokens.jsonl tokenized
llamafactory-cli train llamafactory.yaml
"""

from __future__ import annotations

import sys

from datasets import DatasetDict, load_dataset


def main(rows: str, folder: str) -> None:
    """Writes the rows, with their labels as they are, into `folder`."""
    read = load_dataset("json", data_files=rows, split="train")
    named = read.select_columns(["input_ids", "labels"])
    made = named.map(lambda row: {"attention_mask": [1] * len(row["input_ids"])})
    DatasetDict({"train": made}).save_to_disk(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
