"""How a result is written for the model: a header line of facts, then the text itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime

READS_AT_MOST = 30_000  # characters of one observation
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_ERROR = re.compile(r"\b(\w*(Error|Exception)|error|fatal|failed|not found|denied)\b[: ]", re.I)


def observation(kind: str, at: int, text: str, *, success: bool, **facts: object) -> str:
    """A header of `success observation_type … timestamp`, then the text, its middle left out when
    it is long. `at` is in UTC microseconds."""
    stamp = datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    header = {
        "success": str(success).lower(),
        "observation_type": kind,
        **facts,
        "timestamp": stamp,
    }
    head = " ".join(f"{name}={value}" for name, value in header.items() if value is not None)
    return f"{head}\n{shorten(text)}"


def shorten(text: str, limit: int = READS_AT_MOST) -> str:
    """The text, or its head and tail with what is left out counted."""
    if len(text) <= limit:
        return text
    half = limit // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n… {left_out:,} characters left out …\n{text[-half:]}"


def telling_line(text: str, *, failed: bool = False) -> str:
    """The line that says most about an output: its last one, or where it failed its last error."""
    lines = [line for raw in text.splitlines() if (line := _readable(raw))]
    if not lines:
        return ""
    if failed:
        for line in reversed(lines):
            if _ERROR.search(line):
                return line
    return lines[-1]


def count_lines(text: str) -> int:
    return len(text.splitlines())


def _readable(line: str) -> str:
    shown = _CONTROL.sub("", line.rsplit("\r", 1)[-1])
    return " ".join("".join(c if c.isprintable() else " " for c in shown).split())
