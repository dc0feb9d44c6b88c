"""Exports: what a stored filter run lets train, in the forms that trainers read.

A format is a class in a file of its own that turns a `FilteredRollout` into rows; everything else
(files, counts, README, renaming at the end) is done once, by the writer.

    for rollout in Source(history, run).rollouts():
        for row in a_format.rows(rollout):
            writer.write(row)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from apollo_tui.filter.export.source import FilteredRollout

Row = dict[str, Any]
"""One line of an export. Its `meta` says where it comes from (`FilteredRollout.meta`)."""


class Format(Protocol):
    """One form of export."""

    name: str

    def rows(self, rollout: FilteredRollout) -> Iterator[Row]:
        """The rows of one rollout, made as they are asked for. What cannot be a row is told with
        `rollout.left_out`, never silently skipped. Raises ExportError."""
        ...
