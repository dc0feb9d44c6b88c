"""Running commands: one call, its exit code and its output."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from apollo_tui.core.tools import ToolResult
from apollo_tui.core.tools.observation import (
    READS_AT_MOST,
    count_lines,
    observation,
    telling_line,
)
from apollo_tui.log.types import Disposition, Text
from apollo_tui.sandbox import Job, Outcome


class BashArguments(BaseModel):
    model_config = ConfigDict(extra="forbid")

    command: Text = Field(description="What to run, as a shell script.")
    timeout: float = Field(
        default=120, gt=0, le=7200, description="Seconds after which it is killed."
    )


@dataclass(frozen=True)
class Bash:
    name: str = "bash"
    description: str = (
        "Run a shell script in the workspace and read its exit code and its output (stdout and "
        "stderr as they came). Each call is a new shell: cd and variables do not carry over. "
        "A background process (cmd > log 2>&1 &) goes on after the call."
    )
    arguments: type[BaseModel] = BashArguments

    def summarise(self, arguments: BashArguments) -> str:
        return " ".join(arguments.command.split())

    def job(self, job_id: str, arguments: BashArguments) -> Job:
        return Job(id=job_id, script=arguments.command, timeout=arguments.timeout)

    def result(self, arguments: BashArguments, outcome: Outcome, output: bytes) -> ToolResult:
        text = output.decode("utf-8", "replace").replace("\x00", "�")
        said = how_it_ended(outcome, arguments.timeout)
        seconds = (outcome.ended_at - outcome.started_at) / 1e6
        failed = outcome.ended != "exited" or outcome.exit_code != 0
        shown = (
            text
            if not said
            else f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{said}"
        )
        return ToolResult(
            text=observation(
                "command",
                outcome.ended_at or outcome.started_at,
                shown or "(no output)",
                success=not failed,
                exit_code=outcome.exit_code if outcome.exit_code is not None else "unknown",
                seconds=f"{seconds:.1f}",
            ),
            disposition=_DISPOSITION[outcome.ended],
            exit_code=outcome.exit_code,
            summary=telling_line(text, failed=failed) or said,
            lines=count_lines(text),
            error=failed,
            full_output=text if len(text) > READS_AT_MOST else None,
        )


_DISPOSITION: dict[str, Disposition] = {
    "exited": "completed",
    "timeout": "timeout",
    "killed": "killed",
    "lost": "unknown",
}


def how_it_ended(outcome: Outcome, timeout: float | None) -> str:
    """What is to be said of an end that is no plain exit; empty otherwise."""
    match outcome.ended:
        case "timeout":
            return f"[killed after {timeout:g} s, with everything it had started]"
        case "killed":
            why = "it used too much memory" if outcome.out_of_memory else "by the operator"
            return f"[killed: {why}]"
        case "lost":
            return (
                "[nobody can say how this ended: what ran it was lost. It was not run again. "
                f"{outcome.error}".rstrip()
                + "]"
            )
    if outcome.error:
        return f"[could not be run: {outcome.error}]"
    if outcome.out_of_memory:
        return "[a process of it was killed: it used too much memory]"
    return ""


BASH = Bash()
