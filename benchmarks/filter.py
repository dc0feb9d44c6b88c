"""Goal 12: the filter and its exports, at 100,000 actions, in memory that does not grow with them.

Each part runs in a process of its own. The floors are taken in the same run on the same bytes. That of
`chat` is reading the stored texts and a `json.dumps` and a write of the rows: the log keeps texts
compressed, and there is no export without reading them. That of `tokens` is the tokenizer alone.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from benchmarks.logs import working_turns, write_log
from benchmarks.program import Ran, apollo
from benchmarks.report import Report
from benchmarks.tiny_tokenizer import make_tokenizer

if TYPE_CHECKING:
    from apollo_tui.log.read import FilterRunRow, History

P = ParamSpec("P")
T = TypeVar("T")

ROLLOUT, SHORT, DEEP = "long", "short", "deep"
SHORT_ACTIONS, DEEP_ACTIONS = 1_000, 5_000
DEEP_LENGTH = 500
"""Words of an observation in the rollout whose segments are as long as real ones: with 100 steps each
about 100,000 tokens, where contexts are summarised."""
FILTER_SECONDS, MEMORY_MB, OF_FLOOR = 5.0, 300, 0.5


def measure(*, small: bool) -> Report:
    actions = 3_000 if small else 100_000
    report = Report(f"filter: one rollout of {actions:,} actions")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = folder / "home"
        home.mkdir(mode=0o700)
        turns = {
            ROLLOUT: working_turns(actions),
            SHORT: working_turns(SHORT_ACTIONS, 2),
            DEEP: working_turns(200 if small else DEEP_ACTIONS, 3, length=DEEP_LENGTH),
        }
        asyncio.run(write_log(home / "apollo.db", turns))
        try:
            _filter(report, home)
            _chat(report, home, folder)
            _tokens(report, home, folder)
            _turns(report, home, folder)
        finally:
            apollo(home, "core", "stop")
    return report


def _filter(report: Report, home: Path) -> None:
    seconds, peak = _alone(_filter_rollout, home)
    report.add("filter", f"{seconds:.1f} s", f"≤ {FILTER_SECONDS:g} s", seconds <= FILTER_SECONDS)
    _memory(report, "filter", peak)
    stored = apollo(home, "filter", ROLLOUT, "--json")
    report.add("filter, stored by the core", f"{stored.seconds:.1f} s")


def _chat(report: Report, home: Path, folder: Path) -> None:
    file, ran = _export(home, folder, "chat", ROLLOUT)
    size = file.stat().st_size / 1e6
    dumping, _ = _alone(_dump_again, file)
    reading, _ = _alone(_read_again, home)
    report.add("floor: json.dumps and write", f"{size / dumping:.0f} MB/s")
    report.add("floor: with reading the texts", f"{size / (dumping + reading):.0f} MB/s")
    seconds, _ = _alone(_write_chat, home, folder / "chat-alone")
    share = (dumping + reading) / seconds
    report.add(
        "chat, writing",
        f"{size:.0f} MB, {size / seconds:.0f} MB/s, {share:.2f} of the floor",
        f"≥ {OF_FLOOR}",
        share >= OF_FLOOR,
    )
    report.add("chat, without counting the reading", f"{dumping / seconds:.2f} of json.dumps")
    report.add("chat, the whole command", f"{ran.seconds:.1f} s")
    _memory(report, "chat", ran.peak_mb)


def _tokens(report: Report, home: Path, folder: Path) -> None:
    """Each reply's prompt is rendered to see that it is what the row shows, so short steps cost more."""
    tokenizer = folder / "tokenizer"
    make_tokenizer(tokenizer)
    for rollout, steps in ((ROLLOUT, "short steps"), (DEEP, "real steps")):
        file, ran = _export(home, folder, "tokens", rollout, "--tokenizer", str(tokenizer))
        (floor, characters), _ = _alone(_encode_again, file, tokenizer)
        report.add(
            f"floor: the tokenizer alone, {steps}", f"{characters / floor / 1e6:.1f} M characters/s"
        )
        share = floor / ran.seconds
        report.add(
            f"tokens, {steps}",
            f"{characters / ran.seconds / 1e6:.1f} M characters/s, {share:.2f} of the floor",
            f"≥ {OF_FLOOR}",
            share >= OF_FLOOR,
        )
        _memory(report, f"tokens, {steps}", ran.peak_mb)


def _turns(report: Report, home: Path, folder: Path) -> None:
    file, ran = _export(home, folder, "turns", SHORT)
    size = file.stat().st_size / 1e6
    report.add(
        f"turns, of {SHORT_ACTIONS:,} actions",
        f"{size:.0f} MB, {ran.seconds / size * 1000:.1f} ms/MB",
    )
    _memory(report, "turns", ran.peak_mb)


def _export(home: Path, folder: Path, form: str, rollout: str, *more: str) -> tuple[Path, Ran]:
    """The rows' file, and how the export ran: from a stored run, so that filtering does not count."""
    run = json.loads(apollo(home, "filter", rollout, "--json").said)["run"]
    out = folder / f"{form}-{rollout}"
    ran = apollo(home, "export", rollout, "--format", form, "--out", str(out), "--run", run, *more)
    (file,) = out.glob("*.jsonl")
    return file, ran


def _memory(report: Report, what: str, peak_mb: float) -> None:
    report.add(f"{what}, memory", f"{peak_mb:.0f} MiB", f"≤ {MEMORY_MB} MiB", peak_mb <= MEMORY_MB)


# --- parts that run alone, each in a new process -------------------------------------------------


def _alone(part: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> tuple[T, float]:
    """What `part` returns, and the peak memory in MiB of the process that ran nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(part, *arguments, **named).result(), pool.submit(_peak_mb).result()


def _peak_mb() -> float:
    return getrusage(RUSAGE_SELF).ru_maxrss / 1024


def _filter_rollout(home: Path) -> float:
    from apollo_tui.filter.run import FilterSettings, filter_rollout
    from apollo_tui.log.read import History
    from apollo_tui.log.trajectory import read_trajectory

    began = time.perf_counter()
    history = History(home / "apollo.db")
    verdicts = filter_rollout(read_trajectory(history, ROLLOUT), history.text, FilterSettings())
    seconds = time.perf_counter() - began
    assert verdicts.decided, "the made-up rollout has actions to mask"
    return seconds


def _write_chat(home: Path, target: Path) -> float:
    """Seconds to write the rows of a rollout that is folded: texts, masks, JSON, digest, fsync."""
    from apollo_tui.filter.export.chat import Chat
    from apollo_tui.filter.export.source import Source
    from apollo_tui.filter.export.writer import Order, write_export
    from apollo_tui.log.read import History

    history = History(home / "apollo.db")
    source = Source(history, _newest_run(history))
    for rollout in source.rollouts():
        assert list(rollout.samples()), "folded before the clock runs"
    began = time.perf_counter()
    write_export(source, Chat(), Order(target), _Unwatched())
    return time.perf_counter() - began


def _read_again(home: Path) -> float:
    """Seconds to read the texts of all rows, a segment at a time, and nothing else."""
    from apollo_tui.filter.export.source import Source
    from apollo_tui.log.read import History

    history = History(home / "apollo.db")
    (rollout,) = Source(history, _newest_run(history)).rollouts()
    refs = [one.sample.messages for one in rollout.samples()]
    began = time.perf_counter()
    for wanted in refs:
        history.encoded_texts(wanted)
    return time.perf_counter() - began


def _newest_run(history: History) -> FilterRunRow:
    rollout = history.find(ROLLOUT).id
    return [run for run in history.filter_runs() if rollout in run.rollouts][-1]


class _Unwatched:
    def will_take(self, size: int, free: int) -> None: ...

    def progress(self, done: int, total: int) -> None: ...


def _dump_again(file: Path) -> float:
    """Seconds for `json.dumps` of the same rows and writing them; reading them does not count."""
    seconds = 0.0
    with file.open() as rows, file.with_suffix(".again").open("w") as out:
        for line in rows:
            row = json.loads(line)
            began = time.perf_counter()
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            seconds += time.perf_counter() - began
    return seconds


def _encode_again(file: Path, tokenizer: Path) -> tuple[float, int]:
    """Seconds for encoding the same texts, and how many characters they have."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    seconds, characters = 0.0, 0
    with file.open() as rows:
        for line in rows:
            text = made.decode(json.loads(line)["input_ids"], skip_special_tokens=False)
            began = time.perf_counter()
            made.encode(text, add_special_tokens=False)
            seconds += time.perf_counter() - began
            characters += len(text)
    return seconds, characters
