"""The rows of an export as Parquet, beside their JSON lines.

Parquet wants one structure for all rows, so what differs from tool to tool (a call's arguments, a
tool's parameters) is kept as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apollo_tui.errors import ExportError

GROUP_BYTES = 16 << 20  # of JSON lines, in one row group
_AS_TEXT = frozenset({"arguments", "parameters"})


def need_parquet() -> None:
    """Raises ExportError when the library is missing."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ExportError(
            "Parquet needs the pyarrow library: pip install 'apollo-tui[parquet]'"
        ) from None


def write_parquet(lines: Path, target: Path) -> None:
    """Read the lines twice: once for the structure of all rows, once to write them, a row group at a
    time. Raises ExportError when the rows have no structure in common, OSError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pa.schema([])
        for rows in _groups(lines):
            found = pa.Table.from_pylist(rows).schema
            schema = pa.unify_schemas([schema, found], promote_options="permissive")
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for rows in _groups(lines):
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ExportError(f"these rows cannot be Parquet ({error}); leave out --parquet") from error


def _groups(lines: Path) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    with lines.open("rb") as file:
        for line in file:
            rows.append(_with_texts(json.loads(line)))
            size += len(line)
            if size >= GROUP_BYTES:
                yield rows
                rows, size = [], 0
    if rows:
        yield rows


def _with_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: json.dumps(one, ensure_ascii=False)
            if key in _AS_TEXT and isinstance(one, dict)
            else _with_texts(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_with_texts(one) for one in value]
    return value
