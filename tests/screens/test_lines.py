from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from apollo_tui.log.read import Entry, EntryKind
from apollo_tui.log.types import AdviceState, Disposition
from apollo_tui.screens.glyphs import ASCII, UNICODE
from apollo_tui.screens.lines import View, entry_lines, result_of
from apollo_tui.screens.stream_lines import streaming_lines
from apollo_tui.screens.streams import Stream
from tests.screens.test_format import HOSTILE

NOW = 1_700_000_000_000_000
ACTION = Entry(
    n=1,
    kind="action",
    seq=1,
    at=NOW - 60_000_000,
    step=403,
    ordinal=1,
    tool="run_command",
    arguments="torchrun --nproc 2 train.py --deepspeed zero2 --config configs/limo_800.yaml",
    state="finished",
    disposition="completed",
    seconds=41.2,
)

entries = st.builds(
    Entry,
    n=st.just(2),
    kind=st.sampled_from(get_args(EntryKind)),
    seq=st.just(2),
    at=st.integers(0, NOW),
    step=st.integers(0, 2_000_000),
    ordinal=st.integers(0, 12),
    by=st.one_of(st.none(), HOSTILE),
    text=HOSTILE,
    head=st.one_of(HOSTILE, st.sampled_from(["3", "final", "paused", "rollout_ended"])),
    tool=HOSTILE,
    arguments=HOSTILE,
    state=st.sampled_from(["proposed", "running", "finished", *get_args(AdviceState)]),
    disposition=st.sampled_from(["", *get_args(Disposition)]),
    exit_code=st.one_of(st.none(), st.integers(-300, 300)),
    seconds=st.one_of(st.none(), st.floats(0, 1e7)),
    started_at=st.one_of(st.none(), st.integers(0, NOW)),
    summary=HOSTILE,
    lines=st.integers(0, 10**7),
    added=st.one_of(st.none(), st.integers(0, 10**6)),
    removed=st.one_of(st.none(), st.integers(0, 10**6)),
    error=st.booleans(),
    score=st.one_of(st.none(), st.floats(-1e6, 1e6)),
    mark=st.sampled_from(["", "reject", "accept", "unsure", "reviewed"]),
    code=st.one_of(st.none(), HOSTILE),
    note=HOSTILE,
    mark_by=st.one_of(st.none(), st.just("ana"), HOSTILE),
    mark_at=st.one_of(st.none(), st.integers(0, NOW)),
)
views = st.builds(
    View,
    width=st.integers(1, 200),
    now=st.just(NOW),
    annotator=st.just("ana"),
    glyphs=st.sampled_from([UNICODE, ASCII]),
    tool=st.sampled_from([13, 14, 16, 22]),
    pane=st.booleans(),
    free_rows=st.booleans(),
    brief=st.booleans(),
    opened=st.booleans(),
    submissions=st.one_of(st.none(), st.integers(0, 9)),
)


@settings(max_examples=60, deadline=None)
@given(entries, views, st.one_of(st.none(), entries))
def test_every_line_is_exactly_as_wide_as_asked(
    entry: Entry, view: View, before: Entry | None
) -> None:
    lines = entry_lines(entry, view, before)
    assert lines
    for line in lines:
        assert cell_len(line.text) == view.width
        assert line.text.isprintable() and "\x1b" not in line.text
        assert not view.glyphs.ascii or line.text.isascii()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**6), HOSTILE, HOSTILE, HOSTILE, views, st.integers(1, 4))
def test_a_stream_keeps_to_its_width_and_height(
    step: int, text: str, tool: str, arguments: str, view: View, limit: int
) -> None:
    lines = streaming_lines(Stream(step, text, tool, arguments), view, limit)
    assert len(lines) <= limit
    assert all(cell_len(line.text) == view.width for line in lines)


@settings(max_examples=60, deadline=None)
@given(entries, views)
def test_a_result_is_short_and_never_a_bare_ok(entry: Entry, view: View) -> None:
    result = result_of(entry, view).text
    assert 0 < cell_len(result) <= 9
    assert "ok" not in result.lower()


def test_the_columns_of_an_action() -> None:
    view = View(78, NOW, "ana", pane=True)
    rejected = replace(ACTION, mark="reject", mark_by="ana", code="impatient")
    text = entry_lines(rejected, view)[0].text
    assert text[1:5] == " 403"
    assert text[6] == "✗"
    assert text[8:19] == "run_command"
    assert text[25:].startswith("torchrun")
    assert text.endswith("41s")
    assert "impatient" in text
    wide = entry_lines(replace(ACTION, step=12345), View(95, NOW, "ana", tool=22))[0].text
    assert wide[1:6] == "12345"
    assert wide[31:].startswith("torchrun")


def test_a_reason_has_its_row_in_the_rollout() -> None:
    marked = replace(
        ACTION, mark="reject", mark_by="ana", mark_at=NOW - 38 * 60_000_000, code="x-y", note="why"
    )
    row = entry_lines(marked, View(95, NOW, "ana"))[-1].text
    assert row.strip() == "✗ x-y  why  you, 38m ago"
    assert row.startswith(" " * 8 + "✗")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": "running", "started_at": NOW - 11 * 60_000_000}, "… 11m"),
        ({"disposition": "background", "started_at": NOW - 38 * 60_000_000}, "& 38m"),
        ({"exit_code": 1, "error": True}, "exit 1"),
        ({"added": 6, "removed": 2}, "+6 −2"),
        ({"added": 164, "removed": 0}, "+164"),
        ({"added": 0, "removed": 0}, "+0"),
        ({"disposition": "timeout"}, "timeout"),
        ({"disposition": "unknown"}, "unknown"),
        ({"seconds": 0.2}, "0s"),
        ({"state": "proposed"}, "waits"),
    ],
)
def test_results(change: dict[str, object], said: str) -> None:
    assert result_of(replace(ACTION, **change), View(78, NOW)).text == said  # type: ignore[arg-type]


def test_thinking_takes_one_line_in_a_pane_and_two_in_a_rollout() -> None:
    thought = replace(ACTION, kind="thinking", text="word " * 100)
    view = View(78, NOW)
    assert len(entry_lines(thought, replace(view, pane=True))) == 1
    assert len(entry_lines(thought, view)) == 2
    assert len(entry_lines(thought, replace(view, opened=True))) > 5
    assert entry_lines(thought, view)[-1].text.rstrip().endswith("…")


def test_a_free_row_before_thinking_that_follows_output() -> None:
    thought = replace(ACTION, kind="thinking", text="so")
    view = View(78, NOW, free_rows=True)
    assert not entry_lines(thought, view, ACTION)[0].text.strip()
    assert entry_lines(thought, view)[0].text.strip() == "so"
    assert entry_lines(ACTION, view, thought)[0].text.strip()


def test_a_growing_reply_moves_few_lines() -> None:
    view = View(60, NOW)
    before: list[str] = []
    changed = 0
    for size in range(1, 400):
        stream = Stream(7, "word " * size)
        lines = [line.text for line in streaming_lines(stream, view, 3)]
        assert lines[0].startswith("    7")
        assert len(lines) >= len(before)
        changed += sum(old != new for old, new in zip(before, lines, strict=False))
        before = lines
    assert changed < 400 + 120
