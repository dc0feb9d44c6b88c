from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.errors import ReplyBroken
from apollo_tui.filter.docket import ADVICE_WITHIN, RECENT, Batch, Docket, batches, judgeable
from apollo_tui.filter.judge import ANSWER_TOOL, keys, prompt, read_reply, shortened
from apollo_tui.log.events import RolledBack
from apollo_tui.log.trajectory import ActionKey
from apollo_tui.log.types import AssistantMessage, ToolCall
from tests.filter.made import Made, R
from tests.filter.test_mask import rollouts


def all_batches(made: Made, size: int = 8, judge: str = "glm") -> list[Batch]:
    docket = Docket(made.trajectory)
    key_of = keys(docket, judge)
    return list(batches(docket, key_of, key_of, size))


def key_of(made: Made, step: int, ordinal: int = 1, judge: str = "glm") -> str:
    return keys(Docket(made.trajectory), judge)[step, ordinal]


def question(made: Made, batch: Batch, fault: str = "") -> str:
    texts = {ref: made.texts[ref] for ref in batch.refs()}  # these and no others are read
    (message,) = prompt(batch, texts.__getitem__, fault).messages
    assert message.role == "user"
    return message.text


def reply(*verdicts: dict[str, Any], tool: str = ANSWER_TOOL.name, **call: Any) -> AssistantMessage:
    arguments = {"verdicts": list(verdicts)}
    return AssistantMessage(
        actions=(ToolCall(**{"id": "1", "tool": tool, "arguments": arguments, **call}),)
    )


# --- what is asked -----------------------------------------------------------------------------


@given(rollouts(), st.integers(1, 9), st.data())
def test_each_action_is_asked_once_under_a_key_that_no_batch_changes(
    made: Made, size: int, data: st.DataObject
) -> None:
    docket = Docket(made.trajectory)
    expected = keys(docket, "glm")
    assert list(expected) == [(one.step, one.ordinal) for one in judgeable(made.trajectory)]
    ask = set(data.draw(st.lists(st.sampled_from(list(expected))))) if expected else set()
    asked: list[tuple[ActionKey, str]] = []
    for batch in batches(docket, expected, ask, size):
        assert 1 <= len(batch.actions) <= size
        asked += [(one.at, key) for one, key in batch.actions]
        question(made, batch)
    assert asked == [(at, key) for at, key in expected.items() if at in ask]


@given(rollouts(), st.integers(1, 9))
def test_what_a_key_stands_for_is_shown_in_any_batch(made: Made, size: int) -> None:
    docket = Docket(made.trajectory)
    for batch in all_batches(made, size):
        for one, _ in batch.actions:
            before = docket.lines[max(0, one.place - RECENT) : one.place]
            assert set(before) <= set(batch.before)
            assert {docket.advice[place] for place in one.advice} <= set(batch.advice)


def test_only_what_was_carried_out_on_the_active_path_is_asked_about() -> None:
    made = Made()
    made.bash("kept")
    made.bash("bad call", result={"disposition": "invalid"})
    made.bash("cut off", result={"disposition": "interrupted", "synthetic": True})
    made.bash("failed", result={"disposition": "failed"})
    made.bash("rewound")
    made.tell(RolledBack(rollout=R, to=4))
    assert [action.step for action in judgeable(made.trajectory)] == [1, 4]
    lines = Docket(made.trajectory).lines
    assert len(lines) == 4  # all of the active path leads to what comes after it
    assert lines[3].endswith("-> failed")


def made_run(**differs: Any) -> Made:
    made = Made()
    for number in range(differs.get("before", 3)):
        made.bash(f"before {number}", observation=differs.get("outcome", "fine"))
    made.bash(
        differs.get("command", "train"),
        observation=differs.get("observation", "loss 1"),
        thinking=differs.get("thinking", "Let us see."),
        result={"exit_code": differs.get("exit_code", 0)},
    )
    return made


@pytest.mark.parametrize(
    "differs",
    [
        {"command": "train --fast"},
        {"observation": "loss 2"},
        {"thinking": "Quick."},
        {"exit_code": 1},
    ],
)
def test_another_action_or_observation_has_another_key(differs: dict[str, Any]) -> None:
    assert key_of(made_run(), 4) == key_of(made_run(), 4)
    assert key_of(made_run(**differs), 4) != key_of(made_run(), 4)


def test_the_judge_the_task_and_what_came_before_are_part_of_the_key() -> None:
    made = made_run()
    assert key_of(made, 4, judge="other") != key_of(made, 4)
    other_before = Made()
    for number in range(3):
        other_before.bash(f"otherwise {number}")
    other_before.bash(
        "train", observation="loss 1", thinking="Let us see.", result={"exit_code": 0}
    )
    assert key_of(other_before, 4) != key_of(made, 4)


def test_advice_that_comes_soon_after_asks_anew_and_what_comes_later_does_not() -> None:
    made = made_run()
    before = key_of(made, 4)
    made.bash("further")
    assert key_of(made, 4) == before
    made.advise("Do not train before you looked at the data.")
    made.bash("look")
    after = key_of(made, 4)
    assert after != before
    for _ in range(ADVICE_WITHIN):
        made.bash("more")
    made.advise("Far too late for step 4.")
    made.bash("more")
    assert key_of(made, 4) == after


def test_the_question_shows_task_steps_advice_and_the_action() -> None:
    made = Made()
    made.step(
        ("bash", {"command": "wc -l data.csv"}),
        ("bash", {"command": "train --epochs 900"}),
        observations=["812 data.csv", "x" * 9000 + "the end"],
        thinking="A long run is better.",
        result={"exit_code": 137},
    )
    made.advise("It ran out of memory: smaller batches.")
    made.bash("train --batch 8")
    (batch,) = all_batches(made)
    asked = question(made, batch)
    assert "<task>\nMake it.\n</task>" in asked
    assert "1.1 bash wc -l data.csv -> exit code 137" in asked
    assert "before step 2: It ran out of memory: smaller batches." in asked
    assert "  the operator: It ran out of memory" in asked
    assert asked.count("A long run is better.") == 1
    assert '<action step="1" ordinal="2" tool="bash">' in asked
    assert '{"command": "train --epochs 900"}' in asked
    assert "[… 6,007 characters left out …]" in asked
    assert "the end" in asked
    assert "could not be used" not in asked
    again = question(made, batch, "it has no verdict on action 1.2")
    assert "could not be used: it has no verdict on action 1.2" in again


def test_a_gap_between_actions_is_said() -> None:
    made = Made()
    for number in range(40):
        made.bash(f"run {number}")
    docket = Docket(made.trajectory)
    (batch,) = batches(docket, keys(docket, "glm"), {(1, 1), (40, 1)})
    assert len(batch.before) == RECENT + 1
    assert batch.before[0] == "  [… 27 earlier lines left out …]"


@given(st.text(max_size=80), st.integers(1, 60))
def test_what_is_shortened_says_how_much_is_missing(text: str, length: int) -> None:
    short = shortened(text, length)
    if len(text) <= length:
        assert short == text
    else:
        head, _, rest = short.partition("\n[… ")
        count, _, tail = rest.partition(" characters left out …]\n")
        assert text.startswith(head)
        assert text.endswith(tail)
        assert len(head) + int(count.replace(",", "")) + len(tail) == len(text)


def test_the_answer_is_asked_for_with_a_schema_of_its_own() -> None:
    assert ANSWER_TOOL.parameters["additionalProperties"] is False
    verdict = ANSWER_TOOL.parameters["$defs"]["JudgeVerdict"]
    assert verdict["properties"]["verdict"]["enum"] == ["keep", "mask"]
    assert {"step", "ordinal", "verdict", "why"} == set(verdict["required"])
    json.dumps(ANSWER_TOOL.parameters)


# --- what is answered --------------------------------------------------------------------------


def two_actions() -> Batch:
    made = Made()
    made.bash("first")
    made.bash("second")
    (batch,) = all_batches(made)
    return batch


KEEP: dict[str, Any] = {"step": 1, "ordinal": 1, "verdict": "keep", "why": "It looks."}
MASK: dict[str, Any] = {
    "step": 2,
    "ordinal": 1,
    "verdict": "mask",
    "fault": "no-progress",
    "why": "It did\n so before.",
}


def test_a_reply_is_read_in_the_order_of_the_batch() -> None:
    batch = two_actions()
    words = read_reply(batch, reply(MASK, KEEP))
    assert [(word.step, word.verdict, word.why) for word in words] == [
        (1, "keep", "It looks."),
        (2, "mask", "no-progress: It did so before."),
    ]
    assert [word.key for word in words] == [key for _, key in batch.actions]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (AssistantMessage(text="All fine."), "must call give_verdicts once"),
        (reply(KEEP, MASK, tool="bash"), "must call give_verdicts once"),
        (
            AssistantMessage(actions=(*reply(KEEP).actions, *reply(MASK).actions)),
            "must call give_verdicts once",
        ),
        (reply(malformed="{verdicts"), "no JSON object"),
        (reply(KEEP), "no verdict on action 2.1"),
        (reply(KEEP, MASK, MASK), "two verdicts on one action"),
        (reply(KEEP, MASK, {**KEEP, "step": 9}), "action 9.1, which was not asked about"),
        (reply(KEEP, {**MASK, "verdict": "maybe"}), "verdicts.1.verdict"),
        (reply(KEEP, {**MASK, "step": "2"}), "verdicts.1.step"),
        (reply(KEEP, {**MASK, "why": ""}), "verdicts.1.why"),
        (reply(KEEP, {**MASK, "fault": "ugly"}), "verdicts.1.fault"),
        (reply(KEEP, {**MASK, "sure": 0.9}), "verdicts.1.sure"),
        (reply(arguments={"verdicts": {}}), "verdicts"),
        (reply(arguments={}), "verdicts"),
    ],
)
def test_a_reply_that_does_not_fit_is_refused_and_says_why(
    message: AssistantMessage, why: str
) -> None:
    with pytest.raises(ReplyBroken, match=why):
        read_reply(two_actions(), message)


@given(rollouts(), st.data())
def test_any_reply_that_fits_gives_its_words(made: Made, data: st.DataObject) -> None:
    for batch in all_batches(made):
        verdicts = {
            one.at: data.draw(st.sampled_from(["keep", "mask"])) for one, _ in batch.actions
        }
        said = [
            {"step": at[0], "ordinal": at[1], "verdict": verdict, "why": "so"}
            for at, verdict in data.draw(st.permutations(list(verdicts.items())))
        ]
        words = read_reply(batch, reply(*said))
        assert {(word.step, word.ordinal): word.verdict for word in words} == verdicts
