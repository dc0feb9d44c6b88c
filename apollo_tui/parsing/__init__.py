"""Documents as text: one file per kind, pure functions from bytes to what a person would read.

The documents are an agent's, so nothing of them is trusted: `process.py` runs these functions in a
process of its own, whose memory and time are limited. They need the extra `parse`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["pdf", "docx", "pptx", "latex"]

INSTALL = "pip install 'apollo-tui[parse]'"
READ_AT_MOST = 64 << 20  # bytes of a document
TEXT_AT_MOST = 10_000_000  # characters of its text


@dataclass(frozen=True)
class Parsed:
    """A document's text; `size` says how much it is ("12 pages"), `notes` what it does not hold."""

    text: str
    size: str
    notes: tuple[str, ...] = ()


class Unreadable(Exception):
    """Why a document cannot be read, in one line: "it is encrypted and needs a password"."""


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
