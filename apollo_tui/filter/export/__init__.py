"""Exports: what a stored filter run lets train, in the forms that trainers read.

A format is a class in a file of its own that turns a `FilteredRollout` into rows; everything else
(files, counts, README, renaming at the end) is done once, by the writer. `formats.py` is the table of
them.

    for rollout in Source(history, run).rollouts():
        for row in a_format.rows(rollout):
            writer.write(row)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from apollo_tui.filter.export.source import FilteredRollout

Row = dict[str, Any]
"""One line of an export. Its `meta` says where it comes from (`FilteredRollout.meta`)."""


class Format(Protocol):
    """One form of export."""

    @property
    def name(self) -> str: ...

    def rows(self, rollout: FilteredRollout) -> Iterator[Row]:
        """The rows of one rollout, made as they are asked for. What cannot be a row is told with
        `rollout.left_out`, never silently skipped. Raises ExportError."""
        ...


@runtime_checkable
class OneFileEach(Protocol):
    """A format whose rows are files of their own: what reads them wants no lines of one file.

    The row's `meta` is taken out of it and becomes a line of the export's index, with the file's name.
    """

    def file_name(self, row: Row) -> str:
        """The file of a row, relative to the export's folder; unique for each rollout."""
        ...


@runtime_checkable
class Sized(Protocol):
    """A format that grows faster than what it is made from, and says how large it will be."""

    def bytes_of(self, rollout: FilteredRollout) -> int:
        """About how many bytes the rows of a rollout take, counted without reading a text."""
        ...
