"""How a result is written for the model: a header line of facts, a message, then the text itself.

success=false observation_type=command exit_code=1 seconds=0.3 timestamp=2026-04-01T09:30:00Z
error_message: ended with exit code 1
Traceback (most recent call last): …
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

READS_AT_MOST = 30_000  # characters of an output that the model reads
SUMMARY_AT_MOST = 400  # characters of a telling line
_TERMINAL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")
_ERROR = re.compile(
    r"\b(\w*(Error|Exception)|error|fatal|failed|failure|denied|killed|not found"
    r"|no such file|cannot|can't|unable to)\b",
    re.IGNORECASE,
)
# A bar with its percentage, or "12/80 [00:03<…": says that it goes on, not what came of it.
_PROGRESS = re.compile(r"\d+%\s*[|\[█▉-▏#=.>\-]|[|\[][█#=>.\- ]{4,}[|\]]\s*\d+|\d+/\d+ \[\d+:\d\d")


def observation(
    kind: str, at: int, text: str = "", *, success: bool, message: str = "", **facts: object
) -> str:
    """The whole observation. `at` is in UTC microseconds; a long `text` loses its middle."""
    stamp = datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    header = {
        "success": str(success).lower(),
        "observation_type": kind,
        **facts,
        "timestamp": stamp,
    }
    lines = [" ".join(f"{name}={value}" for name, value in header.items() if value is not None)]
    if message:
        lines.append(f"{'message' if success else 'error_message'}: {message}")
    if text:
        lines.append(shorten(text))
    return storable("\n".join(lines))


def storable(text: str) -> str:
    """What can be stored and sent: no NUL, and no half of a surrogate pair."""
    if "\x00" in text:
        text = text.replace("\x00", "�")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def shorten(text: str, limit: int = READS_AT_MOST) -> str:
    """The text, or its head and tail with what is left out counted."""
    if len(text) <= limit:
        return text
    half = limit // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n… {left_out:,} characters left out …\n{text[-half:]}"


def telling_line(text: str, *, failed: bool = False) -> str:
    """The line that says most about an output: its last one, or where it failed its last error.
    Blank lines and progress bars say nothing, unless there is nothing else."""
    readable = [line for raw in text.split("\n") if (line := _readable(raw))]
    lines = [line for line in readable if not _PROGRESS.search(line)] or readable
    if not lines:
        return ""
    errors = (line for line in reversed(lines) if _ERROR.search(line)) if failed else iter(())
    return next(errors, lines[-1])[:SUMMARY_AT_MOST]


def count_lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n")) if text else 0


def _readable(line: str) -> str:
    """As a terminal would have shown it in the end: after its last carriage return, in one line."""
    shown = _TERMINAL.sub("", line.rstrip("\r").rsplit("\r", 1)[-1])
    return " ".join("".join(c if c.isprintable() else " " for c in shown).split())
