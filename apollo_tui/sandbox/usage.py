"""How much disk a rollout's folders take, and deleting what an agent made.

An agent can nest folders deeper than any path is long, plant links, and take all rights away from its
folders. Links are counted and deleted as links; nothing outside is ever looked at.
"""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

_ENTER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Usage:
    """What a folder takes. `bytes` is what deleting it frees: a sparse file counts what it holds."""

    bytes: int = 0
    files: int = 0
    unread: int = 0  # folders that could not be looked into

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.bytes + other.bytes, self.files + other.files, self.unread + other.unread)


def used_by(folder: Path) -> Usage:
    """What a folder or file and everything in it takes; nothing where there is none. Blocks."""
    try:
        status = folder.lstat()
    except OSError:
        return Usage()
    size, files, unread = status.st_blocks * 512, 0, 0
    if not stat.S_ISDIR(status.st_mode):
        return Usage(size, 1)
    seen: set[int] = set()
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                        if found.st_ino in seen:
                            continue
                        seen.add(found.st_ino)
                    size += found.st_blocks * 512
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(entry.path)
                    else:
                        files += 1
        except OSError:
            unread += 1
    return Usage(size, files, unread)


def parts_of(folder: Path) -> dict[str, Usage]:
    """What each folder or file directly in a rollout's folder takes, by name. Blocks."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return {}
    return {name: used_by(folder / name) for name in names}


def remove_tree(folder: Path) -> None:
    """Delete a folder and everything in it, however deep and whatever its modes; harmless when there
    is none. Raises OSError for what cannot be deleted. Blocks.

    A folder in a folder is moved up before it is emptied: nothing recurses, and no path gets long.
    """
    if not folder.is_dir():
        return
    parent = os.open(folder.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        top = _enter(folder.name, parent)
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(folder.name, dir_fd=parent)
    finally:
        os.close(parent)


def _enter(name: str, parent: int) -> int:
    """Open a folder for listing, and give its owner all rights to it, so that it can be emptied."""
    held = os.open(name, _ENTER, dir_fd=parent)
    try:
        here = Path(f"/proc/self/fd/{held}")
        with contextlib.suppress(PermissionError):  # another's: it may be empty, or readable
            here.chmod(0o700)
        return os.open(here, _LIST)
    finally:
        os.close(held)


def _empty(top: int) -> None:
    while names := [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in _listed(top)]:
        for name, is_folder in names:
            if is_folder:
                _dissolve(name, top)
            else:
                os.unlink(name, dir_fd=top)


def _listed(folder: int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _dissolve(name: str, top: int) -> None:
    """Delete a folder of `top`; the folders in it become folders of `top`."""
    try:
        below = _enter(name, top)
    except PermissionError:
        os.rmdir(name, dir_fd=top)  # it is another's; when it is empty it can go
        return
    try:
        for entry in _listed(below):
            if entry.is_dir(follow_symlinks=False):
                _move_up(entry.name, below, top)
            else:
                os.unlink(entry.name, dir_fd=below)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=top)


def _move_up(name: str, below: int, top: int) -> None:
    """Moving a folder changes its "..", so its owner must be allowed to write it."""
    os.close(_enter(name, below))
    os.rename(name, f".{uuid.uuid4().hex}", src_dir_fd=below, dst_dir_fd=top)
