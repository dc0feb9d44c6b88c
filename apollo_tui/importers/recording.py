"""Recording: what any importer makes of a file. It knows no log, and no other format.

The parts stand in the order in which the model saw or said them, so the prompt of a reply is all that
stands before it. What a format does not tell is None, or left out of `parts`; nothing is made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic_core import from_json

from apollo_tui.errors import ImportFailed
from apollo_tui.log.types import AssistantMessage, Disposition, Task, Usage, UserMessage


@dataclass(frozen=True)
class Source:
    """A file to import: its path, for what is said of it, and its bytes."""

    path: str
    data: bytes

    @cached_property
    def json(self) -> Any:
        """The file as one JSON value. Raises ImportFailed with the line where it is none."""
        try:
            return from_json(self.data, cache_strings="keys")
        except ValueError as error:
            raise self.failed(f"it is not JSON: {error}") from error

    def failed(self, why: str) -> ImportFailed:
        return ImportFailed(f"{self.path} was not imported: {why}")


@dataclass(frozen=True, slots=True)
class Given:
    """A message that was in the context and is no step of this recording: the task, a notice, or a
    `summary` of what came before it."""

    message: UserMessage | AssistantMessage
    summary: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """A reply: one step. `model` is "" and `usage` None where the file does not tell."""

    message: AssistantMessage
    model: str = ""
    finish: str = ""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """An evaluation that an action asked for; `score` is None when there was none to have."""

    submission: int
    score: float | None
    error: str = ""
    results: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """What an action gave back. `text` is what the model reads, `shown` the part of it that tells most."""

    call_id: str
    text: str
    shown: str
    disposition: Disposition
    error: bool = False
    exit_code: int | None = None
    seconds: float | None = None
    submitted: Submitted | None = None
    viewed_hint: bool = False


Part = Given | Said | Observed


@dataclass(frozen=True)
class Recording:
    """One rollout as a file tells it. `unmapped` holds by JSON path what found no place here."""

    task: Task
    model: str
    system: str
    parts: tuple[Part, ...]
    how_it_ended: str
    unmapped: Mapping[str, Any]
