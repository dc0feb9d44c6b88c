"""Running commands: one call, its exit code and its output."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, Field

from apollo_tui.core.tools import Arguments, ToolResult
from apollo_tui.core.tools.observation import (
    READS_AT_MOST,
    count_lines,
    observation,
    storable,
    telling_line,
)
from apollo_tui.log.types import Disposition, Text
from apollo_tui.sandbox import Job, Outcome


class BashArguments(Arguments):
    command: Text = Field(min_length=1, description="What to run, as a shell script.")
    timeout: float = Field(
        default=120, gt=0, le=3600, description="Seconds after which it is killed."
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
        text = storable(output.decode("utf-8", "replace"))
        said = how_it_ended(outcome)
        failed = outcome.ended != "exited" or outcome.exit_code != 0
        shown = observation(
            "command",
            ended_at(outcome),
            text,
            success=not failed,
            message=said or ("" if text.strip() else "it printed nothing"),
            exit_code="unknown" if outcome.exit_code is None else outcome.exit_code,
            seconds=f"{(outcome.ended_at - outcome.started_at) / 1e6:.1f}",
        )
        return ToolResult(
            text=shown,
            disposition=disposition(outcome),
            exit_code=outcome.exit_code,
            summary=said
            if outcome.ended != "exited"
            else telling_line(text, failed=failed) or said,
            lines=count_lines(text),
            error=failed,
            full_output=text if len(text) > READS_AT_MOST else None,
        )


def disposition(outcome: Outcome) -> Disposition:
    match outcome.ended:
        case "exited":
            return "completed"
        case "lost":
            return "unknown"
        case ended:
            return ended


def ended_at(outcome: Outcome) -> int:
    """UTC microseconds. Of a lost job only the start is known, if that."""
    return outcome.ended_at or outcome.started_at


def how_it_ended(outcome: Outcome) -> str:
    """What is to be said of an end; nothing of exit code 0."""
    match outcome.ended:
        case "timeout":
            took = (outcome.ended_at - outcome.started_at) / 1e6
            return f"killed at its time limit, after {took:.0f} s, with everything it had started"
        case "killed":
            why = "it used too much memory" if outcome.out_of_memory else "the operator ended it"
            return f"killed: {why}"
        case "lost":
            said = (
                "nobody can say how this ended, because what ran it was lost; it was not run again"
            )
            return f"{said} ({outcome.error})" if outcome.error else said
    if outcome.error:
        return f"could not be run: {outcome.error}"
    if outcome.out_of_memory:
        return f"ended with exit code {outcome.exit_code}; a process used too much memory and was killed"
    if outcome.signal:
        return f"ended by signal {outcome.signal}"
    return f"ended with exit code {outcome.exit_code}" if outcome.exit_code else ""


BASH = Bash()
