"""Writing an export: count, refuse what would be wrong, write beside the target, rename.

    facts = write_export(source, make_format("chat", options), Order(Path("out")), watcher)

Nothing is under the target's name before all of it is on the disk; an export that fails or is stopped
leaves nothing.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from apollo_tui.errors import ExportError, UsageError
from apollo_tui.filter.export import Format, OneFileEach, Row, Sized
from apollo_tui.filter.export.facts import FACTS_FILE, README_FILE, Facts, facts_of
from apollo_tui.filter.export.folder import new_folder, refuse_existing
from apollo_tui.filter.export.parquet import need_parquet, write_parquet
from apollo_tui.filter.export.readme import readme
from apollo_tui.filter.export.rows import Chosen, Rows, Written
from apollo_tui.filter.export.source import Source
from apollo_tui.filter.export.tally import Tally
from apollo_tui.filter.export.trainers.trainer import Trainer

TOOLLESS = "samples whose tools are not known: their rows describe none"
NO_PAIRS = "no reply was rewritten, none was retried, and no two of these rollouts are forks"


@dataclass(frozen=True, slots=True)
class Order:
    """What to write, and where. `options` are the format's, for the record."""

    target: Path
    replace: bool = False
    parquet: bool = False
    chosen: Chosen | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Watcher(Protocol):
    """Who is told how an export goes."""

    def will_take(self, size: int, free: int) -> None:
        """Before anything is written: about how many bytes it takes, and how many are free."""
        ...

    def progress(self, done: int, total: int) -> None:
        """After each row: how many replies have been gone through."""
        ...


@dataclass
class _Counted:
    """What the first pass finds: the counts, and the names of the rollouts."""

    tally: Tally = field(default_factory=Tally)
    exported: dict[str, str] = field(default_factory=dict)
    replies: dict[str, int] = field(default_factory=dict)
    size: int = 0


def write_export(
    source: Source,
    a_format: Format,
    order: Order,
    watcher: Watcher,
    trainer: Trainer | None = None,
) -> Facts:
    """Write an export and say what it holds.

    Raises UsageError for a target or an option that does not go, ExportError when nothing would train,
    the trainer would train it wrongly, or it cannot be written, LogCorrupt for a damaged log.
    """
    refuse_existing(order.target, replace=order.replace)
    if order.parquet:
        if isinstance(a_format, OneFileEach):
            raise UsageError(f"{a_format.name} is a file for each rollout: it has no Parquet")
        need_parquet()
    counted = _count(source, a_format)
    if not counted.tally.kept and a_format.name != "preferences":
        raise ExportError(f"nothing to export: {_why_nothing(source, counted.tally)}")
    if trainer is not None:
        trainer.check(a_format.name, counted.tally)
    if isinstance(a_format, Sized):
        size = counted.size
        if order.chosen is not None:
            size = _size_of_sample(size, counted.tally.kept, order.chosen.size)
        _make_sure_it_fits(size, order.target, watcher)
    with new_folder(order.target, replace=order.replace) as partial:
        left_out: Counter[str] = Counter()
        notes: Counter[str] = Counter()
        with closing(Rows(partial, a_format, order.chosen)) as rows:
            for row in _rows(source, a_format, trainer, watcher, counted, left_out, notes):
                rows.write(row)
            written = rows.finish()
        if not written.rows:
            why = _listed(left_out) or NO_PAIRS
            raise ExportError(f"nothing to export as {a_format.name}: {why}")
        if trainer is not None:
            trainer.check_notes(notes)
        facts = facts_of(
            source,
            counted.tally,
            written,
            format=a_format.name,
            trainer=None if trainer is None else trainer.name,
            options=dict(order.options),
            chosen=order.chosen,
            exported=counted.exported,
            left_out=left_out,
            notes=notes,
        )
        return _write_beside(partial, facts, order, trainer, written)


def _count(source: Source, a_format: Format) -> _Counted:
    counted = _Counted()
    for rollout in source.rollouts():
        before = counted.tally.replies
        counted.tally.add(rollout)
        counted.exported[rollout.rollout] = rollout.name
        counted.replies[rollout.rollout] = counted.tally.replies - before
        if isinstance(a_format, Sized):
            counted.size += a_format.bytes_of(rollout)
    return counted


def _rows(
    source: Source,
    a_format: Format,
    trainer: Trainer | None,
    watcher: Watcher,
    counted: _Counted,
    left_out: Counter[str],
    notes: Counter[str],
) -> Iterator[Row]:
    """All rows, as the trainer reads them; what is left out, or to be known, is counted at the end."""
    done = 0
    told: list[tuple[Counter[str], Counter[str]]] = []
    for rollout in source.rollouts():
        told.append((rollout.reasons, rollout.notes))
        for row in a_format.rows(rollout):
            adapted = row if trainer is None else trainer.adapt(a_format.name, row)
            if adapted is not None:
                yield adapted
            watcher.progress(done + rollout.replies_told, counted.tally.replies)
        done += counted.replies[rollout.rollout]
        watcher.progress(done, counted.tally.replies)
    for reasons, noted in told:
        left_out.update(reasons)
        notes.update(noted)
    if trainer is not None:
        left_out.update(trainer.reasons)
    if counted.tally.toolless:
        notes[TOOLLESS] = counted.tally.toolless


def _write_beside(
    partial: Path, facts: Facts, order: Order, trainer: Trainer | None, written: Written
) -> Facts:
    """Everything but the rows; the facts are complete then."""
    model = f"../{order.target.absolute().name}-model"
    texts = {} if trainer is None else dict(trainer.files(facts.format, model))
    if order.parquet:
        write_parquet(partial / written.file, partial / f"{facts.format}.parquet")
    for name, text in texts.items():
        (partial / name).write_text(text, encoding="utf-8")
    names = {README_FILE, *(path.name for path in partial.iterdir())}
    facts = facts.model_copy(update={"files": tuple(sorted(names))})
    loading = None if trainer is None else trainer.loading(facts.format, model)
    (partial / README_FILE).write_text(readme(facts, loading), encoding="utf-8")
    (partial / FACTS_FILE).write_text(
        json.dumps(facts.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    return facts


def _size_of_sample(size: int, rows: int, chosen: int) -> int:
    """What is written of `size` bytes in about so many rows while a sample of them is found: a row that
    is among the first of the sample's order so far is written, even if it does not stay."""
    if chosen >= rows:
        return size
    return int(size * min(1.0, chosen * (2 + math.log(rows / chosen)) / rows))


def _make_sure_it_fits(size: int, target: Path, watcher: Watcher) -> None:
    """Raises ExportError when the disk has less room than it takes."""
    place = next(folder for folder in target.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(place).free
    watcher.will_take(size, free)
    if size > free:
        raise ExportError(
            f"this takes about {size / 1e6:,.0f} MB, and {place} has {free / 1e6:,.0f} MB free; free "
            "some space, choose another place with --out, or another format"
        )


def _why_nothing(source: Source, tally: Tally) -> str:
    said = []
    if tally.masked:
        said.append(f"no action is kept: masked by {_listed(tally.masked)}")
    if gated := source.run.gated:
        reasons = ", ".join(f"{_name(source, rollout)} {why}" for rollout, why in gated.items())
        said.append(
            f"rollouts that do not train by the gate of filter run {source.run.run}: {reasons}; filter "
            "again with another gate, or none, to change that"
        )
    return "; ".join(said) or "no rollout has a reply with an action"


def _name(source: Source, rollout: str) -> str:
    row = source.history.rollout(rollout)
    return rollout if row is None else row.name


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
