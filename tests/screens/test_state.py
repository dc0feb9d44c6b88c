"""What is in focus, where one looks, and what is marked: without Textual."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apollo_tui.client import Streamed
from apollo_tui.log.read import Entry
from apollo_tui.screens.home_state import HomeState, lay_out
from apollo_tui.screens.marks import Mark, Marks
from apollo_tui.screens.streams import Streams
from apollo_tui.screens.supervising import code_and_note
from apollo_tui.screens.transcript_state import TranscriptState
from tests.screens.test_lines import ACTION

# --- home --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 120), st.integers(0, 100))
def test_panes_never_need_more_room_than_there_is(width: int, height: int, rollouts: int) -> None:
    layout = lay_out(width, height, rollouts)
    assert layout.per_page >= 1
    if not layout.plain:
        gaps = layout.rows - 1 + 2 if layout.gap else 0
        assert 2 + layout.attention + gaps + layout.rows * 5 <= height
        assert (width - 1 - layout.margin - 2 * (layout.columns - 1)) // layout.columns >= 50


@pytest.mark.parametrize(
    ("size", "grid"),
    [((80, 24), (1, 4)), ((120, 40), (2, 2)), ((160, 45), (2, 2)), ((240, 60), (3, 2))],
)
def test_the_drawn_layouts(size: tuple[int, int], grid: tuple[int, int]) -> None:
    layout = lay_out(*size, 4)
    assert (layout.columns, layout.rows) == grid


def test_the_focus_stays_on_its_rollout() -> None:
    state = HomeState()
    state.update(["a", "b", "c"])
    state.choose(2)
    state.update(["new", "a", "b", "c"])
    assert state.focused == "b"
    state.move(1)
    state.move(1)
    assert state.focused == "new"
    assert not state.choose(9)
    assert state.page(3) == ("new", "a", "b")
    state.choose(4)
    assert state.page(3) == ("c",)
    assert state.pages(3) == (2, 2)


# --- the transcript ----------------------------------------------------------------------------


heights = st.lists(st.integers(1, 7), min_size=1, max_size=40)


moves = st.lists(
    st.sampled_from(["down", "up", "start", "live", "page", "back", "wheel", "wheel back"]),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(heights, st.integers(1, 25), moves)
def test_the_window_is_always_a_piece_of_the_whole(
    sizes: list[int], height: int, keys: list[str]
) -> None:
    def lines(n: int) -> list[tuple[int, int]]:
        return [(n, line) for line in range(sizes[n - 1])]

    whole = [row for n in range(1, len(sizes) + 1) for row in lines(n)]
    state = TranscriptState(lambda n: True, len(sizes))
    last = len(sizes)
    for key in keys:
        match key:
            case "down":
                state.step(1)
            case "up":
                state.step(-1)
            case "start":
                state.to_start()
            case "live":
                state.to_live()
            case "page":
                state.page(lines, last, height, 1)
            case "back":
                state.page(lines, last, height, -1)
            case "wheel":
                state.scroll(lines, last, height, 3)
            case "wheel back":
                state.scroll(lines, last, height, -3)
        if key in ("down", "up", "start", "live"):
            state.reveal(lines, last, height)
        shown = [row for _, row in state.window(lines, last, height)]
        assert len(shown) == min(height, len(whole))
        at = whole.index(shown[0])
        assert whole[at : at + len(shown)] == shown
        if key in ("down", "up", "start", "live"):
            assert any(n == state.cursor for n, _ in shown)
        assert 1 <= state.cursor <= len(sizes)


def test_what_one_reads_does_not_move_when_more_arrives() -> None:
    def lines(n: int) -> list[int]:
        return [n]

    state = TranscriptState(lambda n: True, 100)
    state.window(lines, 100, 10)
    state.step(-1)
    state.reveal(lines, 100, 10)
    before = state.window(lines, 100, 10)
    state.grow(150)
    assert state.window(lines, 150, 10) == before
    assert state.cursor == 99
    state.to_live()
    assert state.window(lines, 150, 10)[-1] == (150, 150)


def test_the_cursor_rests_on_actions_not_on_their_thinking() -> None:
    state = TranscriptState(lambda n: n % 2 == 0, 10)
    assert state.cursor == 10
    state.step(-1)
    assert state.cursor == 8
    state.go(3)
    assert state.cursor == 4
    state.step(-1)
    assert not state.step(-1)
    assert state.cursor == 2
    state.begin_range()
    state.step(1)
    assert state.chosen == (2, 4)
    state.grow(20)
    assert state.cursor == 4


# --- marks -------------------------------------------------------------------------------------


def test_a_mark_is_shown_at_once_and_undone_to_what_was_before() -> None:
    marks = Marks("ana")
    accepted = replace(ACTION, mark="accept", mark_by="ana", code="good")
    requests = marks.mark("r", [ACTION, replace(accepted, step=404)], Mark("reject"))
    assert [request.places for request in requests] == [((403, 1), (404, 1))]
    assert marks.seen("r", ACTION).mark == "reject"
    assert marks.seen("other", ACTION).mark == ""
    outcome = marks.undo()
    assert outcome is not None
    act, back = outcome
    assert act.words == "rejected 403-404"
    assert {(request.mark.kind, request.places) for request in back} == {
        ("", ((403, 1),)),
        ("accept", ((404, 1),)),
    }
    assert marks.seen("r", ACTION).mark == ""
    for request in [*requests, *back]:
        marks.arrived(request)
    assert not marks.pending
    assert marks.undo() is None
    again = marks.redo()
    assert again is not None
    assert again[1][0].mark == Mark("reject")


def test_undo_of_my_mark_on_anothers_takes_only_mine_back() -> None:
    marks = Marks("ana")
    marks.mark("r", [replace(ACTION, mark="reject", mark_by="ben")], Mark("accept"))
    outcome = marks.undo()
    assert outcome is not None
    assert outcome[1][0].mark == Mark()


def test_a_reason_is_part_of_the_mark() -> None:
    marks = Marks("ana")
    marks.mark("r", [ACTION], Mark("reject"))
    (request,) = marks.reason("reward-hack", "pays for the tag")
    assert request.mark == Mark("reject", "reward-hack", "pays for the tag")
    assert marks.seen("r", ACTION).code == "reward-hack"
    outcome = marks.undo()
    assert outcome is not None
    assert outcome[1][0].mark == Mark()


def test_a_refused_mark_is_not_shown_and_not_undone() -> None:
    marks = Marks("ana")
    (request,) = marks.mark("r", [ACTION], Mark("reject"))
    marks.refused(request)
    assert marks.seen("r", ACTION).mark == ""
    assert marks.undo() is None


def test_only_actions_are_marked() -> None:
    marks = Marks("ana")
    thought = Entry(n=1, kind="thinking", seq=1, at=0, step=1)
    assert marks.mark("r", [thought], Mark("reject")) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("impatient", ("impatient", "")),
        ("reward-hack pays for the tag", ("reward-hack", "pays for the tag")),
        ("drift: leaves the task", ("drift", "leaves the task")),
        ("it stopped a healthy run", (None, "it stopped a healthy run")),
    ],
)
def test_a_reason_as_one_writes_it(text: str, reason: tuple[str | None, str]) -> None:
    assert code_and_note(text) == reason


# --- what is arriving --------------------------------------------------------------------------


def test_a_stream_is_the_reply_of_one_step() -> None:
    streams = Streams()
    streams.add(Streamed("r", 4, "thinking", "I shall "))
    streams.add(Streamed("r", 4, "text", "go."))
    streams.add(Streamed("r", 4, "action", '{"a', "bash"))
    streams.add(Streamed("r", 4, "action", '":1}', "bash"))
    stream = streams.of("r")
    assert stream is not None
    assert (stream.text, stream.tool, stream.arguments) == ("I shall go.", "bash", '{"a":1}')
    streams.add(Streamed("r", 5, "text", "new"))
    stream = streams.of("r")
    assert stream is not None
    assert (stream.step, stream.text, stream.tool) == (5, "new", "")
