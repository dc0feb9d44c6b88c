"""The arguments of the session tools, under ResearchGym's names."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import regex
from pydantic import AfterValidator, Field, model_validator

from apollo_tui.core.tools import Arguments
from apollo_tui.log.types import Text

KEYS = {
    "enter": "\r",
    "tab": "\t",
    "escape": "\x1b",
    "esc": "\x1b",
    "backspace": "\x7f",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    **{f"ctrl+{chr(letter)}": chr(letter - 96) for letter in range(ord("a"), ord("z") + 1)},
    "ctrl+\\": "\x1c",
}


def _printable(given: str) -> str:
    if not given.isprintable():
        raise ValueError("must be a name in one line")
    return given


Name = Annotated[Text, AfterValidator(_printable)]
NAMED = Field(min_length=1, max_length=64, description="The session's name.")
HOST = "main"
Host = Annotated[Text, Field(description="The host; there is only main.")]


class OfHost(Arguments):
    computer_ip: Host = HOST


class CreateSession(Arguments):
    session_id: Name = Field(
        default="",
        max_length=64,
        description="A name for it; one is made up when there is none.",
    )
    computer_ip: Host = HOST


class OfSession(Arguments):
    session_id: Name = NAMED
    computer_ip: Host = HOST


class RunCommand(Arguments):
    command: Text = Field(min_length=1, description="What to run, as a shell script.")
    session_id: Name = NAMED
    wait_for_completion: bool = Field(
        default=False, description="Wait until it ends, for `timeout` seconds at most."
    )
    timeout: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="Seconds to wait. A command that takes longer goes on running.",
    )
    computer_ip: Host = HOST


class InputInSession(Arguments):
    session_id: Name = NAMED
    input_text: Text = Field(
        min_length=1,
        description="What to type. Enter is pressed after it. Or one key by its name: ctrl+c, "
        "ctrl+d, ctrl+z, enter, tab, escape, up, down.",
    )
    computer_ip: Host = HOST


class GetSessionOutput(Arguments):
    session_id: Name = NAMED
    start_lines: int = Field(
        default=50, ge=1, description="The first line, counted from the end: 50 reads the last 50."
    )
    end_lines: int = Field(
        default=0,
        ge=0,
        description="Where to stop, counted from the end; this line is no longer read. 0: at the "
        "end.",
    )
    since_timestamp: float = Field(
        default=0,
        ge=0,
        le=1e11,
        description="Unix time in seconds: everything since then, in place of lines.",
    )
    computer_ip: Host = HOST


class GetSessionRecentOutput(Arguments):
    session_id: Name = NAMED
    seconds: float = Field(
        default=10, gt=0, le=1e9, description="What was said in the last seconds."
    )
    computer_ip: Host = HOST


class KillSessionProcesses(Arguments):
    session_id: Name = NAMED
    force: bool = Field(default=False, description="KILL at once; else TERM, and KILL after 2 s.")
    computer_ip: Host = HOST


class WaitFor(Arguments):
    session_id: Name = NAMED
    seconds: float = Field(gt=0, le=86_400, description="Seconds to wait at most.")
    until: Literal["exit", "regex", "idle"] = Field(
        default="exit",
        description="exit: its command ends. idle: background processes have ended, too. "
        "regex: the command's output matches `pattern`.",
    )
    pattern: Text = Field(
        default="", max_length=1000, description="For regex: what to find in the output."
    )
    computer_ip: Host = HOST

    @model_validator(mode="after")
    def _regex_has_a_pattern(self) -> Self:
        if (self.until == "regex") != (self.pattern != ""):
            raise ValueError("pattern belongs to until=regex, and to nothing else")
        try:
            regex.compile(self.pattern)
        except regex.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from error
        return self


def as_typed(text: str) -> str:
    """What is typed: the key of that name, or the text and Enter, unless it ends with a key."""
    key = KEYS.get(text.strip().lower().replace("ctrl-", "ctrl+"))
    if key is not None:
        return key
    return text if ord(text[-1]) < ord(" ") else text + "\n"
