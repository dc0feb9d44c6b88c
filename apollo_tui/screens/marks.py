"""The annotator's marks of this session: what is on its way, undo, redo, repeat. Plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from apollo_tui.log.read import Entry

MarkKind = Literal["reject", "accept", "unsure", "reviewed"]
Place = tuple[int, int]
"""(step, ordinal)"""

_DONE = {"reject": "rejected", "accept": "accepted", "unsure": "unsure about", "reviewed": "read"}


@dataclass(frozen=True, slots=True)
class Mark:
    """What an action is marked with; `kind` "" is no mark."""

    kind: MarkKind | Literal[""] = ""
    code: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing the annotator did to marks: what the actions have now, and what they had."""

    rollout: str
    places: tuple[Place, ...]
    now: Mark
    before: tuple[Mark, ...]
    what: str  # "407 edit_file", "412–415"

    @property
    def words(self) -> str:
        return f"{_DONE.get(self.now.kind, 'unmarked')} {self.what}"


@dataclass(frozen=True, slots=True)
class Request:
    """One command to the core: mark these actions so, or take their marks back."""

    rollout: str
    places: tuple[Place, ...]
    mark: Mark


@dataclass
class Marks:
    """Marks that are not yet in the log stand in `pending` and are shown as if they were."""

    annotator: str
    pending: dict[tuple[str, int, int], list[Mark]] = field(default_factory=dict)
    done: list[Act] = field(default_factory=list)
    undone: list[Act] = field(default_factory=list)

    @property
    def last(self) -> Act | None:
        return self.done[-1] if self.done else None

    def seen(self, rollout: str, entry: Entry) -> Entry:
        """The entry with the mark it will have once everything on its way has arrived."""
        waiting = self.pending.get((rollout, entry.step, entry.ordinal))
        if not waiting or entry.kind != "action":
            return entry
        mark = waiting[-1]
        return replace(
            entry, mark=mark.kind, code=mark.code, note=mark.note, mark_by=self.annotator
        )

    def mark(
        self, rollout: str, entries: Sequence[Entry], mark: Mark, to: str = "-"
    ) -> list[Request]:
        """Mark actions; returns what to send: nothing when all of them have exactly this mark.
        `to` joins the ends of a range in words."""
        entries = [self.seen(rollout, entry) for entry in entries if entry.kind == "action"]
        entries = [entry for entry in entries if self._own(entry) != mark]
        if not entries:
            return []
        before = tuple(self._own(entry) for entry in entries)
        act = Act(
            rollout, tuple((e.step, e.ordinal) for e in entries), mark, before, _what(entries, to)
        )
        self.done.append(act)
        self.undone.clear()
        return self._send([Request(rollout, act.places, mark)])

    def reason(self, code: str | None, note: str) -> list[Request]:
        """Give the last act a reason; undo takes both back at once."""
        if self.last is None:
            return []
        act = replace(self.last, now=replace(self.last.now, code=code, note=note))
        self.done[-1] = act
        return self._send([Request(act.rollout, act.places, act.now)])

    def undo(self) -> tuple[Act, list[Request]] | None:
        if not self.done:
            return None
        act = self.done.pop()
        self.undone.append(act)
        groups: dict[Mark, list[Place]] = {}
        for place, mark in zip(act.places, act.before, strict=True):
            groups.setdefault(mark, []).append(place)
        return act, self._send(
            [Request(act.rollout, tuple(places), mark) for mark, places in groups.items()]
        )

    def redo(self) -> tuple[Act, list[Request]] | None:
        if not self.undone:
            return None
        act = self.undone.pop()
        self.done.append(act)
        return act, self._send([Request(act.rollout, act.places, act.now)])

    def arrived(self, request: Request) -> None:
        """The request is in the log, or was refused: it no longer stands in for it."""
        for step, ordinal in request.places:
            place = (request.rollout, step, ordinal)
            waiting = self.pending.get(place, [])
            if request.mark in waiting:
                waiting.remove(request.mark)
            if not waiting:
                self.pending.pop(place, None)

    def refused(self, request: Request) -> None:
        """The core said no: what it would have done is neither shown nor undone."""
        self.arrived(request)
        self.done = [
            act
            for act in self.done
            if not (act.rollout == request.rollout and set(request.places) <= set(act.places))
            or act.now != request.mark
        ]

    def _own(self, entry: Entry) -> Mark:
        if not entry.mark or entry.mark_by != self.annotator:
            return Mark()
        return Mark(cast(MarkKind, entry.mark), entry.code, entry.note)

    def _send(self, requests: list[Request]) -> list[Request]:
        for request in requests:
            for step, ordinal in request.places:
                self.pending.setdefault((request.rollout, step, ordinal), []).append(request.mark)
        return requests


def _what(entries: Sequence[Entry], to: str) -> str:
    first, last = entries[0], entries[-1]
    if len(entries) == 1:
        return f"{first.step} {first.tool}"
    if first.step == last.step:
        return f"{len(entries)} actions of {first.step}"
    return f"{first.step}{to}{last.step}"
