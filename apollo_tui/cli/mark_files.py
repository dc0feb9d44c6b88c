"""Marks in a file: out of one log, into another. One JSON object a line."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from apollo_tui.cli.context import Context, as_json, pass_context, print_json
from apollo_tui.errors import ApolloError, CommandRefused, UnknownName, UsageError
from apollo_tui.log.read import MarkRow
from apollo_tui.log.types import MarkKind

LONGEST = 15 << 20  # bytes: all marks go to the core in one message
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class MarkLine(BaseModel):
    """One mark in a file. `name` and `tool` are for people: importing goes by the rollout's id."""

    model_config = ConfigDict(extra="forbid")

    rollout: str = Field(min_length=1)
    name: str = ""
    step: int = Field(ge=1, lt=1 << 53)
    ordinal: int = Field(default=1, ge=1, lt=1 << 53)
    tool: str = ""
    mark: MarkKind
    code: str | None = None
    note: str = ""
    annotator: str = Field(min_length=1, max_length=64)
    at: AwareDatetime | None = None  # when it was made


@click.group()
def marks_command() -> None:
    """Exchange marks between logs, by files.

    \b
    Example:
      apollo-tui marks export marks.jsonl
      apollo-tui --home other marks import marks.jsonl
    """


@marks_command.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("rollouts", metavar="[ROLLOUT]...", nargs=-1)
@as_json
@pass_context
def export_command(context: Context, file: Path, rollouts: tuple[str, ...], as_json: bool) -> None:
    """Write the standing marks of every annotator, of all rollouts or of those named.

    \b
    Example:
      apollo-tui marks export marks.jsonl noisy-filter
    """
    with context.history() as history:
        ids = list(dict.fromkeys(history.find(name).id for name in rollouts))
        marks = [mark for one in ids for mark in history.marks(one)] if ids else history.marks()
    if not marks:
        raise ApolloError("there are no marks to export; nothing was written")
    _write(file, (_line(mark) for mark in marks))
    people = len({mark.annotator for mark in marks})
    if as_json:
        print_json({"file": str(file), "marks": len(marks), "annotators": people})
    else:
        click.echo(f"{len(marks):,} marks of {people} annotator{'s' * (people != 1)} in {file}")


def _line(mark: MarkRow) -> str:
    values = {
        "rollout": mark.rollout,
        "name": mark.name,
        "step": mark.step,
        "ordinal": mark.ordinal,
        "tool": mark.tool,
        "mark": mark.mark,
        "code": mark.code,
        "note": mark.note,
        "annotator": mark.annotator,
        "at": (_EPOCH + mark.at * _MICROSECOND).isoformat(timespec="microseconds"),
    }
    return json.dumps(values, ensure_ascii=False) + "\n"


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write a file whole, or leave what was there. Raises ApolloError."""
    beside: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as file:
            beside = Path(file.name)
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        if beside is not None:
            with contextlib.suppress(OSError):
                beside.unlink()
        raise ApolloError(f"cannot write {path}: {error.strerror or error}") from error


@marks_command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@as_json
@pass_context
def import_command(context: Context, file: Path, as_json: bool) -> None:
    """Read marks that were exported, each in the name of who made it; all of them or none.

    A mark that its annotator has already, or has changed since, is left out and counted.

    \b
    Example:
      apollo-tui marks import marks.jsonl
    """
    marks = [_to_import(number, line) for number, line in read_mark_lines(file)]
    if not marks:
        raise UsageError(f"{file} holds no marks")
    if len(json.dumps(marks)) > LONGEST:
        raise UsageError(
            f"{file} holds {len(marks):,} marks, too many to import all or none; split it by lines"
        )
    try:
        told = context.ask(lambda client: client.import_marks(marks))
    except (UnknownName, CommandRefused) as error:
        raise type(error)(f"{file} {error.line}") from error
    if as_json:
        print_json(told)
        return
    click.echo(f"{told['imported']:,} marks imported")
    if told["had"]:
        click.echo(f"{told['had']:,} left out: they are here already")
    if told["older"]:
        click.echo(f"{told['older']:,} left out: their annotator has marked the action since")


def read_mark_lines(path: Path) -> Iterator[tuple[int, MarkLine]]:
    """The marks of a file with their lines' numbers; blank lines are passed over.

    Raises UsageError naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read {path}: {why}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, MarkLine.model_validate_json(line)
            except ValidationError as error:
                raise UsageError(f"{path} line {number}: {_what_is_wrong(error)}") from error


def _what_is_wrong(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    match first["type"]:
        case "json_invalid":
            return f"this is no JSON: {first['ctx']['error']}"
        case "missing":
            return f"{field} is missing"
        case "extra_forbidden":
            return f"unknown field {field}; there are {', '.join(MarkLine.model_fields)}"
    return f"{field} {first['msg'].replace('Input should', 'must')}".strip()


def _to_import(number: int, line: MarkLine) -> dict[str, Any]:
    """A mark as `commands.MarkToImport` takes it."""
    return {
        "rollout": line.rollout,
        "action": {"step": line.step, "ordinal": line.ordinal},
        "mark": line.mark,
        "code": line.code,
        "note": line.note,
        "annotator": line.annotator,
        "at": None if line.at is None else max(0, (line.at - _EPOCH) // _MICROSECOND),
        "line": number,
    }
