"""Making room: what deletes the files of rollouts that have ended.

The log is never touched but by appending to it: a rollout's files are said to be removed, durably,
before the first of them goes, so that nothing goes on with half a workspace.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from apollo_tui.config import load
from apollo_tui.core.recorder import now
from apollo_tui.errors import ApolloError, CommandRefused, HomeError, SandboxError, UnknownName
from apollo_tui.log import commands
from apollo_tui.log.events import FilesRemoved, RolloutCreated, SandboxRemoved
from apollo_tui.log.read import History, RolloutRow
from apollo_tui.log.states import FINAL_STATES
from apollo_tui.log.store import Log
from apollo_tui.log.types import RolloutSpec
from apollo_tui.paths import Home
from apollo_tui.sandbox import Sandbox
from apollo_tui.sandbox.usage import parts_of, remove_tree, used_by

SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
NOT_NEEDED = ("spool", "tmp", "inside")
"""What a rollout that cannot go on has no use for; the log holds what its jobs said."""


@dataclass(frozen=True)
class Waste:
    """Something that `gc` removes: all files of a rollout, its spool, a folder, a container."""

    what: Literal["files", "spool", "folder", "container"]
    rollout: str
    name: str
    state: str  # of the rollout; empty where the log does not know it
    bytes: int
    why: str
    unread: int = 0  # folders whose size is not known


@dataclass(frozen=True)
class Known:
    """A rollout, and the event that says that its workspace is gone, if it is."""

    row: RolloutRow
    spec: RolloutSpec
    removed: FilesRemoved | None


class Housekeeping:
    """Carries out `commands.RemoveFiles` and `commands.CollectGarbage`."""

    def __init__(
        self,
        home: Home,
        log: Log,
        home_label: str,
        at_rest: Callable[[str], Awaitable[bool]],
        sandbox_of: Callable[[str, RolloutSpec], Sandbox],
    ) -> None:
        """`at_rest` says whether a rollout does not run, after the end it may be writing."""
        self._home = home
        self._log = log
        self._home_label = home_label
        self._at_rest = at_rest
        self._sandbox_of = sandbox_of
        self.deciding = asyncio.Lock()
        """Held while it is decided that an ended rollout goes on, or that its files go."""

    # --- one rollout ---------------------------------------------------------------------------

    async def remove(self, command: commands.RemoveFiles) -> dict[str, Any]:
        """Delete the files of an ended rollout; returns its `name` and the `bytes` that are free.

        Raises CommandRefused for one that has not ended or has no files here.
        """
        told = await self._log.answered(command.command)
        folder = self._home.rollout(command.rollout)
        async with self.deciding:
            ended = await self._ended(command.rollout)
            if not folder.exists():
                if told:
                    return _removed(told[0][1], ended)
                raise CommandRefused(f"{ended.row.name} has no files here; nothing was removed")
            used = await asyncio.to_thread(used_by, folder)
            event = ended.removed or FilesRemoved(
                rollout=command.rollout,
                by=command.by,
                command=command.command,
                parts=await asyncio.to_thread(_parts, folder),
                bytes=used.bytes,
                why=f"{command.by} asked for it",
            )
            if ended.removed is None:
                await self._give_up(ended, event)
        await self._delete(folder)
        return _removed(event, ended)

    async def _ended(self, rollout: str) -> Known:
        """Raises UnknownName or CommandRefused for a rollout that may still need its files."""
        at_rest = await self._at_rest(rollout)
        known = await asyncio.to_thread(self._read, rollout)
        if not at_rest or known.row.state not in FINAL_STATES:
            raise CommandRefused(
                f"{known.row.name} is {known.row.state}, and needs its files; stop it first"
            )
        return known

    def _read(self, rollout: str) -> Known:
        """What there is to know of a rollout, without folding all its events. Blocks."""
        with contextlib.closing(History(self._home.database)) as history:
            row = history.rollout(rollout)
            if row is None:
                raise UnknownName(f"there is no rollout {rollout!r}; apollo-tui ls shows them")
            (made,) = history.payloads(rollout, ["rollout_created"])
            spec = RolloutCreated.model_validate_json(made[2]).spec
            gone = [
                FilesRemoved.model_validate_json(payload)
                for *_, payload in history.payloads(rollout, ["files_removed"])
            ]
        return Known(row, spec, next((event for event in gone if event.workspace), None))

    async def _give_up(self, ended: Known, event: FilesRemoved) -> None:
        """End the sandbox that was left, and say that the files go. Raises SandboxError."""
        if event.workspace and event.rollout in await self._log.sandboxes_left():
            sandbox = self._sandbox_of(event.rollout, ended.spec)
            await sandbox.close(remove=True)
            await self._log.append(SandboxRemoved(rollout=event.rollout, identity=sandbox.identity))
        await self._log.append(event, durable=True)

    async def _delete(self, folder: Path) -> None:
        try:
            await asyncio.to_thread(remove_tree, folder)
        except OSError as error:
            raise HomeError(
                f"{folder} could not be deleted wholly: {error.strerror}"
                f"{f' ({error.filename})' if error.filename else ''}; delete the rest by hand"
            ) from error

    # --- all of them ---------------------------------------------------------------------------

    async def collect(self, command: commands.CollectGarbage) -> dict[str, Any]:
        """Delete what is old or left over; returns what was `removed` (with `dry_run`: what would
        be), what `failed`, and `notes` on what could not be looked at. Raises ConfigError."""
        keep = seconds(load(self._home).retention.keep_workspaces)
        rows = {row.id: row for row in await self._log.rollouts()}
        found = await self._old_files(rows, keep)
        found += await asyncio.to_thread(self._unknown_folders, rows, keep)
        containers, notes = await self._containers(rows)
        removed, failed = [], []
        for waste in found + containers:
            if not command.dry_run:
                try:
                    await self._collect_one(waste, command.by)
                except ApolloError as error:
                    failed.append(asdict(waste) | {"error": error.line})
                    continue
            removed.append(asdict(waste))
        return {"removed": removed, "failed": failed, "notes": notes}

    async def _collect_one(self, waste: Waste, by: str) -> None:
        if waste.what == "container":
            from apollo_tui.sandbox.docker import remove_container

            await asyncio.to_thread(remove_container, waste.name, self._home_label)
            return
        folder = self._home.rollout(waste.rollout)
        if waste.what == "folder":
            await self._delete(folder)
            return
        whole = waste.what == "files"
        async with self.deciding:
            ended = await self._ended(waste.rollout)
            parts = await asyncio.to_thread(_parts, folder)
            if not whole:
                parts = tuple(part for part in parts if part in NOT_NEEDED)
            if ended.removed is None:
                await self._give_up(
                    ended,
                    FilesRemoved(
                        rollout=waste.rollout,
                        by=by,
                        parts=parts,
                        bytes=waste.bytes,
                        why=f"gc: {waste.why}",
                    ),
                )
        for path in [folder] if whole else [folder / part for part in parts]:
            await self._delete(path)

    # --- what is not needed --------------------------------------------------------------------

    async def _old_files(self, rows: dict[str, RolloutRow], keep: float | None) -> list[Waste]:
        left = set(await self._log.sandboxes_left())
        found = []
        for row in rows.values():
            folder = self._home.rollout(row.id)
            if row.state not in FINAL_STATES or not folder.is_dir():
                continue
            if not await self._at_rest(row.id):
                continue
            known = await asyncio.to_thread(self._read, row.id)
            waste = await asyncio.to_thread(_waste_of, known, folder, keep, row.id in left)
            if waste is not None:
                found.append(waste)
        return found

    def _unknown_folders(self, rows: dict[str, RolloutRow], keep: float | None) -> list[Waste]:
        """Folders of rollouts that the log does not know: perhaps of a newer log than this one, so
        they are kept as long as the others."""
        found = []
        for folder in sorted(self._home.rollouts.iterdir()):
            if folder.name in rows or not folder.is_dir():
                continue
            age = max(0.0, now() / 1e6 - folder.stat().st_mtime)
            if keep is not None and age >= keep:
                used = used_by(folder)
                why = f"the log knows no such rollout; untouched for {_age(age)}"
                found.append(
                    Waste("folder", folder.name, folder.name, "", used.bytes, why, used.unread)
                )
        return found

    async def _containers(self, rows: dict[str, RolloutRow]) -> tuple[list[Waste], list[str]]:
        """Containers of this home whose rollout is unknown, or has ended and left nothing running."""
        from apollo_tui.sandbox.docker import list_containers

        try:
            there = await asyncio.to_thread(list_containers, self._home_label)
        except SandboxError as error:
            if any(row.sandbox == "docker" for row in rows.values()):
                return [], [f"containers were not looked at: {error.line}"]
            return [], []
        left = set(await self._log.sandboxes_left())
        found = []
        for name, rollout in sorted(there.items()):
            row = rows.get(rollout)
            if row is None:
                found.append(
                    Waste("container", rollout, name, "", 0, "the log knows no such rollout")
                )
            elif row.state in FINAL_STATES and rollout not in left and await self._at_rest(rollout):
                found.append(
                    Waste("container", rollout, name, row.state, 0, f"{row.name} has {row.state}")
                )
        return found, []


def _waste_of(known: Known, folder: Path, keep: float | None, sandbox_left: bool) -> Waste | None:
    """What of an ended rollout's files is not needed. Blocks."""
    row = known.row
    parts = parts_of(folder)
    whole = used_by(folder)
    age = max(0.0, (now() - (row.ended_at or row.last_at)) / 1e6)
    if known.removed is not None:
        why = "left over when its files were removed"
        return Waste("files", row.id, row.name, row.state, whole.bytes, why, whole.unread)
    if keep is not None and age >= keep:
        why = f"ended {_age(age)} ago"
        if row.state == "stopped":
            why += "; it was stopped and could have been resumed"
        return Waste("files", row.id, row.name, row.state, whole.bytes, why, whole.unread)
    spare = [parts[part] for part in NOT_NEEDED if part in parts]
    if row.state == "stopped" or sandbox_left or not spare:
        return None
    size, unread = sum(one.bytes for one in spare), sum(one.unread for one in spare)
    why = f"{row.state}, and cannot go on"
    return Waste("spool", row.id, row.name, row.state, size, why, unread)


def seconds(duration: str) -> float | None:
    """A setting such as "30d" in seconds; None for "forever"."""
    if duration == "forever":
        return None
    matched = re.fullmatch(r"(\d+)([mhdw])", duration)
    assert matched is not None, "the settings let nothing else through"
    return int(matched[1]) * SECONDS[matched[2]]


def _age(age: float) -> str:
    for unit in ("d", "h", "m"):
        if age >= SECONDS[unit]:
            return f"{age / SECONDS[unit]:.0f}{unit}"
    return f"{age:.0f}s"


def _parts(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))


def _removed(event: Any, ended: Known) -> dict[str, Any]:
    return {"rollout": event.rollout, "name": ended.row.name, "bytes": event.bytes}
