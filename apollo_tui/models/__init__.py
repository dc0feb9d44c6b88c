"""Talking to models: one streaming protocol, one adapter per API.

    async for part in model.stream(request):
        match part:
            case Delta(): ...      # as it comes
            case Reply(): ...      # exactly one, the last thing

A stream that ends without a Reply raises; cancelling the task closes the connection at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from apollo_tui.log.types import AssistantMessage, Prompt, Usage

Purpose = Literal["step", "summary", "judge", "ask"]


@dataclass(frozen=True)
class Request:
    """A prompt and how to ask. `position` counts the completed replies of this purpose before it
    in the rollout's active path; only the scripted model reads it."""

    prompt: Prompt
    purpose: Purpose = "step"
    position: int = 0
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Delta:
    """A piece of a reply while it streams. For an action, `text` is a piece of its JSON arguments
    and `tool` its name."""

    kind: Literal["thinking", "text", "action"]
    text: str
    tool: str = ""


@dataclass(frozen=True)
class Reply:
    """A whole reply: it ended with a stop reason, and every action's arguments were parsed."""

    message: AssistantMessage
    usage: Usage
    finish: Literal["stop", "actions", "length"]
    served_model: str = ""


class Model(Protocol):
    """One model behind one API."""

    name: str  # how the person named it
    api: str  # anthropic, openai, scripted

    @property
    def priced(self) -> bool:
        """Whether what a call costs is known; where it is not, no budget can hold."""
        ...

    def stream(self, request: Request) -> AsyncGenerator[Delta | Reply]:
        """Deltas as they come, then one Reply.

        Raises KeyMissing, ModelUnavailable, ReplyBroken or ContextTooLong.
        """
        ...

    def cost(self, usage: Usage) -> float | None:
        """Dollars for so many tokens; None when its price is not known, or not by tokens."""
        ...

    async def check(self) -> None:
        """Raise the ModelError that a first call would meet: no key, nobody listening."""
        ...

    async def close(self) -> None: ...
