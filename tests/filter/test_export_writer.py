from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apollo_tui.errors import ExportError, LogCorrupt, UsageError
from apollo_tui.filter.export import Format
from apollo_tui.filter.export.chat import Chat
from apollo_tui.filter.export.diff import compare
from apollo_tui.filter.export.facts import Facts, read_facts
from apollo_tui.filter.export.folder import new_folder
from apollo_tui.filter.export.formats import FormatOptions, make_format
from apollo_tui.filter.export.inspect_log import Inspect
from apollo_tui.filter.export.origin import find_origin, row_at
from apollo_tui.filter.export.preferences import Preferences
from apollo_tui.filter.export.rows import Chosen, Rows
from apollo_tui.filter.export.source import Source
from apollo_tui.filter.export.trainers import TRAINERS
from apollo_tui.filter.export.turns import Turns
from apollo_tui.filter.export.unchecked import UNCHECKED
from apollo_tui.filter.export.writer import TOOLLESS, Order, write_export
from apollo_tui.log.events import RequestSent
from apollo_tui.log.prompts import segment_texts
from apollo_tui.log.read import History
from apollo_tui.log.types import ToolSpec
from tests.filter.made import Made
from tests.filter.stored import RUN, write
from tests.filter.test_export_chat import FreshAfterAdvice


class Noted:
    """Who watches, and remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.sizes: list[int] = []

    def will_take(self, size: int, free: int) -> None:
        self.sizes.append(size)

    def progress(self, done: int, total: int) -> None:
        self.told.append((done, total))


class Interrupting(Noted):
    """Someone who presses ctrl+c in the middle."""

    def progress(self, done: int, total: int) -> None:
        raise KeyboardInterrupt


def rollout(steps: int = 6, rejected: int = 2) -> Made:
    made = Made()
    for number in range(1, steps + 1):
        made.bash(f"python train.py --seed {number}", f"loss 0.{number}")
    made.mark(rejected, "reject")
    made.mark(1, "accept")
    return made


@pytest.fixture
async def history(tmp_path: Path) -> Any:
    await write(tmp_path / "apollo.db", rollout())
    history = History(tmp_path / "apollo.db")
    yield history
    history.close()


def export(
    history: History,
    out: Path,
    a_format: Format | None = None,
    *,
    reviewed_only: bool = False,
    watcher: Noted | None = None,
    trainer: str | None = None,
    **order: Any,
) -> Facts:
    source = Source(history, history.filter_run(RUN), reviewed_only=reviewed_only)
    return write_export(
        source,
        a_format or Chat(),
        Order(out, **order),
        watcher or Noted(),
        None if trainer is None else TRAINERS[trainer],
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith("apollo.db")}


async def test_an_export_says_what_it_holds(history: History, tmp_path: Path) -> None:
    watcher = Noted()
    facts = export(history, tmp_path / "out", watcher=watcher)
    assert left(tmp_path) == {"out"}
    assert left(tmp_path / "out") == {"chat.jsonl", "README.md", "export.json"}
    assert read_facts(tmp_path / "out") == facts
    (row,) = lines(tmp_path / "out" / "chat.jsonl")
    assert row["meta"]["trained"] == [[1, 1], [3, 1], [4, 1], [5, 1], [6, 1]]
    assert (facts.kept, facts.unread, facts.masked, facts.trained) == (5, 4, {"human": 1}, 5)
    written = (tmp_path / "out" / "chat.jsonl").read_bytes()
    assert facts.digest == hashlib.sha256(written).hexdigest()
    assert facts.bytes == len(written)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "5 kept, 4 of them nobody looked at" in readme
    assert "- human: 1" in readme
    assert '"repeated_within": 10' in readme
    assert watcher.told[-1] == (6, 6)


async def test_the_same_run_gives_the_same_bytes(history: History, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(history, tmp_path / name)
    for file in ("chat.jsonl", "README.md", "export.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


async def test_what_is_there_is_kept_unless_it_is_an_export_and_to_be_replaced(
    history: History, tmp_path: Path
) -> None:
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    for replaces in (False, True):
        with pytest.raises(UsageError, match="is there already and is no export"):
            export(history, other, replace=replaces)
    assert (other / "thesis.tex").read_text() == "years of work"
    out = tmp_path / "out"
    export(history, out, Turns())
    with pytest.raises(UsageError, match="--replace"):
        export(history, out)
    assert read_facts(out).format == "turns"
    export(history, out, replace=True)
    assert left(out) == {"chat.jsonl", "README.md", "export.json"}
    assert left(tmp_path) == {"out", "thesis"}


def left_by_another_program(out: Path) -> None:
    (out / "export.json").write_text('{"name": "not ours"}')
    (out / "thesis.tex").write_text("years of work")


def trained_into(out: Path) -> None:
    (out / "model").mkdir()
    (out / "model" / "weights").write_text("days of work")


def a_folder_of_a_files_name(out: Path) -> None:
    (out / "README.md").unlink()
    (out / "README.md").mkdir()
    (out / "README.md" / "notes").write_text("hours of work")


def a_link(out: Path) -> None:
    out.rename(out.with_name("real"))
    out.symlink_to("real")


@pytest.mark.parametrize(
    ("become", "said"),
    [
        (left_by_another_program, "is no export"),
        (trained_into, "holds what the export did not write: model; move it"),
        (a_folder_of_a_files_name, r"did not write: README\.md;"),
        (a_link, "is a link"),
    ],
)
async def test_replacing_removes_nothing_but_an_export(
    history: History, tmp_path: Path, become: Callable[[Path], None], said: str
) -> None:
    out = tmp_path / "out"
    export(history, out, Turns())
    become(out)
    before = sorted(path for path in tmp_path.rglob("*") if "apollo.db" not in path.name)
    with pytest.raises(UsageError, match=said):
        export(history, out, replace=True)
    assert sorted(path for path in tmp_path.rglob("*") if "apollo.db" not in path.name) == before


async def test_what_comes_while_an_export_is_written_is_not_removed(
    history: History, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(history, out, Turns())
    with (
        pytest.raises(UsageError, match="did not write: model"),
        new_folder(out, replace=True) as partial,
    ):
        (partial / "chat.jsonl").write_text("")
        trained_into(out)
    assert (out / "model" / "weights").read_text() == "days of work"
    assert left(tmp_path) == {"out"}


@pytest.mark.parametrize("replaces", [False, True])
async def test_an_interrupted_export_leaves_nothing(
    history: History, tmp_path: Path, replaces: bool
) -> None:
    if replaces:
        export(history, tmp_path / "out", Turns())
    with pytest.raises(KeyboardInterrupt):
        export(history, tmp_path / "out", watcher=Interrupting(), replace=replaces)
    assert left(tmp_path) == ({"out"} if replaces else set())
    if replaces:
        assert read_facts(tmp_path / "out").format == "turns"


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 2 KB, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_leaves_nothing(
    history: History, tmp_path: Path, small_files: None
) -> None:
    with pytest.raises(ExportError, match=r"no room left .* nothing was left there"):
        export(history, tmp_path / "out", Turns())
    assert left(tmp_path) == set()


async def test_a_damaged_text_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    import sqlite3

    await write(tmp_path / "apollo.db", rollout())
    with sqlite3.connect(tmp_path / "apollo.db") as db:
        query = "SELECT json_extract(payload, '$.message_ref') FROM events WHERE kind = 'step_completed'"
        ref = db.execute(query).fetchall()[3][0]
        db.execute("UPDATE texts SET data = x'28b52ffd' WHERE hash = ?", (ref,))
    db.close()
    history = History(tmp_path / "apollo.db")
    try:
        with pytest.raises(LogCorrupt, match=ref):
            export(history, tmp_path / "out")
    finally:
        history.close()
    assert left(tmp_path) == set()


async def test_a_place_that_cannot_be_written_is_said(history: History, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        export(history, tmp_path / "file" / "out")


def test_what_a_killed_export_left_goes_and_what_another_writes_stays(tmp_path: Path) -> None:
    abandoned = tmp_path / ".out.partial-1"
    abandoned.mkdir()
    (abandoned / "chat.jsonl").write_text("half")
    with new_folder(tmp_path / "other", replace=False) as busy:
        used = busy.rename(tmp_path / ".out.partial-2")
        used.rename(busy)
        with new_folder(tmp_path / "out", replace=False) as partial:
            assert not abandoned.exists()
            assert partial.name == f".out.partial-{os.getpid()}"
        assert busy.is_dir()
    assert left(tmp_path) == {"out", "other"}


async def test_nothing_kept_is_refused_with_the_reasons(tmp_path: Path) -> None:
    made = Made()
    made.bash("a")
    made.bash("b", result={"disposition": "failed"})
    made.mark(1, "reject")
    await write(tmp_path / "apollo.db", made)
    history = History(tmp_path / "apollo.db")
    try:
        with pytest.raises(ExportError, match="masked by failed 1, human 1"):
            export(history, tmp_path / "out")
        with pytest.raises(ExportError, match="no reply was rewritten"):
            export(history, tmp_path / "out", Preferences())
    finally:
        history.close()
    assert left(tmp_path) == set()


async def test_a_trainer_that_would_train_it_wrongly_refuses(
    history: History, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="verl"):
        export(history, tmp_path / "out", trainer="verl")
    assert left(tmp_path) == set()


async def test_a_trainers_files_and_words_are_beside_the_rows(
    history: History, tmp_path: Path
) -> None:
    facts = export(history, tmp_path / "out", trainer="axolotl")
    given = TRAINERS["axolotl"].files("chat", "../out-model")
    assert given
    for name, text in given.items():
        assert (tmp_path / "out" / name).read_text() == text
    assert set(given) < set(facts.files)
    assert 'output_dir: "../out-model"\n' in given["axolotl.yaml"]
    assert (
        TRAINERS["axolotl"].loading("chat", "../out-model")
        in (tmp_path / "out" / "README.md").read_text()
    )


@pytest.fixture
async def advised(tmp_path: Path) -> Any:
    """A rollout that thinks, is advised, and goes on; its tools are not known."""
    made = Made()
    made.bash("one", thinking="first")
    made.advise("Stop.")
    made.bash("two", thinking="second")
    await write(tmp_path / "apollo.db", made)
    history = History(tmp_path / "apollo.db")
    yield history
    history.close()


async def test_a_trainer_with_the_models_template_refuses_what_nobody_checked(
    advised: History, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=r"1 sample would train .* add --template"):
        export(advised, tmp_path / "out", trainer="axolotl")
    assert left(tmp_path) == set()
    checked = Chat(FreshAfterAdvice())
    facts = export(advised, tmp_path / "out", checked, trainer="axolotl")
    assert (facts.rows, facts.trained) == (2, 2)
    assert UNCHECKED not in facts.notes


@pytest.mark.parametrize("trainer", [None, "llamafactory", "slime"])
async def test_other_chats_without_a_template_say_that_nobody_checked(
    advised: History, tmp_path: Path, trainer: str | None
) -> None:
    facts = export(advised, tmp_path / "out", trainer=trainer)
    assert facts.notes[UNCHECKED] == 1
    assert f"- {UNCHECKED}: 1" in (tmp_path / "out" / "README.md").read_text()


async def test_a_trainer_that_takes_no_thinking_has_none_to_hide(
    advised: History, tmp_path: Path
) -> None:
    assert UNCHECKED not in export(advised, tmp_path / "out", trainer="openai").notes


@pytest.mark.parametrize("a_format", [Chat(), Turns(), Inspect()])
async def test_samples_whose_tools_are_not_known_are_counted(
    advised: History, tmp_path: Path, a_format: Format
) -> None:
    facts = export(advised, tmp_path / "out", a_format)
    assert facts.notes[TOOLLESS] == 1
    assert f"- {TOOLLESS}: 1" in (tmp_path / "out" / "README.md").read_text()


async def test_samples_with_tools_are_not_counted(tmp_path: Path) -> None:
    tool = ToolSpec(name="bash", description="Run it.", parameters={"type": "object"})
    made = rollout()
    _, tools = segment_texts("Be careful.", [tool])
    made.events = [
        event.model_copy(update={"tools_ref": made.keep(tools)})
        if isinstance(event, RequestSent) and event.starts_segment
        else event
        for event in made.events
    ]
    await write(tmp_path / "apollo.db", made)
    history = History(tmp_path / "apollo.db")
    try:
        assert TOOLLESS not in export(history, tmp_path / "out").notes
    finally:
        history.close()


async def test_only_reviewed_masks_what_nobody_read(history: History, tmp_path: Path) -> None:
    facts = export(history, tmp_path / "out", reviewed_only=True)
    assert (facts.kept, facts.unread, facts.masked) == (1, 0, {"human": 1, "unread": 4})
    assert (
        "Only what a person accepted or reviewed trains"
        in (tmp_path / "out" / "README.md").read_text()
    )


async def test_only_reviewed_says_unsure_of_what_a_person_put_aside(tmp_path: Path) -> None:
    made = rollout()
    made.mark(3, "unsure")
    made.mark(4, "reviewed")
    await write(tmp_path / "apollo.db", made)
    history = History(tmp_path / "apollo.db")
    try:
        facts = export(history, tmp_path / "out", reviewed_only=True)
        (found,) = Source(history, history.filter_run(RUN), reviewed_only=True).rollouts()
    finally:
        history.close()
    assert (facts.kept, facts.unread) == (2, 0)
    assert facts.masked == {"human": 1, "unread": 2, "unsure": 1}
    assert found.verdicts.of(3, 1).why == "put aside as unsure by ana"
    assert found.verdicts.of(5, 1).why == "no person has looked at it"


async def test_turns_say_their_size_before_they_are_written(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Noted()
    export(history, tmp_path / "out", Turns(), watcher=watcher)
    written = read_facts(tmp_path / "out").bytes
    assert 0.3 * written < watcher.sizes[0] < 1.2 * written
    monkeypatch.setattr(Turns, "bytes_of", lambda *_: 1 << 62)
    with pytest.raises(ExportError, match=r"this takes about [\d,]+ MB"):
        export(history, tmp_path / "more", Turns())
    assert left(tmp_path) == {"out"}


async def test_a_sample_says_its_own_size(tmp_path: Path) -> None:
    await write(tmp_path / "apollo.db", rollout(steps=60))
    history = History(tmp_path / "apollo.db")
    try:
        few, everything = Noted(), Noted()
        export(history, tmp_path / "few", Turns(), watcher=few, chosen=Chosen(2, 0))
        export(history, tmp_path / "all", Turns(), watcher=everything)
        assert read_facts(tmp_path / "few").bytes < few.sizes[0] < everything.sizes[0] / 3
    finally:
        history.close()


async def test_a_sample_is_the_same_rows_every_time(history: History, tmp_path: Path) -> None:
    everything = export(history, tmp_path / "all", Turns())
    rows = lines(tmp_path / "all" / "turns.jsonl")
    found = {}
    for seed in (0, 1, 2, 3):
        for again in ("", "again"):
            out = tmp_path / f"{seed}{again}"
            facts = export(history, out, Turns(), chosen=Chosen(2, seed))
            found[f"{seed}{again}"] = lines(out / "turns.jsonl")
            assert (facts.rows, facts.rows_made, facts.trained) == (2, everything.rows, 2)
            digest = hashlib.sha256((out / "turns.jsonl").read_bytes()).hexdigest()
            assert facts.digest == digest
            assert left(out) == {"turns.jsonl", "README.md", "export.json"}
        assert found[f"{seed}"] == found[f"{seed}again"]
        assert all(row in rows for row in found[f"{seed}"])
    assert len({json.dumps(sample) for sample in found.values()}) > 1
    assert "with the seed 3: the same rows every time" in (tmp_path / "3" / "README.md").read_text()


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    steps=st.sets(st.integers(1, 60), max_size=25),
    size=st.integers(1, 30),
    order=st.randoms(use_true_random=False),
)
def test_a_sample_does_not_depend_on_the_order_of_rows(
    tmp_path_factory: pytest.TempPathFactory, steps: set[int], size: int, order: Any
) -> None:
    chosen = []
    for _ in range(2):
        folder = tmp_path_factory.mktemp("rows")
        shuffled = sorted(steps)
        order.shuffle(shuffled)
        rows = Rows(folder, Chat(), Chosen(size, 7))
        for step in shuffled:
            rows.write(
                {"meta": {"rollout": "r", "segment": 1, "steps": [step], "trained": [[step, 1]]}}
            )
        written = rows.finish()
        found = [row["meta"]["steps"][0] for row in lines(folder / written.file)]
        assert written.rows == written.trained == len(found) == min(size, len(steps))
        assert found == [step for step in shuffled if step in found]
        chosen.append(set(found))
    assert chosen[0] == chosen[1]


async def test_a_format_of_files_has_an_index_that_leads_back(
    history: History, tmp_path: Path
) -> None:
    facts = export(history, tmp_path / "out", Inspect())
    (entry,) = lines(tmp_path / "out" / "index.jsonl")
    document = json.loads((tmp_path / "out" / entry["file"]).read_text())
    assert "meta" not in document
    assert entry["file"] in facts.files
    path, meta = row_at(f"{tmp_path / 'out' / 'index.jsonl'}:1")
    assert len(find_origin(history, path, meta).actions) == 6
    with pytest.raises(UsageError, match="no Parquet"):
        export(history, tmp_path / "more", Inspect(), parquet=True)


async def test_parquet_holds_the_same_rows_with_arguments_as_text(
    history: History, tmp_path: Path
) -> None:
    facts = export(history, tmp_path / "out", parquet=True)
    (row,) = lines(tmp_path / "out" / "chat.jsonl")
    (read,) = pq.read_table(tmp_path / "out" / "chat.parquet").to_pylist()
    assert read["meta"]["trained"] == row["meta"]["trained"]
    for one, other in zip(read["messages"], row["messages"], strict=True):
        assert one["content"] == other["content"]
        assert one["train"] == other.get("train")
        for call, same in zip(one["tool_calls"] or (), other.get("tool_calls", ()), strict=True):
            assert json.loads(call["function"]["arguments"]) == same["function"]["arguments"]
    assert "chat.parquet" in facts.files
    assert "are JSON text" in (tmp_path / "out" / "README.md").read_text()


# --- why, and diff -----------------------------------------------------------------------------


async def test_why_finds_who_decided_and_when(history: History, tmp_path: Path) -> None:
    export(history, tmp_path / "out")
    path, meta = row_at(f"{tmp_path / 'out' / 'chat.jsonl'}:1")
    origin = find_origin(history, path, meta)
    found = {one.action.step: one for one in origin.actions}
    assert [one.trained for one in origin.actions] == [True, False, True, True, True, True]
    assert (found[1].verdict.by, found[2].verdict.by, found[3].verdict.by) == (
        "human",
        "human",
        "default",
    )
    marked = [event for event in history.events(None, limit=1000) if event["kind"] == "marked"]
    assert found[2].at == marked[0]["at"]
    assert found[1].at == marked[1]["at"]
    assert found[3].at == history.filter_run(RUN).at


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("chat.jsonl", "is no FILE:LINE"),
        ("chat.jsonl:0", "is no FILE:LINE"),
        ("chat.jsonl:2", "has no line 2"),
        ("nothing.jsonl:1", "cannot read"),
        ("README.md:1", "is no JSON"),
        ("list.jsonl:1", "is no row of an export"),
        ("meta.jsonl:1", "meta.rollout"),
    ],
)
async def test_a_place_that_is_no_row_is_said(
    history: History, tmp_path: Path, place: str, said: str
) -> None:
    export(history, tmp_path / "out")
    (tmp_path / "out" / "list.jsonl").write_text("[]\n")
    (tmp_path / "out" / "meta.jsonl").write_text('{"meta": {"segment": 1, "filter_run": "x"}}\n')
    with pytest.raises((UsageError, ExportError), match=said):
        row_at(f"{tmp_path / 'out' / place}")


async def test_a_row_of_another_log_is_said(history: History, tmp_path: Path) -> None:
    export(history, tmp_path / "out")
    other = History(tmp_path / "none.db")
    path, meta = row_at(f"{tmp_path / 'out' / 'chat.jsonl'}:1")
    with pytest.raises(ExportError, match="this log does not hold"):
        find_origin(other, path, meta)


async def test_diff_says_which_actions_train_in_one_only_and_why(
    history: History, tmp_path: Path
) -> None:
    export(history, tmp_path / "old")
    export(history, tmp_path / "new", reviewed_only=True)
    found = compare(tmp_path / "old", tmp_path / "new", history)
    assert found.both == 1
    assert [(one.step, one.ordinal) for one in found.gone] == [(3, 1), (4, 1), (5, 1), (6, 1)]
    assert {one.why for one in found.gone} == {
        "masked by a rule (unread): no person has looked at it"
    }
    assert found.new == []
    back = compare(tmp_path / "new", tmp_path / "old", history)
    assert (back.new, back.gone) == (found.gone, [])


async def test_diff_knows_samples_and_says_what_it_does_not_know(
    history: History, tmp_path: Path
) -> None:
    export(history, tmp_path / "old", Turns())
    export(history, tmp_path / "new", Turns(), chosen=Chosen(2, 0))
    found = compare(tmp_path / "old", tmp_path / "new", history)
    assert {one.why for one in found.gone} == {"kept, but its row is not in the sample of 2"}
    assert (len(found.gone), found.both) == (3, 2)
    unknown = compare(tmp_path / "old", tmp_path / "new", History(tmp_path / "none.db"))
    assert {one.why for one in unknown.gone} == {
        f"not known: this log does not hold the filter run {RUN}"
    }
    with pytest.raises(ExportError, match="is no export"):
        compare(tmp_path, tmp_path / "new", history)


async def test_a_gated_rollout_is_not_exported_and_said(history: History, tmp_path: Path) -> None:
    run = replace(history.filter_run(RUN), gated={"made": "scored 3, less than 50"})
    with pytest.raises(ExportError, match="gate of filter run run-1: made scored 3, less than 50"):
        write_export(Source(history, run), Chat(), Order(tmp_path / "out"), Noted())
    others = replace(run, gated={"other": "has no score"}, rollouts=("other", "made"))
    facts = write_export(Source(history, others), Chat(), Order(tmp_path / "out"), Noted())
    assert (facts.rollouts, facts.gated) == (1, {"other": "has no score"})
    assert "- other: has no score" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("chat", FormatOptions(max_length=5), "--max-length"),
        ("turns", FormatOptions(template=Path("t.jinja")), "is the same for every template"),
        ("tokens", FormatOptions(), "add --tokenizer"),
    ],
)
def test_options_that_do_not_go_with_a_format_are_refused(
    name: str, options: FormatOptions, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        make_format(name, options)
