"""The lines of Review: each exactly as wide as it is asked to be, whatever the log holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from apollo_tui.screens.glyphs import ASCII, UNICODE
from apollo_tui.screens.lines import View
from apollo_tui.screens.marks import Act, Mark
from apollo_tui.screens.mask_lines import (
    MOST,
    ReplyMask,
    Tint,
    cursor_on,
    damaged,
    message_lines,
)
from apollo_tui.screens.observed import Told, readable
from apollo_tui.screens.review_lines import counts_lines, queue_lines
from apollo_tui.screens.review_state import ReviewState
from apollo_tui.screens.review_tally import Tally
from apollo_tui.screens.verdict_lines import verdict_lines
from tests.screens.test_format import HOSTILE
from tests.screens.test_review_state import review

tints = st.sampled_from(["read", "unread", "masked", "context"])
messages = st.one_of(
    st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "text": HOSTILE,
            "thinking": st.lists(st.fixed_dictionaries({"text": HOSTILE}), max_size=2),
            "actions": st.lists(
                st.fixed_dictionaries(
                    {
                        "tool": HOSTILE,
                        "arguments": st.dictionaries(HOSTILE, HOSTILE, max_size=2),
                        "malformed": st.one_of(st.none(), HOSTILE),
                    }
                ),
                max_size=3,
            ),
        }
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "text": HOSTILE, "error": st.booleans()}),
    st.fixed_dictionaries(
        {
            "role": st.just("user"),
            "text": HOSTILE,
            "source": st.one_of(HOSTILE, st.sampled_from(["task", "advice", "summary"])),
        }
    ),
    st.fixed_dictionaries({"role": st.just("system"), "text": HOSTILE}),
)


@settings(max_examples=150, deadline=None)
@given(
    messages,
    st.lists(tints, max_size=3),
    tints,
    st.integers(24, 130),
    st.sampled_from([UNICODE, ASCII]),
    st.booleans(),
)
def test_a_message_is_harmless_and_fits(
    message: dict[str, Any], calls: list[Tint], prose: Tint, width: int, glyphs: Any, roomy: bool
) -> None:
    view = View(width, 0, "ana", glyphs, free_rows=roomy)
    lines = message_lines(message, ReplyMask(7, prose, tuple(calls)), view, whole=roomy)
    assert lines
    for line in [*(one.line for one in lines), *cursor_on(lines, 1, view)]:
        assert cell_len(line.text) == width
        assert line.text.isprintable()
        assert not glyphs.ascii or line.text.isascii()


def gutter(message: dict[str, Any], mask: ReplyMask, width: int = 100) -> list[str]:
    lines = message_lines(message, mask, View(width, 0))
    return [one.line.text[19] for one in lines]


REPLY = {
    "role": "assistant",
    "text": "",
    "thinking": [{"text": "I think of it " * 12}],
    "actions": [
        {"tool": "bash", "arguments": {"command": "ls"}, "malformed": None},
        {"tool": "edit_file", "arguments": {"path": "a"}, "malformed": None},
    ],
}


def test_the_gutter_says_what_trains_and_what_was_read() -> None:
    assert gutter(REPLY, ReplyMask(7, "read", ("read", "read"))) == ["┃"] * 5
    assert gutter(REPLY, ReplyMask(7, "unread", ("unread", "read"))) == ["│"] * 4 + ["┃"]
    assert gutter(REPLY, ReplyMask(7, "masked", ("unread", "masked"))) == ["✗", "┆", "┆", "│", "✗"]
    assert gutter(REPLY, ReplyMask()) == [" "] * 5


def seen(text: str, *, whole: bool, told: Told | None = None) -> list[str]:
    message = {"role": "tool", "text": text, "error": False}
    lines = message_lines(message, ReplyMask(), View(100, 0), whole=whole, told=told)
    return [one.line.text[20:].strip() for one in lines]


BUDGET = "[left: 9h 02m of working time, 12 steps]"
OUTPUT = {
    "success": True,
    "message": "It is completed!",
    "output": "one\r\ntwo\r\n$ ",
    "alive": True,
}


def test_a_folded_observation_is_its_telling_line() -> None:
    told = Told("6 passed in 2.41s", 19)
    assert seen(json.dumps(OUTPUT), whole=False, told=told) == ["6 passed in 2.41s … 19 lines"]
    # What the log has no line of: the last that is not the budget, of an object of its text.
    assert seen(f"one\ntwo\n\n{BUDGET}", whole=False) == ["two … 2 lines"]
    assert seen(json.dumps(OUTPUT), whole=False) == ["$ … 7 lines"]
    assert seen(BUDGET, whole=False) == [BUDGET]


def test_an_unfolded_object_shows_its_text() -> None:
    shown = seen(f"{json.dumps(OUTPUT)}\n\n{BUDGET}", whole=True)
    assert shown == ["alive: true", "output:", "one", "two", "$", f"{BUDGET} … 8 lines"]


@pytest.mark.parametrize("text", ['{"a": 1} and more', "[1]", '{"a"', '"a"'])
def test_what_is_no_object_is_shown_as_it_is(text: str) -> None:
    assert readable(text) == [text]


def test_an_object_too_deep_to_read_is_shown_as_it_is() -> None:
    text = '{"a":' * 200_000
    assert (readable(text) == [text], readable("{}")) == (True, [])


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(HOSTILE, st.one_of(HOSTILE, st.integers(), st.none()), max_size=4))
def test_the_text_of_an_object_is_harmless(fields: dict[str, Any]) -> None:
    rows = readable(json.dumps(fields), ascii_only=True)
    assert all(row.isascii() and row.isprintable() for row in rows)


def row_of(state: ReviewState, step: int, width: int = 60) -> str:
    state.go((step, 1))
    shown = queue_lines(state, View(width, 0, "ana"), 40, {})
    return next(one.line.text for one in shown if one.spot == state.spot)


def test_the_queue_says_what_is_suggested_and_what_is_aside() -> None:
    state = review()
    assert "mask?" in row_of(state, 5) and "propagated" in row_of(state, 5)
    state.show((13, 1), Mark("unsure"), 0)
    assert "mask  aside" in row_of(state, 13)
    state.go((13, 1), "recent")
    assert "aside" in row_of(state, 2)


def test_the_queue_says_what_is_above_and_below() -> None:
    state = review()
    top: dict[Any, int] = {}
    state.go((14, 1))
    lines = [one.line.text.strip() for one in queue_lines(state, View(60, 0, "ana"), 8, top)]
    assert any("above" in line and "more" in line for line in lines), lines


def test_what_was_decided_is_folded_to_its_count_until_it_is_reached() -> None:
    state = review()
    lines = queue_lines(state, View(60, 0, "ana"), 40, {})
    assert lines[0].line.text.split() == ["decided", "7", "newest", "first"]
    assert not any(one.spot and one.spot.section == "decided" for one in lines)
    state.go((8, 1))
    lines = queue_lines(state, View(60, 0, "ana"), 40, {})
    assert sum(one.spot is not None and one.spot.section == "decided" for one in lines) == 7


@pytest.mark.parametrize("role", ["tool", "user", "system"])
def test_only_replies_have_a_gutter(role: str) -> None:
    message = {"role": role, "text": "words", "source": "task"}
    assert gutter(message, ReplyMask(7, "read", ("read",))) == [" "]


def test_the_mask_reads_without_colour() -> None:
    view = View(100, 0, glyphs=ASCII)
    mask = ReplyMask(7, "masked", ("unread", "read"))
    signs = [one.line.text[19] for one in message_lines(REPLY, mask, view)]
    assert signs == ["x", "x", "x", "t", "T"]


def test_the_cursor_is_on_the_action_and_its_thinking_alone() -> None:
    view = View(100, 0)
    lines = message_lines(REPLY, ReplyMask(7, "unread", ("unread", "unread")), view)
    marked = [line.text.startswith("▌") for line in cursor_on(lines, 2, view)]
    assert marked == [True, True, True, False, True]


def test_a_long_call_is_cut_and_says_so() -> None:
    call = {"tool": "create_file", "arguments": {"content": "x" * 50_000}, "malformed": None}
    message = {"role": "assistant", "text": "", "thinking": [], "actions": [call]}
    lines = message_lines(message, ReplyMask(7, "read", ("read",)), View(100, 0))
    assert len(lines) == MOST + 1
    assert "more lines; enter opens the step" in lines[-1].line.text


def test_what_is_no_message_is_refused_and_said() -> None:
    with pytest.raises(ValueError, match="no message"):
        message_lines({"role": "wizard"}, ReplyMask(), View(80, 0))
    shown = damaged(
        "the log lacks the text 4c1d; see what else with: apollo-tui verify", View(80, 0)
    )
    assert "apollo-tui verify" in " ".join(" ".join(one.line.text.split()) for one in shown)


@settings(max_examples=60, deadline=None)
@given(st.integers(24, 120), st.integers(1, 60), st.integers(-30, 30), st.integers(0, 4))
def test_the_queue_shows_the_cursor_whatever_the_room(
    width: int, height: int, moved: int, marked: int
) -> None:
    state = review()
    for _ in range(marked):
        state.show(state.key or (0, 0), Mark("unsure"), 0)
        state.advance(state.spot)
    state.move(moved)
    shown = queue_lines(state, View(width, 0, "ana"), height, {})
    assert len(shown) <= height
    assert all(cell_len(one.line.text) == width for one in shown)
    if height >= 2:
        assert state.spot in [one.spot for one in shown]


@given(st.integers(20, 200), st.sampled_from([UNICODE, ASCII]), st.lists(st.integers(0, 10**5)))
def test_the_counts_fit(width: int, glyphs: Any, counts: list[int]) -> None:
    tally = Tally()
    for kind, many in zip(("accept", "reject", "unsure", "reviewed", ""), counts, strict=False):
        tally.marks[kind] = many
    for line in counts_lines(tally, "", width, glyphs):
        assert cell_len(line.text) == width


def test_the_bar_shows_even_a_few() -> None:
    tally = Tally()
    tally.marks.update({"accept": 1, "reject": 1, "": 100_000})
    bar = counts_lines(tally, "", 80, UNICODE)[0].text
    assert ("█" in bar, "▓" in bar) == (True, True)


def test_the_bar_has_the_signs_of_the_marks_in_ascii() -> None:
    tally = Tally()
    tally.marks.update({"accept": 2, "reject": 2, "unsure": 1, "reviewed": 1, "": 4})
    assert counts_lines(tally, "", 22, ASCII)[0].text.strip() == "++++xxxx~~..--------"


def test_a_closed_gate_is_said_where_the_export_is() -> None:
    line = counts_lines(Tally(), "scored 3, less than 5", 160, UNICODE)[1].text
    assert "export now: nothing, it scored 3, less than 5" in line


def verdict_text(state: ReviewState, width: int = 98) -> str:
    last = Act("made", ((7, 1),), Mark("reject", "impatient"), (Mark(),), "7 kill")
    lines = verdict_lines(state, last, View(width, 0, "ana"))
    assert all(cell_len(line.text) == width for line in lines)
    return "\n".join(line.text for line in lines)


def test_the_verdict_says_who_and_why() -> None:
    state = review()
    state.go((13, 1))
    said = verdict_text(state)
    assert "▸ rules    mask  repeated, polling" in said
    assert "why  the same as step 12, with the same observation" in said
    assert "has not seen it" in said
    assert "last reason  impatient   . repeats it" in said
    state.go((7, 1))
    said = verdict_text(state)
    assert "▸ human    mask  you  impatient  ben: accept" in said
    state.show((10, 1), Mark("unsure"), 0)
    state.go((10, 1))
    assert "you: put aside" in verdict_text(state)
    assert "you: unsure" not in verdict_text(state)  # one mark is said once
    assert "why  healthy run, loss falling" in said
    state.go((9, 1))
    assert "judge    ?     hidden until you decide" in verdict_text(state)
    state.show((9, 1), Mark("reviewed"), 0)
    state.go((9, 1))
    assert "▸ judge    keep  turns back to the task" in verdict_text(state)
    assert "why  turns back to the task" in verdict_text(state)
    state.go((3, 1), "second")
    told = "why  it was told to   the judge: deletes what a later step could have compared with"
    assert told in verdict_text(state)


@pytest.mark.parametrize("width", [24, 40, 69, 70, 95, 96, 140])
def test_the_verdict_fits(width: int) -> None:
    verdict_text(review(), width)
