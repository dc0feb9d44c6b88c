"""Importing a file: read off the event loop, written in one append, once.

A rollout's id is the beginning of its file's digest, so the same file is the same rollout.
"""

from __future__ import annotations

import asyncio
import hashlib
import stat
from pathlib import Path
from typing import Any

from apollo_tui.core.imported_events import events_of, raw_text
from apollo_tui.core.preflight import names
from apollo_tui.errors import ImportFailed
from apollo_tui.importers import read_recording
from apollo_tui.importers.recording import Recording, Source
from apollo_tui.log import commands
from apollo_tui.log.events import Event, RolloutCreated, RolloutImported
from apollo_tui.log.store import Log
from apollo_tui.log.texts import text_hash
from apollo_tui.log.types import RolloutSpec

MOST_BYTES = 32 << 20
"""A file is read as a whole, and takes many times its size in memory while it is."""


class Importing:
    """Carries out `commands.Import`, one after the other."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._order = asyncio.Lock()

    async def obey(self, command: commands.Import) -> dict[str, Any]:
        """The rollout of a file: rollout, name, format, steps, actions, unmapped, and whether it is
        new. Raises ImportFailed, and then nothing was written."""
        async with self._order:
            if told := await self._log.answered(command.command):
                assert told[0][1].rollout is not None
                return await self._answer(told[0][1].rollout, new=True)
            return await self._import(command)

    async def _import(self, command: commands.Import) -> dict[str, Any]:
        source = await asyncio.to_thread(read_source, command.path)
        digest = hashlib.sha256(source.data).hexdigest()
        rollout = digest[:12]
        rows = await self._log.rollouts()
        if any(row.id == rollout for row in rows):
            return await self._answer(rollout, new=False)
        (name,) = names(
            command.name or Path(source.path).name.partition(".")[0], 1, {row.name for row in rows}
        )
        events, texts = await asyncio.to_thread(
            _tell, source, digest, rollout=rollout, name=name, command=command
        )
        await self._log.append(*events, texts=texts, durable=True)
        return await self._answer(rollout, new=True)

    async def _answer(self, rollout: str, *, new: bool) -> dict[str, Any]:
        row = next(row for row in await self._log.rollouts() if row.id == rollout)
        told = [event for _, event in await self._log.events(rollout, limit=2)]
        imported = next((event for event in told if isinstance(event, RolloutImported)), None)
        if imported is None:
            raise ImportFailed(f"{row.name} has the id that an import would get: {rollout}")
        return {
            "rollout": row.id,
            "name": row.name,
            "format": imported.format,
            "source": imported.source,
            "steps": row.step,
            "actions": row.actions,
            "unmapped": imported.unmapped,
            "new": new,
        }


def read_source(path: str) -> Source:
    """Raises ImportFailed when it is no file that can be read as a whole."""
    try:
        about = Path(path).stat()
        if not stat.S_ISREG(about.st_mode):
            raise ImportFailed(f"{path} was not imported: it is no file")
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ImportFailed(f"{path} was not imported: {why}") from error
    if len(data) > MOST_BYTES:
        raise ImportFailed(
            f"{path} was not imported: it is larger than {MOST_BYTES >> 20} MB, the most that is read"
        )
    return Source(path, data)


def _tell(
    source: Source, digest: str, *, rollout: str, name: str, command: commands.Import
) -> tuple[list[Event], list[str]]:
    """All events of a file's rollout, and their texts."""
    form, recording = read_recording(source)
    events, texts = events_of(recording, rollout)
    raw = raw_text(recording) if recording.unmapped else None
    created = RolloutCreated(
        rollout=rollout, by=command.by, command=command.command, spec=_spec(recording, name)
    )
    imported = RolloutImported(
        rollout=rollout,
        by=command.by,
        format=form,
        source=source.path,
        digest=digest,
        unmapped=len(recording.unmapped),
        raw_ref=None if raw is None else text_hash(raw),
    )
    return [created, imported, *events], [*texts, *([] if raw is None else [raw])]


def _spec(recording: Recording, name: str) -> RolloutSpec:
    return RolloutSpec(
        task=recording.task, model=recording.model, sandbox="none", isolated=False, name=name
    )
