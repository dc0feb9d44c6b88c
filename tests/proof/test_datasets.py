"""`datasets` reads our lines as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.filter.export import Format
from apollo_tui.filter.export.chat import Chat
from apollo_tui.filter.export.preferences import Preferences
from apollo_tui.filter.export.turns import Turns
from tests.proof.trained import loaded
from tests.proof.written import export


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(read: Any, written: Any) -> bool:
    """Whether what was read is what was written, but for fields that other rows have: those are None."""
    match read, written:
        case dict(), dict():
            return written.keys() <= read.keys() and all(
                same(value, written.get(name)) for name, value in read.items()
            )
        case list(), list():
            return len(read) == len(written) and all(map(same, read, written))
        case _:
            return bool(read == written)


@pytest.mark.parametrize("a_format", [Chat(), Turns(), Preferences()], ids=lambda one: one.name)
async def test_every_row_is_read_as_it_was_written(tmp_path: Path, a_format: Format) -> None:
    done = await export(tmp_path / "out", a_format)
    file = tmp_path / "out" / done.rows_file
    read = loaded(file)
    assert len(read) == done.rows > 0
    for row, written in zip(read, lines(file), strict=True):
        assert same(row, written), (row, written)
