"""Reading and changing files, under the names and arguments of ResearchGym's file actions.

They run inside the sandbox, as the job's user (`sandbox/inside/files.py`): an agent sees with them
exactly what its commands see.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from apollo_tui.core.tools import ToolResult
from apollo_tui.core.tools.command import how_it_ended
from apollo_tui.core.tools.observation import count_lines, observation, telling_line
from apollo_tui.log.types import Text
from apollo_tui.sandbox import Job, Outcome

TIMEOUT = 60.0  # seconds; a search through a large folder takes a while


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OpenFile(_Arguments):
    path: Text = Field(description="The file, relative to the workspace or absolute.")
    line_number: int = Field(default=1, ge=1, description="The line to show in the middle.")
    context_lines: int = Field(default=100, ge=1, le=2000, description="How many lines to show.")


class GotoLine(_Arguments):
    line_number: int = Field(ge=1, description="The line of the open file to go to.")


class Scroll(_Arguments):
    pass


class CreateFile(_Arguments):
    filename: Text = Field(description="The file to write; folders are made as needed.")
    content: Text = Field(default="", description="All of its text.")


class EditFile(_Arguments):
    path: Text = Field(description="The file to change.")
    start: int = Field(ge=1, description="The first line to replace, counted from 1.")
    end: int = Field(ge=0, description="The last line to replace; start-1 only inserts.")
    content: Text = Field(description="The lines that take their place; empty removes them.")


class SearchDir(_Arguments):
    search_term: Text = Field(min_length=1, description="The text to look for.")
    dir_path: Text = Field(default=".", description="The folder to search through.")


class SearchFile(_Arguments):
    search_term: Text = Field(min_length=1, description="The text to look for.")
    file_path: Text | None = Field(default=None, description="The file; unset: the open one.")


class FindFile(_Arguments):
    file_name: Text = Field(min_length=1, description="A name, or a pattern with * and ?.")
    dir_path: Text = Field(default=".", description="The folder to look in.")


class ListFiles(_Arguments):
    path: Text = Field(default=".", description="The folder to list.")
    show_hidden: bool = Field(default=False, description="Whether to list names with a dot.")


class GetFileInfo(_Arguments):
    path: Text = Field(description="The file or folder.")


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
        at = outcome.ended_at or outcome.started_at
        try:
            said = json.loads(output)
            success, text = bool(said["success"]), str(said["text"])
        except (ValueError, KeyError, TypeError):
            return self._broken(outcome, output, at)
        return ToolResult(
            text=observation("file", at, text, success=success),
            disposition="completed" if success else "failed",
            summary=str(said.get("summary") or telling_line(text, failed=not success)),
            lines=count_lines(text),
            added=said.get("added"),
            removed=said.get("removed"),
            error=not success,
        )

    def _broken(self, outcome: Outcome, output: bytes, at: int) -> ToolResult:
        """The tool itself did not come to its end."""
        text = output.decode("utf-8", "replace")
        why = how_it_ended(outcome, TIMEOUT) or telling_line(text, failed=True) or "it said nothing"
        unknown = outcome.ended == "lost"
        return ToolResult(
            text=observation("file", at, f"{self.name} did not work: {why}", success=False),
            disposition="unknown"
            if unknown
            else "timeout"
            if outcome.ended == "timeout"
            else "failed",
            exit_code=outcome.exit_code,
            summary=why,
            lines=count_lines(text),
            error=True,
        )


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
    FileTool("file_scroll_down", "Show what follows in the open file.", Scroll, lambda _: ""),
    FileTool("file_scroll_up", "Show what comes before in the open file.", Scroll, lambda _: ""),
    FileTool(
        "create_file",
        "Write a file, whole. It becomes the open file.",
        CreateFile,
        lambda a: a.filename,
    ),
    FileTool(
        "edit_file",
        "Replace lines start to end (counted from 1, both included) of a file.",
        EditFile,
        lambda a: f"{a.path}:{a.start}-{a.end}" if a.end > a.start else f"{a.path}:{a.start}",
    ),
    FileTool(
        "search_dir",
        "Find a text in the files of a folder and the folders in it.",
        SearchDir,
        lambda a: f'"{a.search_term}" {a.dir_path}',
    ),
    FileTool(
        "search_file",
        "Find a text in one file.",
        SearchFile,
        lambda a: f'"{a.search_term}" {a.file_path or ""}'.rstrip(),
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
