"""What trains, for rollouts made at random: with several actions a step, advice, new segments that
carry steps over, rewinds, replaced steps, and marks of several people in any order."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from apollo_tui.filter.mask import TurnMask, mask
from apollo_tui.filter.rules import ask_rules
from apollo_tui.filter.samples import Sample, samples
from apollo_tui.filter.verdicts import Verdicts, decide
from apollo_tui.log.events import Marked, RolledBack, StepRegenerated, Unmarked
from apollo_tui.log.trajectory import ActionKey, Trajectory
from apollo_tui.log.types import AssistantMessage, MarkKind, UserMessage
from tests.filter.made import Made, R

MARKS: tuple[MarkKind, ...] = ("reject", "accept", "unsure", "reviewed")


@st.composite
def rollouts(draw: st.DrawFn) -> Made:
    made = Made()
    for _ in range(draw(st.integers(1, 14))):
        match draw(st.sampled_from(["step"] * 6 + ["advise", "segment", "rewind", "retry"])):
            case "advise":
                made.advise(draw(st.sampled_from(["Slower.", "Look at the data."])))
            case "segment":
                kept = draw(st.integers(0, len(made.sent)))
                carried = made.sent[len(made.sent) - kept :]
                made.begin_segment([UserMessage(text="Summary.").model_dump_json(), *carried])
            case "rewind" if made.step_number > 1:
                to = draw(st.integers(1, made.step_number))
                made.tell(RolledBack(rollout=R, to=to))
                made.begin_segment([UserMessage(text="Again.").model_dump_json()])
            case "retry" if made.step_number and not made._starts:
                made.tell(
                    StepRegenerated(rollout=R, step=made.step_number + 1, replaces=made.step_number)
                )
                made.sent = []
                made.bash("again", hint=draw(st.sampled_from([None, "Look first."])))
            case _:
                calls = draw(st.integers(0, 3))
                made.step(
                    *(("bash", {"command": f"run {made.step_number}.{n}"}) for n in range(calls)),
                    thinking=draw(st.sampled_from(["", "Hm."])),
                )
    keys = every_action(made.trajectory)
    for _ in range(draw(st.integers(0, 8)) if keys else 0):
        step, ordinal = draw(st.sampled_from(keys))
        by = draw(st.sampled_from(["ana", "ben"]))
        made.mark(step, draw(st.sampled_from(MARKS)), ordinal=ordinal, by=by)
    return made


def every_action(trajectory: Trajectory) -> list[ActionKey]:
    return [
        (action.step, action.ordinal)
        for segment in trajectory.segments
        for step in segment.steps
        for action in step.actions
    ]


def verdicts_of(made: Made) -> Verdicts:
    found, suggested = ask_rules(made.case())
    return decide(made.trajectory, found, suggested=suggested)


def masks_of(made: Made) -> list[tuple[Sample, tuple[TurnMask, ...]]]:
    verdicts = verdicts_of(made)
    trajectory = made.trajectory
    return [(one, mask(one, verdicts)) for one in samples(R, trajectory.segments)]


def trained(made: Made) -> Counter[ActionKey]:
    return Counter(
        (turn.step, ordinal)
        for _, turns in masks_of(made)
        for turn in turns
        for ordinal, trains in enumerate(turn.actions, 1)
        if trains
    )


@given(rollouts())
@settings(max_examples=150, deadline=None)
def test_only_what_the_model_said_there_trains(made: Made) -> None:
    for sample, turns in masks_of(made):
        positions = [turn.position for turn in turns]
        assert positions == sorted(set(positions))
        for turn, one in zip(sample.turns, turns, strict=True):
            said = AssistantMessage.model_validate_json(made.texts[sample.messages[one.position]])
            assert sample.messages[one.position] == turn.step.message_ref
            assert len(said.actions) == len(one.actions)
            assert one.whole <= one.trains
            assert one.prose <= all(one.actions)
            assert turn.step.number == one.step


@given(rollouts())
@settings(max_examples=150, deadline=None)
def test_every_prompt_of_a_turn_is_what_was_sent(made: Made) -> None:
    """What stands before a turn in its sample is the very list of messages its request held."""
    prompts: dict[int, list[str]] = {}
    for segment in made.trajectory.segments:
        sent: list[str] = []
        for step in segment.steps:
            sent += step.sent
            prompts[step.number] = list(sent)
    for sample, _ in masks_of(made):
        for turn in sample.turns:
            assert list(sample.messages[: turn.position]) == prompts[turn.step.number]


@given(rollouts())
@settings(max_examples=150, deadline=None)
def test_each_action_trains_in_at_most_one_sample(made: Made) -> None:
    assert all(count == 1 for count in trained(made).values())


@given(rollouts())
@settings(max_examples=150, deadline=None)
def test_a_rejected_action_never_trains_and_unmarking_restores_it(made: Made) -> None:
    before = trained(made)
    for key in list(before)[:3]:
        made.mark(key[0], "reject", ordinal=key[1], by="cem")
        assert key not in trained(made)
        rejected = made.events[-1]
        assert isinstance(rejected, Marked)
        made.tell(Unmarked(rollout=R, by="cem", actions=rejected.actions))
    assert trained(made) == before


@given(rollouts(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_the_order_of_marks_matters_only_for_one_person(made: Made, chance: random.Random) -> None:
    """Marks of different people may come in any order; one person's newest mark is what counts."""
    before = verdicts_of(made)
    marks = [event for event in made.events if isinstance(event, Marked)]
    rest = [event for event in made.events if not isinstance(event, Marked)]
    by_person: dict[str | None, list[Marked]] = {}
    for event in marks:
        by_person.setdefault(event.by, []).append(event)
    shuffled: list[Marked] = []
    queues = list(by_person.values())
    while queues:
        queue = chance.choice(queues)
        shuffled.append(queue.pop(0))
        queues = [one for one in queues if one]
    made.events = [*rest, *shuffled]
    after = verdicts_of(made)
    assert after.read == before.read
    assert {key: (one.keep, one.by) for key, one in after.decided.items()} == {
        key: (one.keep, one.by) for key, one in before.decided.items()
    }


def test_thinking_trains_only_with_all_of_its_actions() -> None:
    made = Made()
    made.step(("bash", {"command": "a"}), ("bash", {"command": "b"}), thinking="Both.")
    made.mark(1, "reject", ordinal=2)
    ((_, (turn,)),) = masks_of(made)
    assert (turn.actions, turn.prose, turn.trains, turn.whole) == (
        (True, False),
        False,
        True,
        False,
    )
    made.mark(1, "accept", ordinal=2)
    ((_, (turn,)),) = masks_of(made)
    assert (turn.prose, turn.whole) == (True, True)


def test_a_reply_without_an_action_trains_nothing() -> None:
    made = Made()
    made.step(thinking="Hm.", text="What now?")
    ((_, (turn,)),) = masks_of(made)
    assert not turn.trains
    assert not turn.prose


def test_the_stale_thinking_before_a_rewrite_never_trains() -> None:
    from apollo_tui.log.events import ActionRewritten

    made = Made()
    made.step(("bash", {"command": "rm -r data"}), thinking="Make room.")
    message = AssistantMessage.model_validate_json(made.sent[0])
    safer = replace_command(message, "du -sh data")
    made.tell(
        ActionRewritten(
            rollout=R,
            step=1,
            before_ref=made.keep(made.sent[0]),
            after_ref=made.keep(safer.model_dump_json()),
        )
    )
    verdicts = decide(made.trajectory, ask_rules(made.case(include_rewritten=True))[0])
    (sample,) = samples(R, made.trajectory.segments)
    (turn,) = mask(sample, verdicts)
    assert (turn.actions, turn.prose, turn.whole) == ((True,), False, False)
    assert "du -sh" in made.texts[sample.messages[turn.position]]


def replace_command(message: AssistantMessage, command: str) -> AssistantMessage:
    call = message.actions[0].model_copy(update={"arguments": {"command": command}})
    return message.model_copy(update={"actions": (call,)})
