"""Reading documents, under the names and arguments of ResearchGym's parse actions: the text goes
into a file of the workspace, for open_file and search_file to read.

The libraries for it are here and not in the sandbox, so a process of the core's reads the document,
as the job's user and beneath the workspace or a mounted folder, and the core writes the text.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from apollo_tui.core.tools import Arguments, Situation, ToolResult
from apollo_tui.core.tools.observation import SUMMARY_AT_MOST, observation, storable
from apollo_tui.errors import PathRefused
from apollo_tui.log.types import Text
from apollo_tui.parsing import Kind, Parsed, Unreadable, counted
from apollo_tui.parsing.process import Document, read_document
from apollo_tui.sandbox import Sandbox
from apollo_tui.sandbox.beneath import open_folder_beneath, write_beneath


class ParseArguments(Arguments):
    file_path: Text = Field(
        min_length=1, description="The document, relative to the workspace or absolute."
    )
    save_path: Text = Field(
        default="",
        description="The text file to write, which must not exist; unset: file_path with .txt "
        "added.",
    )


@dataclass(frozen=True)
class ParseTool:
    """A `SystemTool`: running it again writes the same file, which is as if it ran once."""

    name: str
    description: str
    kind: Kind
    label: str
    arguments: type[BaseModel] = ParseArguments
    repeatable: bool = True

    def summarise(self, arguments: ParseArguments) -> str:
        paths = (arguments.file_path, arguments.save_path)
        return " → ".join(" ".join(path.split()) for path in paths if path)

    async def run(self, arguments: ParseArguments, situation: Situation) -> ToolResult:
        began = time.monotonic()
        sandbox, asked = situation.sandbox, arguments.file_path
        target = arguments.save_path or f"{asked}.txt"
        try:
            folder, path = _place(sandbox, asked)
            beneath = _target(sandbox, target)
            document = await asyncio.to_thread(_document, sandbox, self.kind, folder, path)
            try:
                parsed = await read_document(document)
            finally:
                os.close(document.folder)
            text = storable(f"[Reading {self.label} file from {asked}]\n{parsed.text}\n")
            workspace = sandbox.spec.workspace
            await asyncio.to_thread(write_beneath, workspace, beneath, text.encode())
        except PathRefused as refused:
            return self._failed(refused.line)
        except Unreadable as why:
            return self._failed(f"{asked} was not read: {why}")
        return self._done(target, text, parsed, time.monotonic() - began)

    def _done(self, target: str, text: str, parsed: Parsed, seconds: float) -> ToolResult:
        lines = text.count("\n")
        size = f"{parsed.size}, {counted(lines, 'line')}, {counted(len(text), 'character')}"
        notes = "".join(f"; {note}" for note in parsed.notes)
        return ToolResult(
            observation(
                "parse",
                time.time_ns() // 1000,
                success=True,
                message=f"{self.label} file parsed and saved to {target}: {size}{notes}",
                save_path=shlex.quote(target),
                seconds=f"{seconds:.1f}",
            ),
            summary=f"{target}: {size}"[:SUMMARY_AT_MOST],
            lines=1,
            added=lines,
            removed=0,
        )

    def _failed(self, why: str) -> ToolResult:
        at = time.time_ns() // 1000
        return ToolResult(
            observation("parse", at, success=False, message=why),
            disposition="failed",
            summary=why[:SUMMARY_AT_MOST],
            lines=1,
            error=True,
        )


def _target(sandbox: Sandbox, path: str) -> str:
    """Where the text goes, beneath the workspace. Raises PathRefused for any other place."""
    folder, beneath = _place(sandbox, path)
    if folder != sandbox.spec.workspace:
        raise PathRefused(f"{path} is in a mounted folder; save_path must be in the workspace")
    return beneath


def _document(sandbox: Sandbox, kind: Kind, folder: Path, path: str) -> Document:
    """The document by its open folder. Raises PathRefused. Blocks."""
    try:
        workspace = sandbox.spec.workspace.stat()
        opened = open_folder_beneath(folder, ".")
    except (OSError, PathRefused) as error:  # which names a path of the host
        raise PathRefused(f"the folder of {path} is not to be reached from here") from error
    return Document(kind, opened, path, (workspace.st_uid, workspace.st_gid))


def _place(sandbox: Sandbox, path: str) -> tuple[Path, str]:
    """The host's folder for a path as the agent writes it, and the path beneath that folder."""
    root = sandbox.workspace_path
    if path == "/workspace" or path.startswith("/workspace/"):
        path = f"{root}{path.removeprefix('/workspace')}"
    inside = posixpath.normpath(posixpath.join(root, path))
    folders = {mount.inside: Path(mount.host) for mount in sandbox.spec.mounts}
    folders[root] = sandbox.spec.workspace
    for above in sorted(folders, key=len, reverse=True):
        if inside == above.rstrip("/"):
            raise PathRefused(f"{path} is a folder, or a file mounted by itself; copy it first")
        if inside.startswith(f"{above.rstrip('/')}/"):
            return folders[above], inside.removeprefix(f"{above.rstrip('/')}/")
    raise PathRefused(f"{path} is not in the workspace; copy it there first")


PARSE_TOOLS = (
    ParseTool(
        "parse_pdf",
        "Write the text of a PDF into a file, page by page. Text in images is not read.",
        "pdf",
        "PDF",
    ),
    ParseTool(
        "parse_docx",
        "Write the text of a DOCX into a file: paragraphs, lists, tables, notes and comments.",
        "docx",
        "DOCX",
    ),
    ParseTool(
        "parse_latex",
        "Write the text of a LaTeX document into a file, with what it includes; formulas stay as "
        "they are written.",
        "latex",
        "LaTeX",
    ),
    ParseTool(
        "parse_pptx",
        "Write the text of a PPTX into a file, slide by slide, with tables, charts and notes.",
        "pptx",
        "PPTX",
    ),
)
