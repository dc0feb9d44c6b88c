"""The rows of an export on disk: one JSON object a line, or a file each with an index of them.

A sample takes the rows whose hashes are smallest: the same rows every time, whatever their order, and
never more than that many are chosen at once.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import to_json

from apollo_tui.errors import ExportError
from apollo_tui.filter.export import Format, OneFileEach, Row

META_KEYS_OF_A_ROW = ("rollout", "segment", "steps", "trained", "source", "rejected")


@dataclass(frozen=True, slots=True)
class Chosen:
    """How many rows there were to choose from."""

    size: int
    seed: int


@dataclass(frozen=True, slots=True)
class Written:
    """What is on disk. `trained` counts the actions that train in these rows; `digest` is the SHA-256
    of the file of lines."""

    file: str
    made: int
    rows: int
    trained: int
    size: int
    digest: str


@dataclass(frozen=True, order=True, slots=True)
class _Line:
    """A line that is in the sample as far as is known; the largest hash goes first."""

    order: int
    begin: int
    length: int
    trained: int
    file: str


class Rows:
    """Writes rows into a folder. `finish` closes the files and says what they hold."""

    def __init__(self, folder: Path, a_format: Format, chosen: Chosen | None = None) -> None:
        self._folder = folder
        self._format = a_format
        self._chosen = chosen
        self.file = "index.jsonl" if isinstance(a_format, OneFileEach) else f"{a_format.name}.jsonl"
        self._out: BinaryIO = (folder / self.file).open("wb")
        self._digest = hashlib.sha256()
        self._size = self._trained = self.made = self.rows = 0
        self._sample: list[_Line] = []

    def close(self) -> None:
        self._out.close()

    def write(self, row: Row) -> None:
        """Append a row. Raises ExportError when two rows want the same file, OSError."""
        self.made += 1
        meta = row["meta"]
        order = 0 if self._chosen is None else _order(meta, self._chosen.seed)
        if self._chosen is not None and self._is_beyond(order, self._chosen.size):
            return
        file = ""
        if isinstance(self._format, OneFileEach):
            file = self._format.file_name(row)
            self._write_file(file, row)
            row = {"file": file, "meta": meta}
        line = to_json(row) + b"\n"
        trained = len(meta.get("trained", ()))
        if self._chosen is not None:
            self._take(_Line(-order, self._out.tell(), len(line), trained, file))
        else:
            self._count(line, trained)
        self._out.write(line)

    def _count(self, line: bytes, trained: int) -> None:
        self._digest.update(line)
        self._size += len(line)
        self._trained += trained
        self.rows += 1

    def _write_file(self, name: str, row: Row) -> None:
        document = to_json({key: value for key, value in row.items() if key != "meta"})
        try:
            with (self._folder / name).open("xb") as file:
                file.write(document)
                _sync(file)
        except FileExistsError:
            raise ExportError(f"two rows of this export would be the file {name}") from None
        self._size += len(document)

    def finish(self) -> Written:
        """Everything is on the disk after this. Raises OSError."""
        if self._chosen is not None:
            self._keep_sample()
        _sync(self._out)
        self._out.close()
        digest = self._digest.hexdigest()
        return Written(self.file, self.made, self.rows, self._trained, self._size, digest)

    # --- a sample ------------------------------------------------------------------------------

    def _is_beyond(self, order: int, size: int) -> bool:
        return len(self._sample) >= size and order >= -self._sample[0].order

    def _take(self, line: _Line) -> None:
        assert self._chosen is not None
        heapq.heappush(self._sample, line)
        if len(self._sample) > self._chosen.size:
            self._drop(heapq.heappop(self._sample).file)

    def _drop(self, file: str) -> None:
        if file:
            path = self._folder / file
            self._size -= path.stat().st_size
            path.unlink()

    def _keep_sample(self) -> None:
        """Only the lines of the sample, in the order they came in."""
        self._out.close()
        all_lines = self._folder / f".{self.file}"
        (self._folder / self.file).rename(all_lines)
        self._out = (self._folder / self.file).open("wb")
        with all_lines.open("rb") as lines:
            for kept in sorted(self._sample, key=lambda line: line.begin):
                lines.seek(kept.begin)
                line = lines.read(kept.length)
                self._out.write(line)
                self._count(line, kept.trained)
        all_lines.unlink()


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file with their line numbers. Raises ExportError naming the line."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, read_row(path, number, line)
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror}") from error


def read_row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """A line of an export with its `meta`. Raises ExportError naming the line."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ExportError(f"{path} line {number} is no JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("meta"), dict):
        raise ExportError(f"{path} line {number} is no row of an export: it has no meta")
    return row


def _order(meta: dict[str, Any], seed: int) -> int:
    """Where a row stands in the order that samples are taken in."""
    identity = {key: meta.get(key) for key in META_KEYS_OF_A_ROW}
    digest = hashlib.sha256(f"{seed} ".encode() + to_json(identity)).digest()
    return int.from_bytes(digest[:16], "big")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
