"""Marks that were exported from a log, put into this one: all or none."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence

from apollo_tui.errors import CommandRefused, UnknownName
from apollo_tui.log import commands
from apollo_tui.log.commands import MarkToImport
from apollo_tui.log.events import Event, Marked
from apollo_tui.log.read import History
from apollo_tui.log.store import Log
from apollo_tui.paths import Home

Place = tuple[int, int, str]
"""A step, an ordinal and an annotator."""


class ImportingMarks:
    """Carries out `commands.ImportMarks`."""

    def __init__(
        self, home: Home, log: Log, record: Callable[[Sequence[Event]], Awaitable[None]]
    ) -> None:
        """`record` writes facts about several rollouts, all or none."""
        self._home = home
        self._log = log
        self._record = record

    async def obey(self, command: commands.ImportMarks) -> dict[str, int]:
        """Raises UnknownName or CommandRefused, and then nothing is imported."""
        before = await self._imported_before(command.command)
        events, told = await asyncio.to_thread(self._read, command)
        if before:  # the same command again: what it imported is what stands
            return {**told, "imported": before, "had": told["had"] - before}
        if events:
            await self._record(events)
        return told

    def _read(self, command: commands.ImportMarks) -> tuple[list[Marked], dict[str, int]]:
        with contextlib.closing(History(self._home.database)) as history:
            return marks_to_import(history, command)

    async def _imported_before(self, command: str) -> int:
        """How many marks the same command has imported already."""
        actions = number = 0
        while told := await self._log.answered(nth_id(command, number)):
            actions += sum(len(event.actions) for _, event in told if isinstance(event, Marked))
            number += 1
        return actions


def nth_id(command: str, number: int) -> str:
    """The id under which the n-th event of an import is recorded."""
    return command if number == 0 else f"{command}#{number}"


def marks_to_import(
    history: History, command: commands.ImportMarks
) -> tuple[list[Marked], dict[str, int]]:
    """The events of an import, and how many marks are `imported`, `had` already, or `older` than the
    mark that their annotator has there.

    Raises UnknownName or CommandRefused for the first mark on what this log does not hold.
    """
    _check(history, command)
    of_rollout: defaultdict[str, list[MarkToImport]] = defaultdict(list)
    for mark in command.marks:
        of_rollout[mark.rollout].append(mark)
    told: Counter[str] = Counter()
    events: list[Marked] = []
    for rollout, marks in of_rollout.items():
        chosen = _newer(marks, _standing(history, rollout), told)
        told["imported"] += len(chosen)
        events += _events(rollout, chosen, command)
    events = [
        event.model_copy(update={"command": nth_id(command.command, number)})
        for number, event in enumerate(events)
    ]
    return events, {name: told[name] for name in ("imported", "had", "older")}


def _check(history: History, command: commands.ImportMarks) -> None:
    known: dict[str, set[tuple[int, int]]] = {}
    for number, mark in enumerate(command.marks, 1):
        where = f"line {mark.line}" if mark.line is not None else f"mark {number}"
        if mark.rollout not in known:
            if history.rollout(mark.rollout) is None:
                raise UnknownName(
                    f"{where}: there is no rollout {mark.rollout!r} here; nothing was imported"
                )
            known[mark.rollout] = history.action_keys(mark.rollout)
        step, ordinal = mark.action.step, mark.action.ordinal
        if (step, ordinal) not in known[mark.rollout]:
            raise CommandRefused(
                f"{where}: the rollout {mark.rollout} has no action {step}.{ordinal}; nothing was "
                "imported"
            )


def _standing(history: History, rollout: str) -> dict[Place, MarkToImport]:
    return {
        (row.step, row.ordinal, row.annotator): MarkToImport.model_validate(
            {
                "rollout": rollout,
                "action": {"step": row.step, "ordinal": row.ordinal},
                "mark": row.mark,
                "code": row.code,
                "note": row.note,
                "annotator": row.annotator or "?",
                "at": row.at,
            }
        )
        for row in history.marks(rollout)
    }


def _newer(
    marks: list[MarkToImport], standing: dict[Place, MarkToImport], told: Counter[str]
) -> list[MarkToImport]:
    """The marks that change what stands; the others are counted in `told`. Of several on one action by
    one annotator the newest counts."""
    chosen: dict[Place, MarkToImport] = {}
    for mark in marks:
        place = (mark.action.step, mark.action.ordinal, mark.annotator)
        there = chosen.get(place) or standing.get(place)
        if there is not None and _says(there) == _says(mark):
            told["had"] += 1
        elif there is not None and _is_older(mark, there):
            told["older"] += 1
        else:
            told["older"] += place in chosen
            chosen[place] = mark
    return list(chosen.values())


def _says(mark: MarkToImport) -> tuple[str, str | None, str]:
    return (mark.mark, mark.code, mark.note)


def _is_older(mark: MarkToImport, there: MarkToImport) -> bool:
    """A mark of an unknown time counts as new: somebody imports it now."""
    return mark.at is not None and there.at is not None and mark.at < there.at


def _events(rollout: str, marks: list[MarkToImport], command: commands.ImportMarks) -> list[Marked]:
    """One event for the marks that were made at once and say the same."""
    together: defaultdict[tuple[object, ...], list[MarkToImport]] = defaultdict(list)
    for mark in marks:
        together[(mark.annotator, *_says(mark), mark.at)].append(mark)
    return [
        Marked(
            rollout=rollout,
            by=group[0].annotator,
            actions=tuple(mark.action for mark in group),
            mark=group[0].mark,
            code=group[0].code,
            note=group[0].note,
            made_at=group[0].at,
            imported_by=command.by,
        )
        for group in together.values()
    ]
