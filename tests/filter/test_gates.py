from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from apollo_tui.filter.gates import GateSettings, closed_gate, score_at_fork
from apollo_tui.log.events import EvaluationFinished, RolloutCreated
from apollo_tui.log.trajectory import Trajectory, fold
from tests.filter.made import Made, R

scores = st.integers(0, 100).map(float)


def scored(*given: float | None, tags: tuple[str, ...] = ()) -> Trajectory:
    made = Made()
    created = made.events[0]
    assert isinstance(created, RolloutCreated)
    spec = created.spec.model_copy(update={"tags": tags})
    made.events[0] = created.model_copy(update={"spec": spec})
    for number, score in enumerate(given, 1):
        made.bash("work")
        made.tell(EvaluationFinished(rollout=R, submission=number, step=number, score=score))
    return fold(enumerate(made.events, 1))


def test_without_settings_every_rollout_passes() -> None:
    assert closed_gate(scored(), GateSettings()) == ""


@given(scores, scores)
def test_a_score_passes_from_the_minimum_on(score: float, least: float) -> None:
    closed = closed_gate(scored(score), GateSettings(min_score=least))
    assert (closed == "") == (score >= least)


def test_the_best_score_counts_and_none_is_none() -> None:
    gate = GateSettings(min_score=50)
    assert closed_gate(scored(10.0, 70.0, None, 30.0), gate) == ""
    assert closed_gate(scored(None), gate) == "has no score"
    assert closed_gate(scored(10.0), gate) == "scored 10, less than 50"


@given(scores, scores, scores)
def test_a_gain_is_counted_from_the_parents_score_or_the_baseline(
    score: float, before: float, gain: float
) -> None:
    from_parent = closed_gate(scored(score), GateSettings(min_gain=gain), before)
    from_baseline = closed_gate(
        scored(score), GateSettings(min_gain=gain, baseline=before), parent_score=-1000
    )
    assert (from_parent == "") == (from_baseline == "") == (score - before >= gain)


def test_a_gain_over_nothing_is_no_gain() -> None:
    assert "nothing to compare" in closed_gate(scored(90.0), GateSettings(min_gain=0))
    assert closed_gate(scored(), GateSettings(min_gain=0), 5.0) == "has no score"
    short = closed_gate(scored(7.0), GateSettings(min_gain=5), 5.0)
    assert short == "gained 2 over 5 of its parent at the fork, less than 5"


def test_one_of_the_tags_is_enough() -> None:
    gate = GateSettings(tags=("night", "good"))
    assert closed_gate(scored(tags=("good", "x")), gate) == ""
    assert closed_gate(scored(tags=("x",)), gate) == "has none of the tags night, good"
    assert closed_gate(fold([]), gate) == "has none of the tags night, good"


def test_the_parents_score_is_its_best_up_to_the_fork() -> None:
    of_parent = [(10, 40.0), (20, None), (30, 60.0), (40, 90.0)]
    assert score_at_fork(of_parent, 30) == 60.0
    assert score_at_fork(of_parent, 29) == 40.0
    assert score_at_fork(of_parent, 9) is None
    assert score_at_fork(of_parent, None) is None


@pytest.mark.parametrize(
    "wrong",
    [{"baseline": 3.0}, {"min_score": float("nan")}, {"min_gain": float("inf")}, {"least": 1}],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        GateSettings.model_validate(wrong)
