"""What an export is and holds, for programs: `export.json` in its folder. The README says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from apollo_tui import __version__
from apollo_tui.errors import ExportError
from apollo_tui.filter.export.rows import Chosen, Written
from apollo_tui.filter.export.source import Source
from apollo_tui.filter.export.tally import Tally
from apollo_tui.log.types import Value

FACTS_FILE = "export.json"
README_FILE = "README.md"


class Facts(Value):
    """Counts are of actions in the samples of all exported rollouts, except `rows…`, `trained` and
    `bytes`, which are of what was written; they differ where a form can't train an action (`partial`,
    `left_out`) and where only a sample was written."""

    program: str = __version__
    format: str
    trainer: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)  # template, tokenizer, max_length
    filter_run: str
    as_of: int  # the log's last seq that counts
    configuration: dict[str, Any]  # of the filter run
    reviewed_only: bool = False
    sample: int | None = None
    seed: int | None = None
    exported: dict[str, str]  # the names of the rollouts, by their ids
    gated: dict[str, str] = Field(default_factory=dict)  # why a rollout does not train, by id

    rollouts: int
    samples: int
    replies: int
    kept: int
    unread: int
    partial: int
    masked: dict[str, int] = Field(default_factory=dict)  # by who decided, or which rule
    left_out: dict[str, int] = Field(default_factory=dict)  # what could not be a row, by reason
    notes: dict[str, int] = Field(default_factory=dict)  # what to know of the rows that were made

    rows_file: str
    rows_made: int
    rows: int
    trained: int
    bytes: int
    digest: str
    files: tuple[str, ...] = ()  # besides these facts


def facts_of(
    source: Source,
    tally: Tally,
    written: Written,
    *,
    format: str,
    trainer: str | None,
    options: dict[str, Any],
    chosen: Chosen | None,
    exported: dict[str, str],
    left_out: dict[str, int],
    notes: dict[str, int],
) -> Facts:
    run = source.run
    return Facts(
        format=format,
        trainer=trainer,
        options=options,
        filter_run=run.run,
        as_of=run.as_of,
        configuration=run.configuration,
        reviewed_only=source.reviewed_only,
        sample=None if chosen is None else chosen.size,
        seed=None if chosen is None else chosen.seed,
        exported=exported,
        gated=run.gated,
        rollouts=tally.rollouts,
        samples=tally.samples,
        replies=tally.replies,
        kept=tally.kept,
        unread=tally.unread,
        partial=tally.partial,
        masked=dict(sorted(tally.masked.items())),
        left_out=dict(sorted(left_out.items())),
        notes=dict(sorted(notes.items())),
        rows_file=written.file,
        rows_made=written.made,
        rows=written.rows,
        trained=written.trained,
        bytes=written.size,
        digest=written.digest,
    )


def read_facts(folder: Path) -> Facts:
    """The facts of an export. Raises ExportError when the folder is none."""
    path = folder / FACTS_FILE
    try:
        return Facts.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ExportError(f"{folder} is no export: cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ExportError(f"{path} cannot be read: {where}: {first['msg']}") from error
