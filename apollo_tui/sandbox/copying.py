"""Copying out of a workspace: regular files and folders, and never through an agent's link.

What is no regular file or folder, or may not be read, is left out and counted by its reason.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from apollo_tui.errors import ApolloError, PathRefused
from apollo_tui.sandbox.beneath import open_beneath, open_folder_beneath
from apollo_tui.whole import whole

_PIECE = 16 << 20  # bytes copied by one call


@dataclass
class Copied:
    """What was copied, and how many things were left out, by why."""

    files: int = 0
    bytes: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Found:
    """One thing in a folder, by its path relative to the folder that was walked."""

    path: str
    status: os.stat_result
    folder: int  # the open folder it lies in; open until the next one is asked for
    name: str


def walk(root: int, path: str, left_out: Counter[str]) -> Iterator[Found]:
    """Everything in a folder beneath an open one, a folder before what is in it. Follows no link.
    Folders that cannot be opened are counted in `left_out`."""
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            fd = open_folder_beneath(root, here)
        except PathRefused:
            left_out["folders that cannot be opened"] += 1
            continue
        try:
            with os.scandir(fd) as entries:
                names = sorted(entry.name for entry in entries)
            for name in names:
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except OSError:  # it went meanwhile
                    continue
                found = Found(str(PurePosixPath(here, name)), status, fd, name)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(found.path)
                yield found
        finally:
            os.close(fd)


def copy_out(workspace: Path, path: str, target: Path) -> Copied:
    """Copy a file or folder of a workspace to a new place, whole or not at all. Blocks.

    Files get mode 0600, or 0700 where their owner may run them; holes stay holes. Raises PathRefused
    for a path that is none or leads elsewhere, UsageError when the target exists, and ApolloError
    when it cannot be written.
    """
    root = os.open(workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    copied = Copied()
    try:
        with whole(target) as made:
            if _is_folder(root, path):
                _copy_folder(root, path, made, copied)
            else:
                _copy_file(root, path, made, copied)
    finally:
        os.close(root)
    return copied


def _is_folder(root: int, path: str) -> bool:
    try:
        os.close(open_folder_beneath(root, path))
    except PathRefused:
        return False  # opening it as a file says what it is
    return True


def _copy_folder(root: int, path: str, made: Path, copied: Copied) -> None:
    made.mkdir(mode=0o700)
    above = PurePosixPath(path)
    for found in walk(root, path, copied.left_out):
        target = made / PurePosixPath(found.path).relative_to(above)
        if stat.S_ISDIR(found.status.st_mode):
            target.mkdir(mode=0o700)
        elif stat.S_ISLNK(found.status.st_mode):
            copied.left_out["links"] += 1
        elif not stat.S_ISREG(found.status.st_mode):
            copied.left_out["pipes, sockets and devices"] += 1
        else:
            try:
                _copy_file(found.folder, found.name, target, copied)
            except PathRefused:
                copied.left_out["files that cannot be opened, or have a second name"] += 1


def _copy_file(root: int, path: str, target: Path, copied: Copied) -> None:
    source = open_beneath(root, path)
    try:
        status = os.fstat(source)
        room = shutil.disk_usage(target.parent).free
        if status.st_blocks * 512 > room:
            raise ApolloError(
                f"{path} takes {status.st_blocks * 512:,} bytes, and {target.parent} has room for "
                f"{room:,}"
            )
        mode = 0o700 if status.st_mode & stat.S_IXUSR else 0o600
        made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            _copy_data(source, made, status.st_size)
        finally:
            os.close(made)
    finally:
        os.close(source)
    copied.files += 1
    copied.bytes += status.st_size


def _copy_data(source: int, made: int, size: int) -> None:
    """Copy the first `size` bytes; what was never written is not written here either."""
    for start, end in _written(source, size):
        os.lseek(source, start, os.SEEK_SET)
        os.lseek(made, start, os.SEEK_SET)
        while start < end:
            sent = os.sendfile(made, source, start, min(_PIECE, end - start))
            if sent == 0:  # it became shorter meanwhile
                break
            start += sent
    os.ftruncate(made, size)


def _written(source: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of a file that are not holes."""
    start = 0
    while start < size:
        try:
            start = os.lseek(source, start, os.SEEK_DATA)
            end = os.lseek(source, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        yield start, min(end, size)
        start = end
