"""Makes what OpenAI's fine-tuning takes from an export for it: the same rows, without `meta`.

python openai_rows.py chat.jsonl upload.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(rows: str, upload: str) -> None:
    with Path(rows).open("rb") as lines, Path(upload).open("wb") as out:
        for line in lines:
            row = json.loads(line)
            del row["meta"]
            out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
