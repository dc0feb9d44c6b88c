from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from apollo_tui.screens import format as f

HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x1b\x9b\x00\x07\t\r\n\u202e\u200d\ufe0f\u0301漢字👩🏽🇩🇪é…│"),
    ),
    max_size=40,
)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (41, "41s"),
        (60, "1m"),
        (250, "4m10"),
        (542, "9m02"),
        (1620, "27m"),
        (7860, "2h11"),
        (32520, "9h02"),
        (108000, "30h00"),
        (380000, "4d09"),
        (-5, "0s"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert f.duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "$0.00"), (0.0002, "<$0.001"), (0.011, "$0.011"), (3.1, "$3.10"), (1234.5, "$1,234.50")],
)
def test_money(value: float, said: str) -> None:
    assert f.money(value) == said


def test_counts_tokens_scores_and_sizes() -> None:
    assert f.count(1588) == "1,588"
    assert [f.tokens(n) for n in (0, 999, 61_234, 999_949, 999_950)] == [
        "0",
        "999",
        "61.2k",
        "999.9k",
        "1.0M",
    ]
    assert [f.number(v) for v in (44.0, 0.425, 6.58, 1204.0)] == ["44.0", "0.425", "6.58", "1,204"]
    assert f.size(212 * 10**9) == "212 GB"
    assert f.age(59) == "<1m"
    assert f.ago(2400) == "40m ago"


def test_a_cut_keeps_what_tells_most() -> None:
    assert f.cut_tool("kill_session_processes", 16) == "kill_…_processes"
    assert f.cut_tool("get_session_output", 13).endswith("_output")
    assert f.cut_tool("edit_file", 16) == "edit_file"
    assert f.cut_middle("configs/very/long/path/limo_800.yaml", 20).endswith("limo_800.yaml"[-10:])
    assert f.cut_end("one two three", 9) == "one two…"


@settings(max_examples=60, deadline=None)
@given(HOSTILE, st.booleans())
def test_clean_text_does_nothing_to_a_terminal(text: str, ascii_only: bool) -> None:
    cleaned = f.clean(text, ascii_only=ascii_only)
    assert all(unicodedata.category(char) not in {"Cc", "Cf", "Cs"} for char in cleaned)
    assert not ascii_only or cleaned.isascii()
    assert f.clean(cleaned, ascii_only=ascii_only) == cleaned


def test_escape_sequences_leave_no_trace() -> None:
    assert f.clean("\x1b[31mred\x1b[0m \x1b]0;title\x07x\x1b(B") == "red x"
    assert f.clean("a\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\") == "alink"
    assert f.clean_lines("10%\r50%\r100%\r\ndone\x1b[K") == ["100%", "done"]


@settings(max_examples=60, deadline=None)
@given(HOSTILE, st.integers(0, 60))
def test_fitted_text_has_exactly_its_cells(text: str, cells: int) -> None:
    cleaned = f.clean(text)
    assert cell_len(f.fit(cleaned, cells)) == cells
    for cut in (f.cut_end, f.cut_middle, f.cut_tool):
        assert cell_len(cut(cleaned, cells)) <= max(cells, 0)


@settings(max_examples=60, deadline=None)
@given(HOSTILE, st.integers(4, 60), st.one_of(st.none(), st.integers(1, 4)))
def test_wrapped_text_fits_and_loses_nothing_but_spaces(
    text: str, cells: int, limit: int | None
) -> None:
    cleaned = f.clean(text)
    rows = f.wrap(cleaned, cells, limit)
    assert all(cell_len(row) <= cells for row in rows)
    if limit is None:
        assert "".join(rows).replace(" ", "") == cleaned.replace(" ", "")
    else:
        assert len(rows) <= limit
