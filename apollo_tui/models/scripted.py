"""A model that replies from a file: for tests, demonstrations, and trying the console.

One JSON object a line, every field optional:

    {"thinking": "…", "text": "…", "actions": [{"tool": "bash", "arguments": {"command": "ls"}}],
     "seconds": 0.5, "repeat": 1, "for": "step"}

`seconds` is how long the reply takes to stream, `repeat` how often it is given, `for` is step,
summary, judge or ask. The position in the file follows from the log, so it survives a restart and a
fork; after the last step the agent finishes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from apollo_tui.errors import ConfigError
from apollo_tui.log.types import (
    AssistantMessage,
    Message,
    Text,
    Thinking,
    ToolCall,
    Usage,
    Value,
)
from apollo_tui.models import Delta, Purpose, Reply, Request

_PIECES_PER_SECOND = 20
_FEWEST_PIECES = 4


class ScriptedAction(Value):
    tool: Text
    arguments: dict[str, Any] = Field(default_factory=dict)


class ScriptedReply(Value):
    thinking: Text = ""
    text: Text = ""
    actions: tuple[ScriptedAction, ...] = ()
    seconds: float = Field(0.0, ge=0, allow_inf_nan=False)
    repeat: int = Field(1, ge=1)
    purpose: Purpose = Field("step", alias="for")


_FINISH = ScriptedReply(actions=(ScriptedAction(tool="finish"),))
_SILENCE = ScriptedReply()


class ScriptedModel:
    """Implements `Model`. `on_request` sees every request as it is given.

    Raises ConfigError with the line when the file is missing or broken.
    """

    api = "scripted"
    priced = True  # it costs nothing

    def __init__(
        self, name: str, path: Path, *, on_request: Callable[[Request], None] | None = None
    ) -> None:
        self.name = name
        self._replies = read_script(path)
        self._on_request = on_request

    def cost(self, usage: Usage) -> float | None:
        return 0.0

    async def check(self) -> None:
        """The file was read already; there is nobody to reach."""

    async def close(self) -> None:
        pass

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Reply]:
        if self._on_request is not None:
            self._on_request(request)
        reply = reply_at(self._replies, request.purpose, request.position)
        deltas = pieces(reply)
        clock = asyncio.get_running_loop().time
        started = clock()
        for number, delta in enumerate(deltas, 1):
            due = started + reply.seconds * number / len(deltas)
            await asyncio.sleep(max(0.0, due - clock()))
            yield delta
        await asyncio.sleep(max(0.0, started + reply.seconds - clock()))
        yield _whole(reply, request)


def read_script(path: Path) -> tuple[ScriptedReply, ...]:
    """The replies of a file. Raises ConfigError with the file and the line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
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
            raise ConfigError(f"{path.name} line {number}: {_fault(error)} ({path})") from None
    return tuple(replies)


def _fault(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    match first["type"]:
        case "extra_forbidden":
            fields = [info.alias or name for name, info in ScriptedReply.model_fields.items()]
            known = "tool, arguments" if "." in field else ", ".join(fields)
            return f"unknown field {field}; there are {known}"
        case "missing":
            return f"{field} is missing"
        case "json_invalid":
            return f"this is no JSON: {first['ctx']['error']}"
        case "model_type":
            return f"{field or 'a reply'} must be a JSON object"
    return f"{field} {first['msg'].replace('Input should', 'must')}"


def reply_at(replies: Sequence[ScriptedReply], purpose: Purpose, position: int) -> ScriptedReply:
    """The reply after `position` others of this purpose; when there are no more, `finish` for a
    step, nothing for the rest."""
    for reply in replies:
        if reply.purpose != purpose:
            continue
        if position < reply.repeat:
            return reply
        position -= reply.repeat
    return _FINISH if purpose == "step" else _SILENCE


def pieces(reply: ScriptedReply) -> list[Delta]:
    """The reply as it streams: about twenty pieces a second, at least a few."""
    parts: list[tuple[Literal["thinking", "text", "action"], str, str]] = [
        ("thinking", reply.thinking, ""),
        ("text", reply.text, ""),
    ]
    parts += [("action", json.dumps(call.arguments), call.tool) for call in reply.actions]
    length = sum(len(text) for _, text, _ in parts)
    wanted = max(_FEWEST_PIECES, round(reply.seconds * _PIECES_PER_SECOND))
    size = max(1, length // wanted)
    return [
        Delta(kind, text[start : start + size], tool)
        for kind, text, tool in parts
        for start in range(0, len(text), size)
    ]


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
    read = len(request.prompt.system) + sum(map(_length, request.prompt.messages))
    usage = Usage(input=read // 4, output=_length(message) // 4, cost_usd=0.0, estimated=True)
    return Reply(message, usage, "actions" if message.actions else "stop", served_model="scripted")


def _length(message: Message) -> int:
    """How many characters a message has, roughly."""
    if not isinstance(message, AssistantMessage):
        return len(message.text)
    calls = sum(len(call.tool) + len(str(call.arguments)) for call in message.actions)
    return len(message.text) + sum(len(block.text) for block in message.thinking) + calls
