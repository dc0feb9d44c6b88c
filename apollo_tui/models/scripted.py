"""A model that replies from a file: for tests, demonstrations, and trying the console.

One JSON object a line: `thinking`, `text`, `actions` ([{tool, arguments}]), `seconds` (how long
the reply takes to stream), `repeat` (how often it is given), `for` (step, summary, judge or ask). The
position follows from the log, so it survives a restart; after the last step the agent finishes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from apollo_tui.errors import ConfigError
from apollo_tui.log.types import AssistantMessage, Text, Thinking, ToolCall, Usage, Value
from apollo_tui.models import Delta, Purpose, Reply, Request

PIECES_PER_SECOND = 20


class ScriptedAction(Value):
    tool: Text
    arguments: dict[str, Any] = Field(default_factory=dict)


class ScriptedReply(Value):
    thinking: Text = ""
    text: Text = ""
    actions: tuple[ScriptedAction, ...] = ()
    seconds: float = Field(default=0.0, ge=0, le=3600)
    repeat: int = Field(default=1, ge=1)
    purpose: Purpose = Field(default="step", alias="for")


FINISH = ScriptedReply(actions=(ScriptedAction(tool="finish"),))


def read_script(path: Path) -> list[ScriptedReply]:
    """The replies of a file. Raises ConfigError with the file and the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the scripted model {path}: {why}") from error
    replies = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            replies.append(ScriptedReply.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(
                f"{path} line {number}: {f'{where}: ' if where else ''}{first['msg']}"
            ) from error
    return replies


class ScriptedModel:
    """Implements `Model`. `on_request` sees every request as it is given."""

    api = "scripted"

    def __init__(
        self, name: str, path: Path, *, on_request: Callable[[Request], None] | None = None
    ) -> None:
        self.name = name
        self.path = path
        self._on_request = on_request

    @cached_property
    def _replies(self) -> list[ScriptedReply]:
        return read_script(self.path)

    async def check(self) -> None:
        """Raises ConfigError when the file cannot be read."""
        _ = self._replies

    async def close(self) -> None:
        pass

    async def stream(self, request: Request) -> AsyncIterator[Delta | Reply]:
        if self._on_request is not None:
            self._on_request(request)
        reply = self._reply_at(request.purpose, request.position)
        deltas = list(_deltas(reply))
        for delta in deltas:
            await asyncio.sleep(reply.seconds / len(deltas))
            yield delta
        if not deltas:
            await asyncio.sleep(reply.seconds)
        yield _whole(reply, request)

    def _reply_at(self, purpose: Purpose, position: int) -> ScriptedReply:
        for reply in self._replies:
            if reply.purpose != purpose:
                continue
            if position < reply.repeat:
                return reply
            position -= reply.repeat
        return FINISH if purpose == "step" else ScriptedReply()


def _whole(reply: ScriptedReply, request: Request) -> Reply:
    message = AssistantMessage(
        text=reply.text,
        thinking=(Thinking(text=reply.thinking),) if reply.thinking else (),
        actions=tuple(
            ToolCall(
                id=f"call_{request.position + 1}_{ordinal}",
                tool=action.tool,
                arguments=action.arguments,
            )
            for ordinal, action in enumerate(reply.actions, 1)
        ),
    )
    read = sum(len(message.model_dump_json()) for message in request.prompt.messages)
    written = len(message.model_dump_json())
    finish: Literal["actions", "stop"] = "actions" if reply.actions else "stop"
    usage = Usage(input=read // 4, output=written // 4, cost_usd=0.0, estimated=True)
    return Reply(message, usage, finish, served_model="scripted")


def _deltas(reply: ScriptedReply) -> list[Delta]:
    """The reply in the pieces in which it streams: about twenty a second, at least a few."""
    parts: list[tuple[Literal["thinking", "text", "action"], str, str]] = [
        ("thinking", reply.thinking, ""),
        ("text", reply.text, ""),
    ]
    parts += [("action", json.dumps(action.arguments), action.tool) for action in reply.actions]
    total = sum(len(text) for _, text, _ in parts)
    pieces = max(4, int(reply.seconds * PIECES_PER_SECOND))
    size = max(1, total // pieces)
    return [
        Delta(kind, text[start : start + size], tool)
        for kind, text, tool in parts
        for start in range(0, len(text), size)
    ]
