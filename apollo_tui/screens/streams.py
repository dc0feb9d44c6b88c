"""Replies that are still arriving: not history yet, so kept here and nowhere else. Plain Python."""

from __future__ import annotations

from dataclasses import dataclass

from apollo_tui.client import Streamed
from apollo_tui.log.read import RolloutRow
from apollo_tui.screens.status import FINAL

_KEPT = 20_000
"""Characters of a reply kept for showing; only its end is ever on the screen."""


@dataclass(slots=True)
class Stream:
    step: int
    text: str = ""
    tool: str = ""
    arguments: str = ""


class Streams:
    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}

    def add(self, piece: Streamed) -> None:
        stream = self._streams.get(piece.rollout)
        if stream is None or stream.step != piece.step:
            stream = self._streams[piece.rollout] = Stream(piece.step)
        if piece.kind == "action":
            if piece.tool and piece.tool != stream.tool:
                stream.tool, stream.arguments = piece.tool, ""
            if len(stream.arguments) < _KEPT:  # their beginning is shown
                stream.arguments += piece.text
        else:
            stream.text += piece.text
            if len(stream.text) > 2 * _KEPT:  # of a text, the end
                stream.text = stream.text[-_KEPT:]

    def of(self, rollout: str) -> Stream | None:
        return self._streams.get(rollout)

    def settle(self, row: RolloutRow) -> None:
        """Forget what has become history, was cut off, or will be asked for again."""
        stream = self._streams.get(row.id)
        if stream is None:
            return
        stands = row.state in FINAL or row.state == "waiting"
        cut_off = row.state in ("paused", "frozen") and not row.in_flight
        if row.step >= stream.step or stands or cut_off:
            del self._streams[row.id]

    def forget(self) -> None:
        self._streams.clear()
