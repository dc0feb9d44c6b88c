from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apollo_tui.log.events import (
    ActionFinished,
    ActionRef,
    ActionSummary,
    AdviceDelivered,
    AdviceQueued,
    EvaluationFinished,
    Event,
    Marked,
    RequestSent,
    RolledBack,
    RolloutCreated,
    StepCompleted,
    Unmarked,
)
from apollo_tui.log.trajectory import Segment, TrajectoryBuilder, fold
from tests.log.histories import ROLLOUTS, SPEC, any_history

R = ROLLOUTS[0]


def numbered(history: list[Event]) -> list[tuple[int, Event]]:
    return list(enumerate((event for event in history if event.rollout == R), 1))


@given(any_history, st.lists(st.integers(0, 40), max_size=4))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_folding_piecewise_equals_folding_at_once(history: list[Event], cuts: list[int]) -> None:
    events = numbered(history)
    builder = TrajectoryBuilder()
    taken: list[Segment] = []
    for seq, event in events:
        builder.add(seq, event)
        if seq in cuts:
            taken += builder.take_segments()
    rest = builder.finish()
    whole = fold(events)
    late = builder.superseded
    segments = [
        replace(
            segment,
            steps=tuple(
                step._replace(superseded=step.superseded or step.number in late)
                for step in segment.steps
            ),
        )
        for segment in (*taken, *rest.segments)
    ]
    assert replace(rest, segments=()) == replace(whole, segments=())
    assert [len(segment.steps) for segment in segments] == [
        len(segment.steps) for segment in whole.segments
    ]
    if not any(isinstance(event, RolledBack) for _, event in events):
        assert tuple(segments) == whole.segments


def step(number: int, *tools: str) -> StepCompleted:
    return StepCompleted(
        rollout=R,
        step=number,
        message_ref=str(number) * 32,
        model="m",
        actions=tuple(ActionSummary(tool=tool, call_id=tool, arguments="") for tool in tools),
    )


def request(segment: int, *added: str, starts: bool = False) -> RequestSent:
    return RequestSent(
        rollout=R, step=1, segment=segment, model="m", added=added, starts_segment=starts
    )


def test_what_a_trajectory_holds() -> None:
    trajectory = fold(
        enumerate(
            [
                RolloutCreated(rollout=R, spec=SPEC),
                request(1, "a", starts=True),
                step(1, "bash", "think"),
                ActionFinished(
                    rollout=R, step=1, ordinal=2, disposition="completed", observation_ref="o"
                ),
                AdviceQueued(rollout=R, advice=1, text="Slower.", by="ana"),
                AdviceDelivered(rollout=R, step=2, advice=1),
                step(2, "bash"),
                step(3, "bash"),
                RolledBack(rollout=R, to=2),
                request(2, "b", starts=True),
                step(4, "finish"),
                Marked(rollout=R, by="ana", actions=(ActionRef(step=1),), mark="reject"),
                Marked(rollout=R, by="ben", actions=(ActionRef(step=1),), mark="accept"),
                Marked(rollout=R, by="ana", actions=(ActionRef(step=2),), mark="unsure"),
                Unmarked(rollout=R, by="ana", actions=(ActionRef(step=2),)),
                EvaluationFinished(rollout=R, submission=1, step=4, score=40.0),
                EvaluationFinished(rollout=R, submission=2, step=4, score=31.0, final=True),
            ],
            1,
        )
    )
    first, second = trajectory.segments
    assert (first.number, first.steps[0].sent, second.number) == (1, ("a",), 2)
    assert [(one.number, one.superseded) for one in first.steps] == [
        (1, False),
        (2, False),
        (3, True),
    ]
    assert first.steps[1].advice == (1,)
    assert [action.disposition for action in first.steps[0].actions] == [None, "completed"]
    assert trajectory.advice[0].delivered_step == 2
    assert trajectory.score == 40.0
    ((key, made),) = trajectory.marks
    assert key == (1, 1)
    assert [(mark.annotator, mark.mark) for mark in made] == [("ana", "reject"), ("ben", "accept")]
