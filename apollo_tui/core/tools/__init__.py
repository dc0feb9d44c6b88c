"""The action space: what an agent can do, one file per family.

A `SandboxTool` becomes a job; its observation is a pure function of how the job ended and what it
wrote, so a later core can compute it from the job's files. A `SystemTool` runs in the core.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, model_validator

from apollo_tui.core.browsing import Browser
from apollo_tui.core.left_running import LeftRunning
from apollo_tui.log.events import Event
from apollo_tui.log.types import Disposition
from apollo_tui.sandbox import Job, Outcome, Sandbox
from apollo_tui.sandbox.sessions import Sessions


@dataclass(frozen=True)
class ToolResult:
    """What an action came to. `text` is what the model reads (at most 30,000 characters)."""

    text: str
    disposition: Disposition = "completed"
    exit_code: int | None = None
    summary: str = ""  # the last telling line, for lists
    lines: int = 0  # of the whole output
    added: int | None = None
    removed: int | None = None
    error: bool = False
    full_output: str | None = None  # kept in the log when it is more than `text`
    finishes: bool = False  # the rollout ends after this action
    events: tuple[Event, ...] = ()  # facts recorded together with the action's end
    texts: tuple[str, ...] = ()  # that they refer to


class Arguments(BaseModel):
    """The arguments of a tool: unknown ones are refused, null means the same as leaving one out."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {
            name: value
            for name, value in given.items()
            if value is not None or name not in cls.model_fields
        }


class InvalidCall(Exception):
    """A call that is not executed: unknown or disabled tool, bad JSON, arguments that do not fit.
    Carries the observation that tells the agent exactly what was wrong."""

    def __init__(self, result: ToolResult) -> None:
        super().__init__(result.text)
        self.result = result


class Situation(Protocol):
    """What a system tool may ask of the rollout it runs in."""

    @property
    def sandbox(self) -> Sandbox:
        """Where its jobs run, and what of the host they see."""
        ...

    @property
    def sessions(self) -> Sessions:
        """The terminal sessions of its sandbox."""
        ...

    @property
    def left_running(self) -> LeftRunning:
        """What its actions left running."""
        ...

    @property
    def action(self) -> str:
        """The id of the action that runs: the same when it is run again after a crash."""
        ...

    @property
    def browser(self) -> Browser:
        """The web, as far as the task lets it be read."""
        ...

    async def sleep(self, seconds: float) -> str:
        """Wait; returns why it ended early ("advice arrived", "paused"), or an empty text."""
        ...

    async def until(self, work: Coroutine[Any, Any, None], seconds: float) -> str:
        """Wait until `work` is done; returns why it ended before that, or an empty text."""
        ...

    def time_left(self) -> float | None:
        """Seconds of working time; None when nothing limits them."""
        ...

    async def submit(self) -> ToolResult:
        """Evaluate the workspace as it is and say the score."""
        ...

    async def view_hint(self) -> ToolResult: ...


class _Described(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def arguments(self) -> type[BaseModel]: ...

    def summarise(self, arguments: Any) -> str:
        """The arguments in one line, for lists: what a person needs to recognise the action."""
        ...


@runtime_checkable
class SandboxTool(_Described, Protocol):
    def job(self, job_id: str, arguments: Any) -> Job: ...

    def result(self, arguments: Any, outcome: Outcome, output: bytes) -> ToolResult: ...


@runtime_checkable
class SystemTool(_Described, Protocol):
    @property
    def repeatable(self) -> bool:
        """Whether it may be run again when a crash left its outcome unknown."""
        ...

    async def run(self, arguments: Any, situation: Situation) -> ToolResult: ...


Tool = SandboxTool | SystemTool
