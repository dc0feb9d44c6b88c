"""What Review shows of a board, without Textual: every mark is shown as the next board will have it."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apollo_tui.filter.rules import RuleSettings
from apollo_tui.filter.run import FilterSettings, counted, filter_rollout
from apollo_tui.log.types import MarkKind
from apollo_tui.screens.marks import Mark, Place
from apollo_tui.screens.review_board import Board, make_board
from apollo_tui.screens.review_state import ReviewState, Spot, TurnTokens
from apollo_tui.screens.review_tally import Pace
from tests.filter.made import Made
from tests.screens.reviewable import JUDGE, called, judge, limo, mark

SETTINGS = FilterSettings(judge=JUDGE)
SECOND = 1_000_000


def board(made: Made, configuration: FilterSettings = SETTINGS) -> Board:
    return make_board(made.trajectory, made.texts.__getitem__, configuration, "ana")


@cache
def limo_board() -> Board:
    return board(limo())


def review(*, hide_judge: bool = True) -> ReviewState:
    return ReviewState(limo_board(), "ana", hide_judge=hide_judge)


def steps(state: ReviewState, section: str) -> list[int]:
    size = state.size(section)  # type: ignore[arg-type]
    places = [state.place(Spot(section, index)) for index in range(size)]  # type: ignore[arg-type]
    return [place[0] for place in places if place is not None]


# --- what the board says -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "configuration",
    [
        SETTINGS,
        FilterSettings(),
        FilterSettings(judge=JUDGE, rules=RuleSettings(propagate=True, off=("repeated",))),
    ],
)
def test_the_board_has_the_verdicts_that_every_export_has(configuration: FilterSettings) -> None:
    made = limo()
    verdicts = filter_rollout(made.trajectory, made.texts.__getitem__, configuration)
    found = board(made, configuration)
    assert found.verdicts == verdicts
    for row in found.rows:
        marks = found.marks.get(row.key, ())
        assert found.verdict(row.key, marks) == verdicts.of(*row.key)


def test_what_is_kept_and_unread_is_what_an_export_counts() -> None:
    made = limo()
    verdicts = filter_rollout(made.trajectory, made.texts.__getitem__, SETTINGS)
    told = counted("made", made.trajectory, verdicts)
    tally = limo_board().tally
    assert (tally.kept, tally.unread) == (told.kept, told.unread)
    assert sum(tally.masked.values()) == sum(told.masked.values())
    assert {rule: many for rule, many in tally.rules.items() if many} == {
        name: many for name, many in told.masked.items() if name not in ("human", "judge")
    }


def test_every_order_has_every_action_once() -> None:
    found = limo_board()
    for name, order in found.orders.items():
        assert sorted(order) == list(range(len(found.rows))), name
        assert [found.ranks[name][at] for at in order] == list(range(len(order)))


def test_an_action_in_no_sample_is_not_counted_as_kept() -> None:
    made = called("replaced")
    made.bash("ls", "one")
    made.bash("ls -l", "two")
    found = board(made)
    before = found.tally.kept
    from apollo_tui.log.events import RolledBack

    made.tell(RolledBack(rollout="made", to=1))
    made.begin_segment(['{"role":"user","text":"Again.","source":"task"}'])
    made.bash("pwd", "/w")
    after = board(made)
    assert before == 2
    assert [row.turn for row in after.rows] == [0, -1, 0]
    assert after.tally.kept == 2
    assert after.tally.total == 3


# --- marks -------------------------------------------------------------------------------------

PLACES = [row.key for row in limo_board().rows]
KINDS: list[MarkKind | None] = ["reject", "accept", "unsure", "reviewed", None]
acts = st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(KINDS)), max_size=12)


def snapshot(state: ReviewState) -> object:
    """All that is shown, besides what was decided in this session."""
    rows = state.board.rows
    tally = state.tally
    return (
        [state.verdict(row.key) for row in rows],
        [(state.read(row.key), state.decided(row.key)) for row in rows],
        {kind: many for kind, many in tally.marks.items() if many},
        {who: many for who, many in tally.masked.items() if many},
        {rule: many for rule, many in tally.rules.items() if many},
        (tally.kept, tally.unread),
        [state.segment_counts(segment) for segment in range(len(state.board.samples))],
        steps(state, "unread"),
        steps(state, "second"),
    )


@settings(max_examples=60, deadline=None)
@given(acts, st.booleans())
def test_marks_are_shown_as_the_next_board_has_them(
    made_acts: list[tuple[Place, MarkKind | None]], with_tokens: bool
) -> None:
    from apollo_tui.log.events import ActionRef, Marked, Unmarked

    made, state = limo(), review()
    tokens = [
        [TurnTokens(3, tuple(range(7, 7 + len(turn.step.actions)))) for turn in sample.turns]
        for sample in state.board.samples
    ]
    if with_tokens:
        for segment, found in enumerate(tokens):
            state.counted(segment, found)
    snapshot(state)  # what is counted once is kept up to date from then on
    for n, (place, kind) in enumerate(made_acts):
        state.show(place, Mark(kind or ""), n * SECOND)
        refs = (ActionRef(step=place[0], ordinal=place[1]),)
        if kind is None:
            made.tell(Unmarked(rollout="made", by="ana", actions=refs))
        else:
            made.tell(Marked(rollout="made", by="ana", actions=refs, mark=kind))
    newer = ReviewState(board(made), "ana")
    if with_tokens:
        for segment, found in enumerate(tokens):
            newer.counted(segment, found)
    shown = snapshot(state)
    assert _but_why(shown) == _but_why(snapshot(newer))
    state.take(newer.board, state.own)
    assert state.own == []
    assert snapshot(state) == snapshot(newer)


def _but_why(shown: object) -> object:
    assert isinstance(shown, tuple)
    verdicts, *rest = shown
    return [(one.keep, one.by, one.rule) for one in verdicts], rest


@settings(max_examples=40, deadline=None)
@given(acts)
def test_a_refused_mark_leaves_no_trace(made_acts: list[tuple[Place, MarkKind | None]]) -> None:
    state = review()
    before = snapshot(state)
    for place, kind in made_acts:
        state.show(place, Mark(kind or ""), 0)
    for place, _ in made_acts:
        state.forget(place, 0)
    assert snapshot(state) == before


def test_a_mark_on_its_way_outlives_a_board_that_does_not_know_it() -> None:
    state = review()
    state.show((10, 1), Mark("reject"), 0)
    state.take(limo_board())
    assert not state.verdict((10, 1)).keep
    mine = state.own
    newer = limo()
    mark(newer, 10, "reject")
    state.take(board(newer), mine)
    assert not state.verdict((10, 1)).keep
    assert state.own == []


def test_a_person_overrules_the_judge_and_the_rules() -> None:
    state = review()
    assert (state.verdict((13, 1)).by, state.verdict((15, 1)).by) == ("rule", "judge")
    for place in (13, 1), (15, 1):
        state.show(place, Mark("accept"), 0)
        assert state.verdict(place).keep
        assert state.verdict(place).by == "human"
    state.show((13, 1), Mark(""), 0)
    assert (state.verdict((13, 1)).keep, state.verdict((13, 1)).rule) == (False, "repeated")


def test_the_judge_is_hidden_until_one_has_decided() -> None:
    state = review()
    place = (15, 1)
    assert state.hides(place)
    assert (state.shown(place).keep, state.shown(place).by) == (True, "default")
    assert not state.verdict(place).keep  # an export counts its word all the same
    segment, turn = state.row(place).segment, state.row(place).turn
    assert state.mask(segment, turn, shown=True).actions == (True, True)
    assert state.mask(segment, turn).actions == (False, True)
    state.show(place, Mark("reviewed"), 0)
    assert not state.hides(place)
    assert state.shown(place).by == "judge"
    assert not review(hide_judge=False).hides(place)


def test_two_people_decide_without_each_other() -> None:
    made = called("two")
    for n in range(4):
        made.bash(f"echo {n}", f"{n}")
    judge(made, (1, False, "no use"), (3, True, "fine"))
    mark(made, 1, "reject", "drift", by="ben")
    mark(made, 2, "unsure", by="ben")
    state = ReviewState(board(made), "ana")
    assert steps(state, "unread") == [1, 2, 3, 4]  # what ben marked is still ana's to decide
    assert steps(state, "second") == []
    assert (state.hides((1, 1)), state.seen((1, 1))) == (True, None)
    assert state.shown((1, 1)).by == "default"
    assert (state.tally.marks[""], state.tally.read) == (4, 0)
    assert (state.tally.kept, state.tally.unread) == (3, 2)  # of what is kept ben looked at one
    state.show((1, 1), Mark("accept"), 0)
    assert state.differs((1, 1)) == "ben"  # a person before the judge, who says so too
    assert steps(state, "second") == [1]
    assert not state.verdict((1, 1)).keep  # a rejection stands above an acceptance
    state.show((2, 1), Mark("accept"), 0)
    assert state.differs((2, 1)) == ""
    bens = ReviewState(make_board(made.trajectory, made.texts.__getitem__, SETTINGS, "ben"), "ben")
    assert steps(bens, "unread") == [3, 4]
    assert not ReviewState(board(made), "ana", hide_judge=False).hides((1, 1))


# --- the queue ---------------------------------------------------------------------------------


def test_what_was_decided_is_there_the_newest_first() -> None:
    state = review()
    assert steps(state, "decided") == [6, 8, 7, 4, 3, 2, 1]
    assert state.go((8, 1))
    assert state.spot == Spot("decided", 1)
    spot = state.spot
    state.show((8, 1), Mark("accept"), 0)
    state.advance(spot)
    assert state.key == (7, 1)
    for step in (5, 9, 10, 11):
        state.show((step, 1), Mark("accept"), 0)
    assert steps(state, "recent") == [9, 10, 11]
    assert steps(state, "decided") == [5, 6, 8, 7, 4, 3, 2, 1]  # 8 is there already
    assert all(state.go(row.key) for row in state.board.rows)
    state.show((6, 1), Mark(""), 0)
    assert 6 not in steps(state, "decided")
    assert 6 in steps(state, "unread")


def test_second_look_has_what_was_put_aside_or_is_disputed() -> None:
    state = review()
    assert steps(state, "second") == [2, 3, 4, 7]
    assert [state.differs((step, 1)) for step in (2, 3, 4, 7, 8)] == [
        "",
        "judge",
        "judge",
        "ben",
        "",
    ]
    state.show((3, 1), Mark("reject"), 0)
    assert steps(state, "second") == [2, 4, 7]
    state.show((10, 1), Mark("unsure"), 0)
    assert steps(state, "second") == [2, 4, 7, 10]


def test_after_a_mark_the_cursor_is_on_the_next_unread() -> None:
    state = review()
    assert state.key == (5, 1)
    state.move(2)
    spot = state.spot
    state.show((10, 1), Mark("accept"), 0)
    state.advance(spot)
    assert state.key == (11, 1)
    state.go((17, 1))
    spot = state.spot
    state.show((17, 1), Mark("accept"), 0)
    state.advance(spot)
    assert state.key == (5, 1)  # around the end, to what was passed over
    assert steps(state, "recent") == [10, 17]


def test_marking_in_second_look_goes_on_there() -> None:
    state = review()
    state.go((3, 1), "second")
    for kind, following in [("reject", 4), ("unsure", 7)]:
        place, spot = state.key, state.spot
        assert place is not None
        state.show(place, Mark(kind), 0)  # type: ignore[arg-type]
        state.advance(spot)
        assert state.key == (following, 1)
        assert state.spot.section == "second"


def test_the_cursor_stays_on_its_action_while_others_are_marked() -> None:
    state = review()
    state.go((11, 1))
    for step in (5, 9, 15):
        state.show((step, 1), Mark("unsure"), 0)
        assert state.key == (11, 1)
    state.go((9, 1), "recent")
    state.show((5, 1), Mark("reject"), 0)
    assert state.key == (9, 1)
    state.forget((5, 1), 0)
    assert state.key == (9, 1)


def test_the_queue_ends_and_says_so() -> None:
    state = review()
    for _ in range(30):
        place, spot = state.key, state.spot
        assert place is not None
        state.show(place, Mark("accept"), 0)
        state.advance(spot)
        if not state.size("unread"):
            break
    assert state.size("unread") == 0
    assert state.tally.unread == 0
    assert state.spot.section == "recent"


def test_moving_goes_over_the_borders_of_the_sections() -> None:
    state = review()
    state.move(-1000)
    assert state.spot == Spot("decided", 0)
    assert not state.move(-1)
    assert state.move(state.size("decided") + state.size("second"))
    assert state.spot == Spot("unread", 0)
    state.move(1000)
    assert state.key == (17, 1)
    assert not state.move(1)


def test_landmarks_are_what_something_is_said_of() -> None:
    state = review()
    found = []
    while state.landmark(1):
        found.append(state.key)
    assert [place[0] for place in found if place] == [9, 13, 14, 15, 16]
    back = []
    while state.landmark(-1):
        back.append(state.key)
    assert [place[0] for place in back if place] == [
        *(15, 14, 13, 9, 5),
        *(7, 4, 3, 2),  # second look
        *(1, 2, 3, 4, 7, 8, 6),  # decided, the oldest first on the way up
    ]


def test_orders_of_the_unread() -> None:
    state = review()
    assert steps(state, "unread")[:3] == [5, 9, 10]
    assert state.reorder() == "rule"
    assert steps(state, "unread")[:4] == [5, 16, 13, 14]  # what is only suggested comes first
    assert state.reorder() == "disagreement"
    assert steps(state, "unread")[0] == 15  # masked by the judge, by no rule
    assert state.reorder() == "sample"
    drawn = steps(state, "unread")
    assert sorted(drawn) == sorted(steps(review(), "unread"))
    assert drawn != sorted(drawn)
    state.show(state.key or (0, 0), Mark("accept"), 0)
    assert steps(state, "unread") == drawn[1:]
    assert state.reorder() == "transcript"


def test_a_range_is_taken_in_the_order_of_the_queue() -> None:
    state = review()
    state.go((10, 1))
    state.begin_range()
    state.move(3)
    assert [place[0] for place in state.chosen()] == [10, 11, 12, 13]
    state.move(-5)
    assert [place[0] for place in state.chosen()] == [5, 9, 10]
    state.end_range()
    assert state.chosen() == [(5, 1)]


def test_an_empty_rollout_has_no_cursor() -> None:
    state = ReviewState(board(called("empty")), "ana")
    assert state.key is None
    assert not state.move(1)
    assert not state.landmark(1)
    assert state.chosen() == []
    assert not state.go((1, 1))


def test_judge_against_rules_is_an_order_only_where_a_judge_spoke() -> None:
    made = called("silent")
    made.bash("ls", "one")
    state = ReviewState(board(made), "ana")
    assert [state.reorder() for _ in range(3)] == ["rule", "sample", "transcript"]


def test_a_disagreement_needs_a_judge() -> None:
    made = limo()
    judge(made, (5, True, "fine"))
    without = board(made, FilterSettings())
    assert without.judge is None
    assert without.agreement is None
    assert not any(said.judge for said in without.words.values())


# --- the pace ----------------------------------------------------------------------------------


def test_the_pace_leaves_breaks_out() -> None:
    pace = Pace()
    assert pace.a_minute is None
    for second in (0, 10, 20, 30):
        pace.add(second * SECOND, 1)
    assert pace.a_minute == pytest.approx(6.0)
    pace.add(4000 * SECOND, 1)
    assert pace.a_minute == pytest.approx(6.0)
    pace.add(4010 * SECOND, 1)
    assert pace.a_minute == pytest.approx(6.0)
