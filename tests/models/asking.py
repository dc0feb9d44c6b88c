"""Asking a model in tests: a home without settings, a small prompt, the reply and its deltas."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from apollo_tui.config import Config
from apollo_tui.log.types import Prompt, ToolSpec, UserMessage
from apollo_tui.models import Delta, Model, Reply, Request
from apollo_tui.models.choose import choose_model
from apollo_tui.paths import Home

BASH = ToolSpec(
    name="bash",
    description="Run a command.",
    parameters={
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    },
)
PROMPT = Prompt(
    system="You are an agent.", messages=(UserMessage(text="List the files."),), tools=(BASH,)
)


@contextlib.asynccontextmanager
async def model_of(
    written: str,
    folder: Path,
    *,
    models: dict[str, dict[str, Any]] | None = None,
    environ: dict[str, str] | None = None,
) -> AsyncIterator[Model]:
    """A model as the core makes it, closed at the end."""
    config = Config.model_validate({"models": models or {}})
    model = choose_model(written, config, Home(folder), environ=environ or {})
    try:
        yield model
    finally:
        await model.close()


async def ask(model: Model, prompt: Prompt = PROMPT, **request: Any) -> tuple[Reply, list[Delta]]:
    """The reply, after checking that it came exactly once and last."""
    parts = [part async for part in model.stream(Request(prompt, **request))]
    *deltas, reply = parts
    assert isinstance(reply, Reply)
    kept = [part for part in deltas if isinstance(part, Delta)]
    assert len(kept) == len(deltas)
    return reply, kept


def streamed(deltas: list[Delta], kind: str) -> str:
    return "".join(delta.text for delta in deltas if delta.kind == kind)
