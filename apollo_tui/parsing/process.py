"""Reading a document in a process of its own: a bomb or a hang costs one answer, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from apollo_tui.parsing import TEXT_AT_MOST, Kind, Parsed, Unreadable

SECONDS = 150.0  # of the clock; the process itself is allowed less of the processor
ANSWER_AT_MOST = 7 * TEXT_AT_MOST  # bytes: JSON writes a character in six at most, mostly


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = ""
    size: str = ""
    notes: list[str] = []
    error: str = ""


@dataclass(frozen=True)
class Document:
    """A document by its `path` beneath an open `folder`, where a LaTeX document's other files are
    looked up too. A core that is root reads it as `owner` (user and group)."""

    kind: Kind
    folder: int
    path: str
    owner: tuple[int, int]


async def read_document(document: Document, *, seconds: float = SECONDS) -> Parsed:
    """The document's text, within some time. Raises Unreadable. Cancelling ends the process."""
    folder = document.folder
    words = [document.kind, f"--folder={folder}", f"--path={document.path}"]
    words.append(f"--parent={os.getpid()}")
    if os.geteuid() == 0 and document.owner[0] != 0:
        words.append(f"--user={document.owner[0]}:{document.owner[1]}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-B", "-m", "apollo_tui.parsing", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        env={"LC_ALL": "C.UTF-8"},
        pass_fds=(folder,),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            answer = await _all_of(process)
            await process.wait()
    except TimeoutError:
        raise Unreadable(f"it took more than {seconds:g} s to read, and was given up") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return await asyncio.to_thread(_parsed, answer, process.returncode or 0)


async def _all_of(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    answer = bytearray()
    while piece := await process.stdout.read(1 << 16):
        answer += piece
        if len(answer) > ANSWER_AT_MOST:
            raise Unreadable(f"its text has more than {ANSWER_AT_MOST:,} bytes")
    return bytes(answer)


def _parsed(answer: bytes, code: int) -> Parsed:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):  # its own limit of the processor
        raise Unreadable("it took too long to read, and was given up")
    try:
        said = _Answer.model_validate_json(answer)
    except ValidationError as error:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise Unreadable(f"the process that read it broke down ({how})") from error
    if said.error:
        raise Unreadable(said.error)
    return Parsed(said.text, said.size, tuple(said.notes))
