"""Which files of its workspace a rollout changes, told at most every ten seconds.

One inotify instance and one thread serve all rollouts of a core. Folders are opened beneath the
workspace, never through an agent's link, which is why this is not done by a library that walks for us.
What is not watched: links' targets, `IGNORED`, and what the settings exclude.
"""

from __future__ import annotations

import asyncio
import errno
import fnmatch
import heapq
import logging
import os
import re
import select
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from inotify_simple import INotify, flags

from apollo_tui.core.recorder import Recorder
from apollo_tui.errors import ApolloError, PathRefused
from apollo_tui.log.events import FilesChanged
from apollo_tui.sandbox.beneath import open_folder_beneath

logger = logging.getLogger(__name__)

IGNORED = (
    *(".git", ".hg", ".svn", "__pycache__", ".cache", ".mypy_cache", ".pytest_cache"),
    *(".ruff_cache", ".ipynb_checkpoints", "*.swp", "*~"),
)
"""Names of folders and files that change without meaning anything."""

SETTLE = 1.0  # seconds from the first change until it is told
EVERY = 10.0  # seconds between two tellings of one rollout
GATHER = 0.1  # seconds that changes gather in the kernel, which keeps equal ones once
MOST_PATHS = 20_000  # followed between two tellings; more are not counted
MOST_SHOWN = 20
LONGEST_SHOWN = 200  # characters of one path

_FILES = flags.MODIFY | flags.CLOSE_WRITE | flags.CREATE | flags.DELETE
_MOVES = flags.MOVED_FROM | flags.MOVED_TO
_MASK = _FILES | _MOVES | flags.ONLYDIR | flags.EXCL_UNLINK
_NEW_FOLDER = flags.CREATE | flags.MOVED_TO
_LIMITS = {
    errno.ENOSPC: "fs.inotify.max_user_watches",
    errno.EMFILE: "fs.inotify.max_user_instances",
}


@dataclass
class Watched:
    """One workspace. Used under the watcher's lock."""

    root: int  # the open workspace
    ignored: re.Pattern[str]
    changed: Callable[[], None]  # called on the watcher's thread when there is something to take
    broken: Callable[[OSError], None]  # called there when it is watched no longer
    paths: set[str] = field(default_factory=set)
    more: bool = False  # there were changes that `paths` does not hold
    missed: bool = False  # perhaps new folders, too

    def note(self, path: str) -> None:
        if len(self.paths) < MOST_PATHS:
            self.paths.add(path)
        else:
            self.more = True


@dataclass(frozen=True)
class Changes:
    """`bytes` is the size now of the files that are still there; `largest` names some of them."""

    count: int
    bytes: int
    largest: tuple[str, ...]
    at_least: bool


class Watcher:
    """Watches workspaces. Its methods block for as long as a walk takes: call them on threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inotify: INotify | None = None
        self._thread: threading.Thread | None = None
        self._folders: dict[int, tuple[Watched, str]] = {}  # by watch: whose, and its path
        self._wake, self._woken = -1, -1

    def add(
        self,
        workspace: Path,
        excluded: Iterable[str],
        changed: Callable[[], None],
        broken: Callable[[OSError], None],
    ) -> Watched:
        """Begin to watch. Raises OSError: see `why_not_watched`."""
        with self._lock:
            self._begin()
            root = os.open(workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            pattern = re.compile("|".join(map(fnmatch.translate, [*IGNORED, *excluded])))
            watched = Watched(root, pattern, changed, broken)
            try:
                self._watch_below(watched, ".", is_new=False)
            except OSError:
                self._forget(watched)
                raise
            return watched

    def take(self, watched: Watched) -> Changes | None:
        """What has changed since it was taken last; None when nothing has."""
        with self._lock:
            self._read()  # also what happened this instant
            if watched.missed and watched.root >= 0:
                watched.missed = False
                try:
                    self._watch_below(watched, ".", is_new=False)
                except OSError as error:
                    self._forget(watched)
                    watched.broken(error)
            paths, watched.paths = watched.paths, set()
            more, watched.more = watched.more, False
            if not paths and not more:
                return None
            sizes = _sizes(watched.root, paths) if watched.root >= 0 else {}
        largest = heapq.nsmallest(MOST_SHOWN, paths, key=lambda path: (-sizes.get(path, -1), path))
        shown = tuple(
            path if len(path) <= LONGEST_SHOWN else f"{path[: LONGEST_SHOWN - 1]}…"
            for path in largest
        )
        return Changes(len(paths), sum(sizes.values()), shown, more)

    def remove(self, watched: Watched) -> None:
        """End it. Harmless when it has ended by itself."""
        with self._lock:
            self._forget(watched)

    def close(self) -> None:
        if self._thread is not None:
            os.write(self._woken, b"1")
            self._thread.join()

    # --- under the lock ------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._inotify is None:
            self._inotify = INotify()
            self._wake, self._woken = os.pipe2(os.O_CLOEXEC)
            self._thread = threading.Thread(target=self._follow, name="files", daemon=True)
            self._thread.start()

    def _watch_below(self, watched: Watched, path: str, *, is_new: bool) -> None:
        """Watch a folder and those in it. Of one that is new, what it holds already has changed."""
        assert self._inotify is not None
        waiting = [path]
        while waiting:
            here = waiting.pop()
            try:
                fd = open_folder_beneath(watched.root, here)
            except PathRefused:  # it is gone, or swapped for a link
                continue
            try:
                watch = self._inotify.add_watch(f"/proc/self/fd/{fd}", _MASK)
                self._folders[watch] = (watched, here)
                with os.scandir(fd) as entries:
                    for entry in entries:
                        if watched.ignored.match(entry.name):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(_join(here, entry.name))
                        elif is_new:
                            watched.note(_join(here, entry.name))
            finally:
                os.close(fd)

    def _forget(self, watched: Watched) -> None:
        assert self._inotify is not None
        if watched.root < 0:
            return
        for watch in [one for one, (whose, _) in self._folders.items() if whose is watched]:
            del self._folders[watch]
            try:
                self._inotify.rm_watch(watch)
            except OSError as error:
                if error.errno != errno.EINVAL:  # its folder is gone, and the watch with it
                    raise
        os.close(watched.root)
        watched.root = -1

    # --- the thread ----------------------------------------------------------------------------

    def _follow(self) -> None:
        inotify = self._inotify
        assert inotify is not None
        ready = select.poll()
        ready.register(inotify.fileno(), select.POLLIN)
        ready.register(self._wake, select.POLLIN)
        closing = select.poll()
        closing.register(self._wake, select.POLLIN)
        while not any(fd == self._wake for fd, _ in ready.poll()):
            if closing.poll(GATHER * 1000):
                break
            with self._lock:
                self._read()
        inotify.close()
        os.close(self._wake)
        os.close(self._woken)

    def _read(self) -> None:
        assert self._inotify is not None
        for watched in self._note_all(self._inotify.read(timeout=0)):
            watched.changed()

    def _note_all(self, happened: Iterable[tuple[int, int, int, str]]) -> list[Watched]:
        """Note what happened; returns the workspaces that have something to take."""
        touched: dict[int, Watched] = {}
        for watch, mask, _, name in happened:
            if mask & flags.Q_OVERFLOW:
                for watched, _ in self._folders.values():
                    watched.more = watched.missed = True
                    touched[watched.root] = watched
                continue
            if watch not in self._folders:
                continue
            watched, folder = self._folders[watch]
            if mask & flags.IGNORED:
                del self._folders[watch]
            elif not name or watched.ignored.match(name):
                continue
            elif not mask & flags.ISDIR:
                watched.note(_join(folder, name))
                touched[watched.root] = watched
            elif mask & _NEW_FOLDER:
                touched[watched.root] = watched
                try:
                    self._watch_below(watched, _join(folder, name), is_new=True)
                except OSError as error:
                    self._forget(watched)
                    watched.broken(error)
        return [watched for watched in touched.values() if watched.paths or watched.more]


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _sizes(root: int, paths: Iterable[str]) -> dict[str, int]:
    """The sizes of those that are there. A swapped folder may lead elsewhere; only a number is read."""
    sizes = {}
    for path in paths:
        try:
            sizes[path] = os.stat(path, dir_fd=root, follow_symlinks=False).st_size
        except OSError:
            continue
    return sizes


def why_not_watched(error: OSError) -> str:
    """In one line, with what to do where a limit of the system was reached."""
    if limit := _LIMITS.get(error.errno or 0):
        return f"the system's limit is reached; raise it with: sysctl -w {limit}=524288"
    return str(error)


class FileWatch:
    """Tells the log which files one rollout changes, for as long as the block lasts. Where they cannot
    be watched, core.log says so once, and the rollout goes on without."""

    def __init__(
        self,
        watcher: Watcher,
        recorder: Recorder,
        workspace: Path,
        excluded: Iterable[str] = (),
        every: float = EVERY,
    ) -> None:
        self._watcher = watcher
        self._recorder = recorder
        self._workspace = workspace
        self._excluded = tuple(excluded)
        self._every = every
        self._changed = asyncio.Event()
        self._watched: Watched | None = None
        self._telling: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __aenter__(self) -> FileWatch:
        loop = asyncio.get_running_loop()

        def changed() -> None:
            loop.call_soon_threadsafe(self._changed.set)

        def broken(error: OSError) -> None:
            loop.call_soon_threadsafe(self._say_not_watched, error)

        try:
            watched = await asyncio.to_thread(
                self._watcher.add, self._workspace, self._excluded, changed, broken
            )
        except OSError as error:
            self._say_not_watched(error)
        else:
            self._watched = watched
            self._telling = asyncio.create_task(self._tell_changes(watched))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watched is None or self._telling is None:
            return
        async with self._one_at_a_time:  # what was taken is told
            self._telling.cancel()
        await asyncio.gather(self._telling, return_exceptions=True)
        await self._tell(self._watched)
        await asyncio.to_thread(self._watcher.remove, self._watched)

    async def _tell_changes(self, watched: Watched) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(min(SETTLE, self._every))
            async with self._one_at_a_time:
                await self._tell(watched)
            await asyncio.sleep(max(0.0, self._every - SETTLE))

    async def _tell(self, watched: Watched) -> None:
        changes = await asyncio.to_thread(self._watcher.take, watched)
        if changes is None:
            return
        progress = self._recorder.progress
        event = FilesChanged(
            rollout=self._recorder.rollout,
            step=progress.step,
            count=changes.count,
            bytes=changes.bytes,
            paths=changes.largest,
            at_least=changes.at_least,
        )
        try:
            await self._recorder.record(event)
        except ApolloError as error:  # no reason for the rollout to end
            logger.warning("changed files of %s are not noted: %s", event.rollout, error.line)

    def _say_not_watched(self, error: OSError) -> None:
        spec = self._recorder.progress.spec
        name = spec.name if spec else self._recorder.rollout
        logger.warning("the files of %s are not watched: %s", name, why_not_watched(error))
