"""What an agent does without its sandbox: think, sleep, submit, ask for the hint, finish."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from apollo_tui.core.tools import Arguments, Situation, ToolResult
from apollo_tui.core.tools.observation import observation
from apollo_tui.log.types import Text


class Nothing(Arguments):
    pass


class Think(Arguments):
    thought: Text = Field(description="What you think; nothing happens.")


class Sleep(Arguments):
    sleep_time: float = Field(gt=0, le=1800, description="Seconds to wait.")


@dataclass(frozen=True)
class CoreTool:
    """A `SystemTool`. `repeatable`: running it again after a crash has no further effect."""

    name: str
    description: str
    arguments: type[BaseModel]
    line: Callable[[Any], str]
    do: Callable[[Any, Situation], Awaitable[ToolResult]]
    repeatable: bool = True

    def summarise(self, arguments: Any) -> str:
        return self.line(arguments)

    async def run(self, arguments: Any, situation: Situation) -> ToolResult:
        return await self.do(arguments, situation)


async def _think(arguments: Think, situation: Situation) -> ToolResult:
    return _said("think", "Noted.", summary="")


async def _sleep(arguments: Sleep, situation: Situation) -> ToolResult:
    began = time.monotonic()
    early = await situation.sleep(arguments.sleep_time)
    slept = time.monotonic() - began
    text = f"Slept {slept:.0f} s."
    if early:
        text = f"Slept {slept:.0f} of {arguments.sleep_time:g} s: {early}."
    return _said("sleep", text, summary=f"ended early: {early}" if early else "")


async def _finish(arguments: Nothing, situation: Situation) -> ToolResult:
    result = _said("finish", "The rollout ends here.", summary="")
    return ToolResult(result.text, lines=1, finishes=True)


async def _eval(arguments: Nothing, situation: Situation) -> ToolResult:
    return await situation.submit()


async def _view_hint(arguments: Nothing, situation: Situation) -> ToolResult:
    return await situation.view_hint()


def _said(kind: str, text: str, summary: str) -> ToolResult:
    at = time.time_ns() // 1000
    shown = observation(kind, at, success=True, message=text)
    return ToolResult(shown, summary=summary, lines=1)


SYSTEM_TOOLS = (
    CoreTool(
        "think",
        "Think on the record, without acting.",
        Think,
        lambda a: " ".join(a.thought.split())[:400],
        _think,
    ),
    CoreTool(
        "sleep",
        "Wait. It ends early when the operator sends advice or pauses you.",
        Sleep,
        lambda a: f"{a.sleep_time:g}",
        _sleep,
    ),
    CoreTool(
        "eval",
        "Submit: have the workspace scored as it is now. Submissions are limited.",
        Nothing,
        lambda _: "",
        _eval,
    ),
    CoreTool(
        "view_hint",
        "Read the task's hint. That you did is recorded.",
        Nothing,
        lambda _: "",
        _view_hint,
    ),
    CoreTool("finish", "End the rollout: the work is done.", Nothing, lambda _: "", _finish),
)
