from __future__ import annotations

import pytest
from hypothesis import given
from pydantic import ValidationError

from apollo_tui.filter.docket import Docket
from apollo_tui.filter.judge import keys
from apollo_tui.filter.mask import mask
from apollo_tui.filter.rules import RuleSettings
from apollo_tui.filter.run import FilterSettings, counted, filter_rollout, verdict_events
from apollo_tui.filter.samples import samples
from apollo_tui.filter.verdicts import Verdicts
from apollo_tui.log.events import ActionRewritten, JudgeAnswered, JudgeWord, RolledBack
from apollo_tui.log.types import AssistantMessage
from tests.filter.made import Made, R
from tests.filter.test_mask import every_action, replace_command, rollouts


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


def judge_all(made: Made, verdict: str) -> None:
    """A judge says the same of every action that it may be asked about now."""
    words = tuple(
        JudgeWord.model_validate({"step": at[0], "ordinal": at[1], "key": key, "verdict": verdict})
        for at, key in keys(Docket(made.trajectory), "glm").items()
    )
    made.tell(JudgeAnswered(rollout=R, run="r", judge="glm", words=words))


def judged(made: Made) -> tuple[Verdicts, int]:
    """The verdicts with the judge, and how many actions it has said nothing of."""
    settings = FilterSettings(judge="glm")
    verdicts = filter_rollout(made.trajectory, made.texts.__getitem__, settings)
    return verdicts, counted(R, made.trajectory, verdicts, "glm").unjudged


def test_a_judge_s_word_does_not_bring_back_what_was_rewound() -> None:
    made = Made()
    for number in range(3):
        made.bash(f"make {number}")
    judge_all(made, "keep")
    made.tell(RolledBack(rollout=R, to=1))
    verdicts, unjudged = judged(made)
    assert [verdicts.of(step, 1).rule for step in (1, 2, 3)] == ["glm", "overridden", "overridden"]
    assert unjudged == 0


def test_a_judge_s_word_counts_only_for_what_it_was_shown() -> None:
    made = Made()
    made.bash("make")
    judge_all(made, "mask")
    assert not judged(made)[0].keeps(1, 1)
    made.advise("That was the right thing to do.")
    made.bash("ls")
    verdicts, unjudged = judged(made)
    assert verdicts.of(1, 1).by == "default"
    assert unjudged == 2
    judge_all(made, "mask")
    assert judged(made)[1] == 0


def test_a_mark_on_what_was_rewritten_is_no_mark_on_the_rewrite() -> None:
    made = Made()
    made.bash("rm -r data")
    made.mark(1, "reject")
    message = AssistantMessage.model_validate_json(made.sent[0])
    made.tell(
        ActionRewritten(
            rollout=R,
            step=1,
            before_ref=made.keep(made.sent[0]),
            after_ref=made.keep(replace_command(message, "du -sh data").model_dump_json()),
        )
    )
    settings = FilterSettings(rules=RuleSettings(include_rewritten=True))
    verdicts = filter_rollout(made.trajectory, made.texts.__getitem__, settings)
    assert verdicts.keeps(1, 1)
    assert not verdicts.read
    made.mark(1, "reject")
    assert not filter_rollout(made.trajectory, made.texts.__getitem__, settings).keeps(1, 1)
