from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.filter.agreement import (
    Agreement,
    agreement,
    judge_with_people,
    stored_agreement,
    to_store,
)
from apollo_tui.filter.docket import Docket
from apollo_tui.filter.judge import keys
from apollo_tui.log.events import JudgeAnswered, JudgeWord
from tests.filter.made import Made, R

tables = st.builds(Agreement, *(st.integers(0, 40) for _ in range(4)))


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        (Agreement(20, 5, 10, 15), 0.4),  # agree on 0.7, 0.5 by chance
        (Agreement(45, 15, 25, 15), 6 / 46),  # agree on 0.6, 0.54 by chance
        (Agreement(10, 0, 0, 10), 1.0),
        (Agreement(0, 10, 10, 0), -1.0),
        (Agreement(25, 25, 25, 25), 0.0),
    ],
)
def test_kappa_of_tables_worked_by_hand(table: Agreement, kappa: float) -> None:
    assert table.kappa == pytest.approx(kappa)
    assert table.undefined == ""


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (Agreement(), "no action"),
        (Agreement(both_keep=7), "kept every"),
        (Agreement(both_mask=7), "masked every"),
    ],
)
def test_where_there_is_no_kappa_it_says_why(table: Agreement, why: str) -> None:
    assert table.kappa is None
    assert why in table.undefined


@given(tables)
def test_kappa_is_cohens_for_any_table(table: Agreement) -> None:
    cells = (table.both_keep, table.first_keeps, table.second_keeps, table.both_mask)
    count = sum(cells)
    first, second = cells[0] + cells[1], cells[0] + cells[2]
    chance = Fraction(first * second + (count - first) * (count - second), count**2) if count else 1
    if chance == 1:
        assert table.kappa is None
        assert table.undefined
        return
    expected = (Fraction(cells[0] + cells[3], count) - chance) / (1 - chance)
    assert table.kappa == pytest.approx(float(expected))
    swapped = Agreement(cells[0], cells[2], cells[1], cells[3])
    assert swapped.kappa == pytest.approx(table.kappa)


@given(st.lists(tables, max_size=4))
def test_tables_of_several_rollouts_add_up(several: list[Agreement]) -> None:
    whole = stored_agreement(to_store(table) for table in several)
    assert whole.compared == sum(table.compared for table in several)
    assert whole.first_keeps == sum(table.first_keeps for table in several)
    assert whole.second_keeps == sum(table.second_keeps for table in several)


def judged(made: Made, judge: str, **verdicts: str) -> None:
    key_of = keys(Docket(made.trajectory), judge)
    words = tuple(
        JudgeWord.model_validate(
            {"step": step, "ordinal": 1, "key": key_of[step, 1], "verdict": verdict}
        )
        for step, verdict in ((int(name[1:]), verdict) for name, verdict in verdicts.items())
    )
    made.tell(JudgeAnswered(rollout=R, run="r", judge=judge, words=words))


def test_the_judge_is_compared_with_the_marks_that_stand() -> None:
    made = Made()
    for number in range(6):
        made.bash(f"run {number}")
    judged(made, "glm", s1="keep", s2="mask", s3="keep", s4="mask", s5="mask", s6="keep")
    judged(made, "other", s1="mask")
    made.mark(1, "accept")
    made.mark(2, "accept")
    made.mark(2, "reject", by="ben")  # a rejection stands before an acceptance
    made.mark(3, "reject")
    made.mark(4, "unsure")
    made.mark(5, "reviewed")
    assert agreement(judge_with_people(made.trajectory, "glm")) == Agreement(1, 1, 0, 1)
    assert agreement(judge_with_people(made.trajectory, "other")) == Agreement(second_keeps=1)
    assert agreement(judge_with_people(made.trajectory, "nobody")).kappa is None
