from __future__ import annotations

import pytest
from hypothesis import given
from pydantic import ValidationError

from apollo_tui.filter.mask import mask
from apollo_tui.filter.run import FilterSettings, counted, filter_rollout, verdict_events
from apollo_tui.filter.samples import samples
from tests.filter.made import Made, R
from tests.filter.test_mask import every_action, rollouts


@given(rollouts())
def test_every_action_is_counted_once_and_what_is_kept_is_what_trains(made: Made) -> None:
    trajectory = made.trajectory
    verdicts = filter_rollout(trajectory, made.texts.__getitem__, FilterSettings())
    count = counted(R, trajectory, verdicts)
    trained = [
        (one.step, ordinal)
        for sample in samples(R, trajectory.segments)
        for one in mask(sample, verdicts)
        for ordinal, trains in enumerate(one.actions, 1)
        if trains
    ]
    assert count.kept == len(trained)
    assert count.unread == sum(key not in verdicts.read for key in trained)
    masked = sum(count.masked.values())
    assert count.kept + masked + count.outside == len(every_action(trajectory))
    people = {key for key, verdict in verdicts.decided.items() if verdict.by == "human"}
    superseded = {
        (step.number, action.ordinal)
        for segment in trajectory.segments
        for step in segment.steps
        for action in step.actions
        if step.superseded
    }
    assert not (superseded - people) & set(trained)


@given(rollouts())
def test_a_run_stores_each_verdict_that_somebody_gave(made: Made) -> None:
    verdicts = filter_rollout(made.trajectory, made.texts.__getitem__, FilterSettings())
    events = list(verdict_events("run", R, verdicts))
    assert [(event.step, event.ordinal) for event in events] == sorted(verdicts.decided)
    for event in events:
        assert (event.verdict == "keep") == verdicts.keeps(event.step, event.ordinal)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": {"off": ("nix",)}},
        {"rules": {"on": ("polling",)}},
        {"rules": {"repeated_within": 0}},
        {"judge": ""},
        {"judges": "glm"},
    ],
)
def test_a_configuration_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FilterSettings.model_validate(wrong)


def test_a_configuration_comes_back_from_the_log_as_it_was() -> None:
    settings = FilterSettings.model_validate(
        {"rules": {"off": ["polling"], "on": ["length"]}, "judge": "glm", "gate": {"min_score": 5}}
    )
    assert FilterSettings.model_validate(settings.model_dump(mode="json")) == settings
