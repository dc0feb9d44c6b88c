"""An observation as one reads it: where it is one JSON object, its text fields as text. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from apollo_tui.screens.format import clean_lines

_BUDGET = re.compile(r"\[left: [^\]]*\]")
"""What the core says of time and steps below the newest observation of a rollout with limits."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the log says of an observation: the line that tells most, and how many lines it has."""

    summary: str = ""
    lines: int = 0


def telling(text: str, *, ascii_only: bool = False) -> Told:
    """The same of an observation that the log has no such line of: its last, but for the budget."""
    rows = readable(text, ascii_only=ascii_only)
    content = rows[:-1] if len(rows) > 1 and _BUDGET.fullmatch(rows[-1]) else rows
    return Told(content[-1] if content else "", len(content))


def readable(text: str, *, ascii_only: bool = False) -> list[str]:
    """Its lines that are not blank, each harmless. Of a JSON object the short fields first, `name:
    value`, then each text of several lines below its name: their ends tell how it went."""
    found = _object(text)
    if found is None:
        return _rows(text, ascii_only)
    fields, rest = found
    short, long = [], []
    for name, value in fields.items():
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows = _rows(said, ascii_only)
        if len(rows) > 1:
            long += [*_rows(f"{name}:", ascii_only), *rows]
        else:
            short += _rows(f"{name}: {said}", ascii_only)
    return short + long + _rows(rest, ascii_only)


def _object(text: str) -> tuple[dict[str, object], str] | None:
    """The object that an observation is, and the budget below it; None when it is something else."""
    begin = text.lstrip()
    if not begin.startswith("{"):
        return None
    try:
        found, end = json.JSONDecoder().raw_decode(begin)
    except (ValueError, RecursionError):
        return None
    rest = begin[end:].strip()
    if not isinstance(found, dict) or (rest and not _BUDGET.fullmatch(rest)):
        return None
    return found, rest


def _rows(text: str, ascii_only: bool) -> list[str]:
    return [row for row in clean_lines(text.rstrip(), ascii_only=ascii_only) if row.strip()]
