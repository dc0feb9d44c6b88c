"""Reading and changing files, under the names and arguments of ResearchGym's file actions.

They run inside the sandbox, as the job's user (`sandbox/inside/files.py`): an agent sees with them
exactly what its commands see.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from apollo_tui.core.tools import Arguments, ToolResult
from apollo_tui.core.tools.command import disposition, ended_at, how_it_ended
from apollo_tui.core.tools.observation import (
    SUMMARY_AT_MOST,
    count_lines,
    observation,
    storable,
    telling_line,
)
from apollo_tui.log.types import Text
from apollo_tui.sandbox import Job, Outcome

TIMEOUT = 60.0  # seconds; a search through a large folder takes a while


class OpenFile(Arguments):
    path: Text = Field(description="The file, relative to the workspace or absolute.")
    line_number: int = Field(default=1, ge=1, description="The line to show in the middle.")
    context_lines: int = Field(default=100, ge=1, le=2000, description="How many lines to show.")


class GotoLine(Arguments):
    line_number: int = Field(ge=1, description="The line of the open file to go to.")


class Nothing(Arguments):
    pass


class CreateFile(Arguments):
    filename: Text = Field(
        min_length=1, description="The file to write, new or anew; folders are made as needed."
    )
    content: Text = Field(default="", description="All of its text.")


class EditFile(Arguments):
    path: Text = Field(description="The file to change.")
    start: int = Field(
        ge=-1, description="The first line to replace, counted from 1; -1 appends to the file."
    )
    end: int = Field(
        ge=-1,
        description="The last line to replace, included; -1 is the file's last; start-1 inserts.",
    )
    content: Text = Field(description="The lines that take their place; empty removes them.")


class SearchDir(Arguments):
    search_term: Text = Field(min_length=1, description="The text to look for.")
    dir_path: Text = Field(default=".", description="The folder to search through.")


class SearchFile(Arguments):
    search_term: Text = Field(min_length=1, description="The text to look for.")
    file_path: Text = Field(default="", description="The file; unset: the open one.")


class FindFile(Arguments):
    file_name: Text = Field(min_length=1, description="A name, or a pattern with * and ?.")
    dir_path: Text = Field(default=".", description="The folder to look in.")


class ListFiles(Arguments):
    path: Text = Field(default=".", description="The folder to list.")
    show_hidden: bool = Field(default=False, description="Whether to list names with a dot.")


class GetFileInfo(Arguments):
    path: Text = Field(default="", description="The file or folder; unset: the open file.")


class _Said(BaseModel):
    """What the program inside prints: a message or an error_message, and more text."""

    success: bool
    message: str = ""
    error_message: str = ""
    text: str = ""
    summary: str = ""
    lines: int = 0
    added: int | None = None
    removed: int | None = None


@dataclass(frozen=True)
class FileTool:
    name: str
    description: str
    arguments: type[BaseModel]
    line: Callable[[Any], str]

    def summarise(self, arguments: Any) -> str:
        return self.line(arguments)

    def job(self, job_id: str, arguments: BaseModel) -> Job:
        return Job(id=job_id, tool=self.name, arguments=arguments.model_dump(), timeout=TIMEOUT)

    def result(self, arguments: BaseModel, outcome: Outcome, output: bytes) -> ToolResult:
        try:
            # Not by pydantic: a file's name may hold half a surrogate pair, which JSON can carry.
            said = _Said.model_validate(_storable(json.loads(output)))
        except (ValueError, RecursionError):
            return self._broken(outcome, output)
        message = said.message or said.error_message
        return ToolResult(
            text=observation(
                "file", ended_at(outcome), said.text, success=said.success, message=message
            ),
            disposition="completed" if said.success else "failed",
            summary=(said.summary or telling_line(message))[:SUMMARY_AT_MOST],
            lines=said.lines,
            added=said.added,
            removed=said.removed,
            error=not said.success,
        )

    def _broken(self, outcome: Outcome, output: bytes) -> ToolResult:
        """The tool itself did not come to its end."""
        text = storable(output.decode("utf-8", "replace"))
        last = telling_line(text, failed=True)
        why = "; ".join(part for part in (how_it_ended(outcome), last) if part)
        ended = disposition(outcome)
        return ToolResult(
            text=observation(
                "file",
                ended_at(outcome),
                success=False,
                message=f"{self.name}: {why or 'no answer'}",
            ),
            disposition="failed" if ended == "completed" else ended,
            exit_code=outcome.exit_code,
            summary=why[:SUMMARY_AT_MOST],
            lines=count_lines(text),
            error=True,
        )


def _storable(said: Any) -> Any:
    if not isinstance(said, dict):
        return said
    return {
        name: storable(value) if isinstance(value, str) else value for name, value in said.items()
    }


def _edited(a: EditFile) -> str:
    if a.start == -1:
        return f"{a.path}:end"
    if a.end == -1:
        return f"{a.path}:{a.start}-end"
    return f"{a.path}:{a.start}-{a.end}" if a.end > a.start else f"{a.path}:{a.start}"


FILE_TOOLS = (
    FileTool(
        "open_file",
        "Show a file with line numbers, around a line. It becomes the open file.",
        OpenFile,
        lambda a: a.path if a.line_number == 1 else f"{a.path}:{a.line_number}",
    ),
    FileTool(
        "file_goto_line",
        "Show the open file around a line.",
        GotoLine,
        lambda a: str(a.line_number),
    ),
    FileTool("file_scroll_down", "Show what follows in the open file.", Nothing, lambda _: ""),
    FileTool("file_scroll_up", "Show what comes before in the open file.", Nothing, lambda _: ""),
    FileTool(
        "create_file",
        "Write a file, whole. It becomes the open file.",
        CreateFile,
        lambda a: a.filename,
    ),
    FileTool(
        "edit_file",
        "Replace lines start to end (counted from 1, both included) of a file. Line numbers after "
        "them change; the result shows the new ones.",
        EditFile,
        _edited,
    ),
    FileTool(
        "search_dir",
        "Find a text, as it is written, in the files of a folder and the folders in it.",
        SearchDir,
        lambda a: f'"{a.search_term}" {a.dir_path}',
    ),
    FileTool(
        "search_file",
        "Find a text, as it is written, in one file.",
        SearchFile,
        lambda a: f'"{a.search_term}" {a.file_path}'.rstrip(),
    ),
    FileTool(
        "find_file", "Find files by name.", FindFile, lambda a: f'"{a.file_name}" {a.dir_path}'
    ),
    FileTool("list_files", "List a folder.", ListFiles, lambda a: a.path),
    FileTool(
        "get_file_info",
        "Kind, size, lines, permissions and age of a file.",
        GetFileInfo,
        lambda a: a.path,
    ),
)
