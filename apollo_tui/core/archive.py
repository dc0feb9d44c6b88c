"""One rollout in one file: its workspace, and what the log says of it.

NAME/manifest.json    what this is
NAME/events.jsonl     its events, as `apollo-tui log` tells them; times in UTC microseconds
NAME/texts.jsonl      the texts they name: {"ref": ..., "text": ...}
NAME/workspace/       its files; links as links
"""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import zstandard

from apollo_tui import __version__
from apollo_tui.errors import CommandRefused
from apollo_tui.log.read import History, RolloutRow
from apollo_tui.log.states import FINAL_STATES
from apollo_tui.log.texts import refs_in
from apollo_tui.sandbox.copying import walk
from apollo_tui.whole import whole

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass
class Archived:
    """What an archive holds, its own size, and how many things were left out, by why."""

    events: int = 0
    files: int = 0
    bytes: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def archive(history: History, row: RolloutRow, folder: Path, target: Path) -> Archived:
    """Write a rollout that has ended into a new .tar.zst of mode 0600, whole or not at all. Blocks.

    Raises CommandRefused for one that has not ended, or goes on meanwhile; UsageError when the target
    exists; ApolloError when it cannot be written.
    """
    _refuse_running(row)
    told = Archived()
    with whole(target) as made:
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with (
            os.fdopen(fd, "wb") as file,
            zstandard.ZstdCompressor(write_checksum=True).stream_writer(file) as compressed,
            tarfile.open(fileobj=compressed, mode="w|") as tar,
        ):
            name = row.name if "/" not in row.name else row.id
            _add_log(tar, name, history, row, target.parent, told)
            if (workspace := folder / "workspace").is_dir():
                _add_workspace(tar, name, workspace, told)
        now = history.rollout(row.id)
        if now is None or now.state not in FINAL_STATES:
            raise CommandRefused(
                f"{row.name} went on meanwhile, so nothing was written; stop it first"
            )
    told.bytes = target.stat().st_size
    return told


def _refuse_running(row: RolloutRow) -> None:
    if row.state not in FINAL_STATES:
        raise CommandRefused(f"{row.name} is {row.state}; stop it first, then archive it")


# --- the log ---------------------------------------------------------------------------------------


def _add_log(
    tar: tarfile.TarFile, name: str, history: History, row: RolloutRow, near: Path, told: Archived
) -> None:
    refs: dict[str, None] = {}
    with tempfile.TemporaryFile(dir=near) as file:
        for line in _event_lines(history, row.id):
            refs |= dict.fromkeys(refs_in(line))
            file.write(f"{line}\n".encode())
            told.events += 1
        manifest = {
            "format": "apollo-tui archive",
            "version": 1,
            "written_by": __version__,
            "rollout": row.id,
            "name": row.name,
            "task": row.task,
            "model": row.model,
            "state": row.state,
            "events": told.events,
            "texts": len(refs),
        }
        said = json.dumps(manifest, ensure_ascii=False, indent=2).encode() + b"\n"
        _add_file(tar, f"{name}/manifest.json", io.BytesIO(said), len(said))
        _add_file(tar, f"{name}/events.jsonl", file, file.tell())
    with tempfile.TemporaryFile(dir=near) as file:
        for text in _text_lines(history, list(refs)):
            file.write(text.encode())
        _add_file(tar, f"{name}/texts.jsonl", file, file.tell())


def _event_lines(history: History, rollout: str) -> Iterator[str]:
    after = 0
    while page := history.events(rollout, after=after):
        for event in page:
            yield json.dumps(event, separators=(",", ":"))
        after = page[-1]["seq"]


def _text_lines(history: History, refs: list[str]) -> Iterator[str]:
    for start in range(0, len(refs), 100):
        for ref, text in history.texts(refs[start : start + 100]).items():
            yield json.dumps({"ref": ref, "text": text}, ensure_ascii=False) + "\n"


def _add_file(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    file.seek(0)
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    tar.addfile(info, file)


# --- the workspace -----------------------------------------------------------------------------------


def _add_workspace(tar: tarfile.TarFile, name: str, workspace: Path, told: Archived) -> None:
    root = os.open(workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tar.addfile(_info(f"{name}/workspace", os.fstat(root), tarfile.DIRTYPE))
        for found in walk(root, ".", told.left_out):
            path, status = f"{name}/workspace/{found.path}", found.status
            if stat.S_ISDIR(status.st_mode):
                tar.addfile(_info(path, status, tarfile.DIRTYPE))
            elif stat.S_ISLNK(status.st_mode):
                info = _info(path, status, tarfile.SYMTYPE)
                info.linkname = os.readlink(found.name, dir_fd=found.folder)
                tar.addfile(info)
            elif stat.S_ISREG(status.st_mode):
                _add_regular(tar, path, found.name, found.folder, told)
            else:
                told.left_out["pipes, sockets and devices"] += 1
    finally:
        os.close(root)


def _add_regular(tar: tarfile.TarFile, path: str, name: str, folder: int, told: Archived) -> None:
    try:
        fd = os.open(name, _OPEN, dir_fd=folder)
    except OSError:
        told.left_out["files that cannot be opened"] += 1
        return
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):  # swapped meanwhile
            told.left_out["files that cannot be opened"] += 1
            return
        info = _info(path, status, tarfile.REGTYPE)
        info.size = status.st_size
        tar.addfile(info, file)
    told.files += 1


def _info(path: str, status: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.mtime = kind, stat.S_IMODE(status.st_mode), int(status.st_mtime)
    return info
