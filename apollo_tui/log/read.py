"""History: reading the log from any process, with plain sqlite3 and no event classes.

The console pages through this on its own thread of control: a keyset page takes well under a
millisecond, so it is read where it is needed and no list of all steps is ever held.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from apollo_tui.errors import LogCorrupt, UnknownName, UsageError
from apollo_tui.log.rebuild import rebuild_prompt
from apollo_tui.log.schema import version_of, what_is_wrong
from apollo_tui.log.states import WORKING_STATES
from apollo_tui.log.texts import restore

LAST_SEQ = (1 << 63) - 1

EntryKind = Literal["thinking", "action", "advice", "submission", "question", "notice"]


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """One line of the `rollouts` projection. Times are UTC microseconds."""

    id: str
    name: str
    task: str
    model: str
    sandbox: str
    isolated: bool
    state: str
    why: str
    step: int
    actions: int
    marks: int
    errors: int
    score: float | None
    cost_usd: float | None  # None: no call had a known price
    cost_complete: bool  # False: some calls had no known price
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    created_at: int
    started_at: int | None
    ended_at: int | None
    last_seq: int
    last_at: int
    entries: int  # transcript entries are numbered 1 … entries
    queued_advice: int
    submissions: int
    max_submissions: int | None
    time_limit: float | None  # seconds
    step_limit: int | None
    usd_limit: float | None
    worked: float  # seconds of working time up to `last_at`
    working: bool  # the clock runs: add now - last_at
    in_flight: str  # "", "model" or "action": what is going on besides the state
    group: str | None
    tags: tuple[str, ...]
    hands_off: bool
    parent: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a transcript: thinking (with text), an action with its observation and mark,
    advice, a submission, a question, or a notice (paused, failed, recovered …).

    Entry `n` counts from 1 in the order in which things happened; an entry is never moved.
    """

    n: int
    kind: EntryKind
    seq: int
    at: int
    step: int
    ordinal: int = 0
    by: str | None = None
    text: str = ""  # thinking, advice, question or notice; of a submission: its error
    head: str = ""  # advice: its number; submission: its number; notice: the event's kind
    tool: str = ""
    arguments: str = ""
    state: str = ""  # action: proposed, running, finished; advice: queued, delivered …
    disposition: str = ""
    exit_code: int | None = None
    seconds: float | None = None
    started_at: int | None = None
    summary: str = ""
    lines: int = 0
    added: int | None = None
    removed: int | None = None
    synthetic: bool = False
    error: bool = False
    score: float | None = None
    mark: str = ""  # the newest mark, whoever made it
    code: str | None = None
    note: str = ""
    mark_by: str | None = None
    mark_at: int | None = None


@dataclass(frozen=True, slots=True)
class ActionDetail:
    """Everything about one action, for the detail pane. Read on demand, never in lists."""

    entry: Entry
    thinking: str
    text: str
    arguments: str  # the JSON object, indented
    observation: str
    output: str | None  # what was kept, when it is more than the observation
    model: str
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    cost_usd: float | None
    step_seconds: float


@dataclass(frozen=True, slots=True)
class AdviceRow:
    advice: int
    by: str | None
    text: str
    state: str
    queued_at: int
    delivered_step: int | None


@dataclass(frozen=True, slots=True)
class FilterRunRow:
    """A run of the filter; the counts are None until it has finished."""

    run: str
    seq: int
    at: int
    by: str | None
    rollouts: tuple[str, ...]
    configuration: dict[str, Any]
    as_of: int  # the log's last seq that it looked at
    state: Literal["running", "finished", "ended"]
    why: str
    kept: int | None
    masked: int | None
    unread: int | None
    judged: int | None  # so far, while it runs
    unjudged: int | None
    gated: dict[str, str]
    cost_usd: float | None
    to_judge: int | None = None  # None: no judge is asked
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By rollout, the fields of `events.RolloutFiltered`."""


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A verdict of a filter run; actions without one are kept by default."""

    step: int
    ordinal: int
    keep: bool
    by: str  # human, judge, rule
    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class MarkRow:
    """An annotator's standing mark on an action."""

    rollout: str
    name: str
    step: int
    ordinal: int
    tool: str
    mark: str
    code: str | None
    note: str
    annotator: str
    at: int  # UTC microseconds, when it was made


ROLLOUT_COLUMNS = (
    "id, name, task, model, sandbox, isolated, state, why, step, actions, marks, errors, score,"
    " cost_usd, cost_complete, tokens_in, tokens_cached, tokens_out, created_at, started_at,"
    " ended_at, last_seq, last_at, entries, queued_advice, submissions, max_submissions,"
    " time_limit, step_limit, usd_limit, worked_us, in_flight, group_name, tags, hands_off, parent"
)

_ENTRIES = """
SELECT e.n, e.kind, e.seq, e.at, e.step, e.ordinal, e.annotator, e.text, e.head, e.score,
       s.thinking, s.text, d.text, d.state,
       a.tool, a.arguments, a.state, a.disposition, a.exit_code, a.seconds, a.started_at,
       a.summary, a.lines, a.added, a.removed, a.synthetic, a.error,
       m.mark, m.code, m.note, m.annotator, m.at
FROM entries e
LEFT JOIN steps s ON e.kind = 'thinking' AND s.rollout = e.rollout AND s.step = e.step
LEFT JOIN advice d ON e.kind = 'advice' AND d.rollout = e.rollout
     AND d.advice = CAST(e.head AS INTEGER)
LEFT JOIN actions a ON e.kind = 'action' AND a.rollout = e.rollout AND a.step = e.step
     AND a.ordinal = e.ordinal
LEFT JOIN marks m ON e.kind = 'action' AND m.rollout = e.rollout AND m.step = e.step
     AND m.ordinal = e.ordinal AND m.seq = (
         SELECT max(seq) FROM marks x WHERE x.rollout = e.rollout AND x.step = e.step
         AND x.ordinal = e.ordinal)
WHERE e.rollout = ?
"""

_RUN = (
    "run, seq, at, annotator, rollouts, configuration, as_of, state, why, kept, masked, unread,"
    " judged, unjudged, gated, cost_usd, to_judge, counts"
)

_PRECEDENCE = ("accept", "unsure", "advice", "error", "submission", "reject", "attention")
_MOST_LANDMARKS = 20_000  # a map has a few hundred cells; beyond this it is sampled


def rollout_row(row: tuple[Any, ...]) -> RolloutRow:
    """A row of ROLLOUT_COLUMNS as values."""
    values = list(row)
    values[5] = bool(values[5])
    values[14] = bool(values[14])
    worked_us, in_flight, group, tags, hands_off, parent = values[30:]
    working = values[6] in WORKING_STATES
    values[30:] = [worked_us / 1e6, working, in_flight, group, tuple(json.loads(tags))]
    values += [bool(hands_off), parent]
    return RolloutRow(*values)


class History:
    """A read-only connection to the log. Cheap to open; use it from one thread.

    A log that does not exist yet reads as empty, and is picked up once it is there.
    """

    def __init__(self, database: Path) -> None:
        """Raises LogTooNew or LogCorrupt."""
        self._path = database
        self._connection: sqlite3.Connection | None = None
        self._open()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection | None:
        if self._connection is not None:
            return self._connection
        if not self._path.exists() or self._path.stat().st_size == 0:
            return None
        try:
            db = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
            )
        except sqlite3.Error as error:
            raise what_is_wrong(error, self._path) from error
        try:
            db.execute("PRAGMA query_only = 1")
            version = version_of(db, self._path)
        except sqlite3.Error as error:
            db.close()
            raise what_is_wrong(error, self._path) from error
        except BaseException:
            db.close()
            raise
        if version == 0:  # a core is making it at this moment
            db.close()
            return None
        self._connection = db
        return db

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        db = self._open()
        if db is None:
            return []
        try:
            return db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise what_is_wrong(error, self._path) from error

    # --- rollouts ------------------------------------------------------------------------------

    def rollouts(self) -> list[RolloutRow]:
        """All rollouts, oldest first."""
        query = f"SELECT {ROLLOUT_COLUMNS} FROM rollouts ORDER BY created_at, id"
        return [rollout_row(row) for row in self._rows(query)]

    def rollout(self, rollout: str) -> RolloutRow | None:
        """One rollout by its id."""
        rows = self._rows(f"SELECT {ROLLOUT_COLUMNS} FROM rollouts WHERE id = ?", rollout)
        return rollout_row(rows[0]) if rows else None

    def find(self, given: str) -> RolloutRow:
        """A rollout by id, name, or unique prefix of either; raises UnknownName or UsageError."""
        rows = self.rollouts()
        for row in rows:
            if given in (row.id, row.name):
                return row
        matching = [
            row
            for row in rows
            if given and (row.name.startswith(given) or row.id.startswith(given))
        ]
        if len(matching) == 1:
            return matching[0]
        if matching:
            some = ", ".join(row.name for row in matching[:5])
            raise UsageError(f"{given!r} could be {some}; write more of the name")
        known = ", ".join(row.name for row in rows[-8:]) or "none yet"
        raise UnknownName(f"there is no rollout {given!r}; there is: {known}")

    # --- the transcript ------------------------------------------------------------------------

    def entries(self, rollout: str, first: int, count: int) -> list[Entry]:
        """At most `count` entries, from number `first` on."""
        query = f"{_ENTRIES} AND e.n >= ? ORDER BY e.n LIMIT ?"
        return [_entry(row) for row in self._rows(query, rollout, first, count)]

    def entry_of_step(self, rollout: str, step: int, ordinal: int = 0) -> int | None:
        """The number of the entry where a step begins, or of one of its actions."""
        query = (
            "SELECT n FROM entries INDEXED BY entries_of_step WHERE rollout = ? AND step = ?"
            " AND ordinal >= ? AND kind IN ('thinking', 'action') ORDER BY ordinal, n LIMIT 1"
        )
        rows = self._rows(query, rollout, step, ordinal)
        return int(rows[0][0]) if rows else None

    def landmark(self, rollout: str, n: int, direction: Literal[1, -1]) -> int | None:
        """The next mark, error, advice, submission or question after (or before) entry `n`."""
        sign, order = (">", "ASC") if direction == 1 else ("<", "DESC")
        query = (
            f"SELECT n FROM entries INDEXED BY landmarks WHERE rollout = ? AND landmark != ''"
            f" AND n {sign} ? ORDER BY n {order} LIMIT 1"
        )
        rows = self._rows(query, rollout, n)
        return int(rows[0][0]) if rows else None

    def landmark_map(self, rollout: str, buckets: int) -> list[str]:
        """The whole transcript in `buckets` cells, each the weightiest landmark in it or "": reject,
        accept, unsure, error, advice, submission or attention (a question)."""
        row = self.rollout(rollout)
        cells = [""] * buckets
        if row is None or not row.entries or not buckets:
            return cells
        query = (
            "SELECT n, landmark FROM entries INDEXED BY landmarks"
            " WHERE rollout = ? AND landmark != '' LIMIT ?"
        )
        for n, landmark in self._rows(query, rollout, _MOST_LANDMARKS):
            cell = min(buckets - 1, (n - 1) * buckets // row.entries)
            if not cells[cell] or _PRECEDENCE.index(landmark) > _PRECEDENCE.index(cells[cell]):
                cells[cell] = landmark
        return cells

    def action(self, rollout: str, step: int, ordinal: int) -> ActionDetail | None:
        """Everything about one action."""
        n = self.entry_of_step(rollout, step, ordinal)
        rows = [] if n is None else self._rows(f"{_ENTRIES} AND e.n = ?", rollout, n)
        details = self._rows(
            "SELECT s.message_ref, s.model, s.tokens_in, s.tokens_cached, s.tokens_out, s.cost_usd,"
            " s.seconds, a.observation_ref, a.output_ref FROM steps s JOIN actions a USING"
            " (rollout, step) WHERE rollout = ? AND step = ? AND ordinal = ?",
            *(rollout, step, ordinal),
        )
        if not rows or not details:
            return None
        message_ref, model, read, cached, written, cost, seconds, observed, output = details[0]
        message = json.loads(self.text(message_ref))
        call = message["actions"][ordinal - 1]
        return ActionDetail(
            entry=_entry(rows[0]),
            thinking="".join(block["text"] for block in message["thinking"]),
            text=message["text"],
            arguments=call["malformed"]
            or json.dumps(call["arguments"], indent=2, ensure_ascii=False),
            observation=self.text(observed) if observed else "",
            output=self.text(output) if output else None,
            model=model,
            tokens_in=read,
            tokens_cached=cached,
            tokens_out=written,
            cost_usd=cost,
            step_seconds=seconds,
        )

    def thinking(self, rollout: str, step: int) -> tuple[str, str]:
        """The whole thinking and text of a step."""
        rows = self._rows(
            "SELECT message_ref FROM steps WHERE rollout = ? AND step = ?", rollout, step
        )
        if not rows:
            return "", ""
        message = json.loads(self.text(rows[0][0]))
        return "".join(block["text"] for block in message["thinking"]), message["text"]

    def advice(self, rollout: str) -> list[AdviceRow]:
        """All advice of a rollout, in the order it was given."""
        query = (
            "SELECT advice, annotator, text, state, queued_at, delivered_step FROM advice"
            " WHERE rollout = ? ORDER BY advice"
        )
        return [AdviceRow(*row) for row in self._rows(query, rollout)]

    def scores(self, rollout: str) -> list[tuple[int, float | None]]:
        """Each evaluation's step and score, in order."""
        query = "SELECT step, score FROM evaluations WHERE rollout = ? ORDER BY seq"
        return [(row[0], row[1]) for row in self._rows(query, rollout)]

    # --- the filter ------------------------------------------------------------------------------

    def filter_runs(self) -> list[FilterRunRow]:
        """All runs of the filter, oldest first."""
        return [
            _filter_run(row) for row in self._rows(f"SELECT {_RUN} FROM filter_runs ORDER BY seq")
        ]

    def filter_run(self, run: str) -> FilterRunRow:
        """A run by its id or a unique beginning of it. Raises UnknownName."""
        runs = self.filter_runs()
        matching = [row for row in runs if row.run == run] or [
            row for row in runs if run and row.run.startswith(run)
        ]
        if len(matching) == 1:
            return matching[0]
        known = ", ".join(row.run for row in runs[-8:]) or "none yet"
        raise UnknownName(f"there is no filter run {run!r}; there is: {known}")

    def verdicts(self, run: str, rollout: str) -> list[VerdictRow]:
        """What a run of the filter decided on a rollout, in the order of its actions."""
        query = (
            "SELECT step, ordinal, verdict = 'keep', decided_by, rule, why FROM verdicts"
            " WHERE run = ? AND rollout = ? ORDER BY step, ordinal"
        )
        return [
            VerdictRow(step, ordinal, bool(keep), by, rule, why)
            for step, ordinal, keep, by, rule, why in self._rows(query, run, rollout)
        ]

    def judged_at(
        self, judge: str, rollout: str, step: int, ordinal: int, as_of: int
    ) -> int | None:
        """When a judge last said something of an action, up to a seq (UTC µs); None: it never did."""
        rows = self._rows(
            "SELECT max(seq) FROM judgements WHERE judge = ? AND rollout = ? AND step = ?"
            " AND ordinal = ? AND seq <= ?",
            *(judge, rollout, step, ordinal, as_of),
        )
        return self.time_of(rows[0][0]) if rows and rows[0][0] is not None else None

    def judgements(self, judge: str, keys: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Of these keys, those that a judge answered in any rollout: its verdict and why."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, tuple[str, str]] = {}
        for start in range(0, len(wanted), 500):
            chunk = wanted[start : start + 500]
            query = (
                "SELECT key, verdict, why FROM judgements WHERE judge = ? AND key IN"
                f" ({','.join('?' * len(chunk))})"
            )
            found |= {row[0]: (row[1], row[2]) for row in self._rows(query, judge, *chunk)}
        return found

    def marks(self, rollout: str | None = None) -> list[MarkRow]:
        """The standing marks of every annotator, of one rollout or of all, in order."""
        where, values = ("", ()) if rollout is None else (" WHERE m.rollout = ?", (rollout,))
        query = (
            "SELECT m.rollout, coalesce(r.name, ''), m.step, m.ordinal, coalesce(a.tool, ''),"
            " m.mark, m.code, m.note, m.annotator, m.at FROM marks m"
            " LEFT JOIN rollouts r ON r.id = m.rollout"
            " LEFT JOIN actions a ON a.rollout = m.rollout AND a.step = m.step"
            f" AND a.ordinal = m.ordinal{where}"
            " ORDER BY r.created_at, m.rollout, m.step, m.ordinal, m.annotator"
        )
        return [MarkRow(*row) for row in self._rows(query, *values)]

    def action_keys(self, rollout: str) -> set[tuple[int, int]]:
        """The step and ordinal of every action of a rollout."""
        query = "SELECT step, ordinal FROM actions WHERE rollout = ?"
        return {(row[0], row[1]) for row in self._rows(query, rollout)}

    # --- the log itself ------------------------------------------------------------------------

    def events(self, rollout: str | None, after: int = 0, limit: int = 500) -> list[dict[str, Any]]:
        """The next events after a seq as plain objects: seq, at, kind, rollout, own fields."""
        where, values = ("id > ?", (after, limit))
        if rollout is not None:
            where, values = ("rollout = ? AND id > ?", (rollout, after, limit))  # type: ignore[assignment]
        rows = self._rows(
            f"SELECT id, at, kind, rollout, payload FROM events WHERE {where} ORDER BY id LIMIT ?",
            *values,
        )
        return [
            {"seq": seq, "at": at, "kind": kind, "rollout": of}
            | {
                name: value
                for name, value in json.loads(payload).items()
                if name not in ("at", "kind", "rollout")
            }
            for seq, at, kind, of, payload in rows
        ]

    def payloads(
        self, rollout: str, kinds: Iterable[str], as_of: int | None = None
    ) -> Iterator[tuple[int, str, str]]:
        """Seq, kind and JSON of a rollout's events of some kinds, paged as they are read; with
        `as_of` only those up to that seq."""
        chosen = tuple(kinds)
        last = 0
        while rows := self._rows(
            "SELECT id, kind, payload FROM events WHERE rollout = ? AND id > ? AND id <= ? AND kind IN "
            f"({','.join('?' * len(chosen))}) ORDER BY id LIMIT 1000",
            *(rollout, last, LAST_SEQ if as_of is None else as_of, *chosen),
        ):
            yield from rows
            last = rows[-1][0]

    def prompt(self, rollout: str, step: int) -> str:
        """The exact JSON of the prompt that was sent at a step. Raises UnknownName."""
        db = self._open()
        if db is None:
            raise UnknownName(f"there is no log at {self._path}")
        return rebuild_prompt(db, self.texts, rollout, step)

    def time_of(self, seq: int) -> int | None:
        """When an event was written (UTC µs); None when there is no such event."""
        rows = self._rows("SELECT at FROM events WHERE id = ?", seq)
        return int(rows[0][0]) if rows else None

    def last_seq(self) -> int:
        rows = self._rows("SELECT max(id) FROM events")
        return int(rows[0][0] or 0) if rows else 0

    def texts(self, refs: Iterable[str]) -> dict[str, str]:
        """Texts by their hashes. Raises LogCorrupt, naming the hash, when one is missing or damaged."""
        return {ref: text.decode() for ref, text in self.encoded_texts(refs).items()}

    def encoded_texts(self, refs: Iterable[str]) -> dict[str, bytes]:
        """The same in UTF-8, which is what JSON is read from. Read in few queries."""
        wanted = list(dict.fromkeys(refs))
        found: dict[str, bytes] = {}
        for chunk in _chunks(wanted):
            query = f"SELECT hash, data FROM texts WHERE hash IN ({_marks(chunk)})"
            for ref, data in self._rows(query, *chunk):
                try:
                    found[ref] = restore(ref, data)
                except ValueError as error:
                    raise self._damaged(ref, error) from error
        if len(found) < len(wanted):
            raise self._lacks(next(ref for ref in wanted if ref not in found))
        return found

    def text(self, ref: str) -> str:
        """One text by its hash. Raises LogCorrupt when it is missing or damaged."""
        rows = self._rows("SELECT data FROM texts WHERE hash = ?", ref)
        if not rows:
            raise self._lacks(ref)
        try:
            return restore(ref, rows[0][0]).decode()
        except ValueError as error:
            raise self._damaged(ref, error) from error

    def text_sizes(self, refs: Iterable[str]) -> dict[str, int]:
        """How many bytes texts have, without reading them. Raises LogCorrupt when one is missing."""
        wanted = list(dict.fromkeys(refs))
        sizes = {
            ref: int(size)
            for chunk in _chunks(wanted)
            for ref, size in self._rows(
                f"SELECT hash, size FROM texts WHERE hash IN ({_marks(chunk)})", *chunk
            )
        }
        if len(sizes) < len(wanted):
            raise self._lacks(next(ref for ref in wanted if ref not in sizes))
        return sizes

    def _damaged(self, ref: str, error: ValueError) -> LogCorrupt:
        return LogCorrupt(
            f"{self._path}: the text {ref} is damaged ({error}); see what else with: "
            "apollo-tui verify"
        )

    def _lacks(self, ref: str) -> LogCorrupt:
        return LogCorrupt(
            f"{self._path} lacks the text {ref}; see what else with: apollo-tui verify"
        )


def _chunks(refs: list[str], size: int = 500) -> Iterator[list[str]]:
    """Parameters of one query at a time: SQLite takes no more than some."""
    for start in range(0, len(refs), size):
        yield refs[start : start + size]


def _marks(values: list[str]) -> str:
    return ",".join("?" * len(values))


def _filter_run(row: tuple[Any, ...]) -> FilterRunRow:
    values = list(row)
    values[4] = tuple(json.loads(values[4]))
    values[5] = json.loads(values[5])
    values[14] = json.loads(values[14])
    values[17] = json.loads(values[17])
    return FilterRunRow(*values)


def _entry(row: tuple[Any, ...]) -> Entry:
    n, kind, seq, at, step, ordinal, by, text, head, score = row[:10]
    thinking, said, advice, advice_state = row[10:14]
    if kind == "thinking":
        text = thinking or said or ""
    elif kind == "advice":
        text = advice or ""
    entry = {
        "n": n,
        "kind": kind,
        "seq": seq,
        "at": at,
        "step": step,
        "ordinal": ordinal,
        "by": by,
        "text": text,
        "head": head,
        "score": score,
    }
    if kind == "advice":
        entry["state"] = advice_state or ""
    if kind == "action" and row[14] is not None:
        names = (
            "tool",
            "arguments",
            "state",
            "disposition",
            "exit_code",
            "seconds",
            "started_at",
            "summary",
            "lines",
            "added",
            "removed",
            "synthetic",
            "error",
        )
        entry |= dict(zip(names, row[14:27], strict=True))
        entry["synthetic"], entry["error"] = bool(row[25]), bool(row[26])
        if row[27] is not None:
            marks = ("mark", "code", "note", "mark_by", "mark_at")
            entry |= dict(zip(marks, row[27:32], strict=True))
    return Entry(**entry)
