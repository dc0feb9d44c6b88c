from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apollo_tui.errors import ExportError, LogCorrupt
from apollo_tui.filter.export import Row
from apollo_tui.filter.export.chat import FLAGS, Chat
from apollo_tui.filter.export.chat_messages import ChatMessage
from apollo_tui.filter.export.rewritten import ONLY_TOKENS
from apollo_tui.filter.export.source import Source
from apollo_tui.filter.export.tally import Tally
from apollo_tui.filter.export.turns import Turns
from apollo_tui.filter.export.unchecked import UNCHECKED, hides_thinking
from apollo_tui.filter.rules import RuleSettings
from apollo_tui.filter.run import FilterSettings
from apollo_tui.log.events import ActionRewritten
from apollo_tui.log.read import History
from apollo_tui.log.types import AssistantMessage, ToolCall, ToolMessage
from tests.filter.made import Made, R
from tests.filter.stored import RUN, only_rollout, write


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Any]:
    """Write rollouts to a log of their own and open it: `await opened(made, …)`."""
    histories: list[History] = []

    async def open_log(*made: Made, **more: Any) -> History:
        database = tmp_path / f"{len(histories)}.db"
        await write(database, *made, **more)
        histories.append(History(database))
        return histories[-1]

    yield open_log
    for history in histories:
        history.close()


def flags(message: ChatMessage) -> Row:
    return {name: message[name] for name in FLAGS[True] if name in message}


async def test_a_row_is_the_segment_as_it_was_sent_with_four_flags(opened: Any) -> None:
    made = Made()
    made.bash("ls", "a.txt", thinking="Look first.")
    made.advise("Be quick.")
    made.bash("rm -r /", "no")
    made.mark(2, "reject")
    rollout = only_rollout(await opened(made))
    (row,) = Chat().rows(rollout)
    roles = [message["role"] for message in row["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user", "assistant"]
    assert [message.get("content") for message in row["messages"]] == [
        "Be careful.",
        "Make it.",
        "",
        "a.txt",
        "Be quick.",
        "",
    ]
    first, second = row["messages"][2], row["messages"][5]
    assert first["reasoning_content"] == "Look first."
    assert first["tool_calls"][0]["function"] == {"name": "bash", "arguments": {"command": "ls"}}
    assert flags(first) == {"train": True, "loss": True, "weight": 1, "step_loss_mask": 1}
    assert flags(second) == {"train": False, "loss": False, "weight": 0, "step_loss_mask": 0}
    assert not any(flags(message) for message in row["messages"] if message["role"] != "assistant")
    assert row["meta"]["trained"] == [[1, 1]]
    assert (row["meta"]["steps"], row["meta"]["segment"]) == ([1, 2], 1)
    assert row["meta"]["filter_run"] == RUN


async def test_a_reply_with_one_masked_action_of_two_does_not_train(opened: Any) -> None:
    made = Made()
    made.step(("bash", {"command": "a"}), ("bash", {"command": "b"}))
    made.bash("c")
    made.mark(1, "reject", ordinal=2)
    rollout = only_rollout(await opened(made))
    (row,) = Chat().rows(rollout)
    assert [message["train"] for message in row["messages"] if "train" in message] == [False, True]
    assert row["meta"]["trained"] == [[2, 1]]
    assert [turn["meta"]["trained"] for turn in Turns().rows(rollout)] == [[[2, 1]]]


async def test_carried_over_replies_are_context_and_segments_without_training_are_counted(
    opened: Any,
) -> None:
    made = Made()
    made.bash("one")
    carried = list(made.sent)
    made.begin_segment(
        [json.dumps({"role": "user", "text": "Make it.", "source": "task"}), *carried]
    )
    made.bash("two")
    made.begin_segment([json.dumps({"role": "user", "text": "Again.", "source": "task"})])
    made.bash("three")
    made.mark(3, "reject")
    rollout = only_rollout(await opened(made))
    rows = list(Chat().rows(rollout))
    trained = [
        [message["train"] for message in row["messages"] if "train" in message] for row in rows
    ]
    assert trained == [[True], [False, True]]
    assert [row["meta"]["trained"] for row in rows] == [[[1, 1]], [[2, 1]]]
    assert rollout.reasons == {"segments in which no reply trains": 1}


class FreshAfterAdvice:
    """A template like GLM's: thinking is shown only after the last user message."""

    def render(self, messages: Any, tools: Any, *, add_generation_prompt: bool) -> str:
        last = max(at for at, message in enumerate(messages) if message["role"] == "user")
        said = [
            f"<{message['role']}>{message.get('reasoning_content', '') if at > last else ''}|"
            f"{message['content']}{json.dumps(message.get('tool_calls', []))}"
            for at, message in enumerate(messages)
        ]
        return "".join(said) + ("<assistant>" if add_generation_prompt else "")


async def test_a_template_that_changes_the_past_cuts_the_segment(opened: Any) -> None:
    made = Made()
    made.bash("one", thinking="first")
    made.bash("two", thinking="second")
    made.advise("Stop.")
    made.bash("three", thinking="third")
    rollout = only_rollout(await opened(made))
    (whole,) = Chat().rows(rollout)
    pieces = list(Chat(FreshAfterAdvice()).rows(rollout))
    assert [row["meta"]["trained"] for row in pieces] == [[[1, 1], [2, 1]], [[3, 1]]]
    assert [len(row["messages"]) for row in pieces] == [5, len(whole["messages"])]
    assert [message["train"] for message in pieces[1]["messages"] if "train" in message] == [
        False,
        False,
        True,
    ]


SAID = st.sampled_from(["user", "tool", "says", "thinks"])


@given(told=st.lists(st.tuples(SAID, st.booleans()), max_size=9))
def test_thinking_is_hidden_where_a_reply_that_trains_is_shown_otherwise_in_the_end(
    told: list[tuple[str, bool]],
) -> None:
    messages: list[ChatMessage] = [{"role": "user", "content": "Make it."}]
    training = set()
    for said, trains in told:
        if said in ("says", "thinks"):
            thinking = {"reasoning_content": "hm"} if said == "thinks" else {}
            training |= {len(messages)} if trains else set()
            messages.append({"role": "assistant", "content": "", **thinking})
        else:
            messages.append({"role": said, "content": "so"})
    render = FreshAfterAdvice().render
    shown = render(messages, [], add_generation_prompt=False)
    assert hides_thinking(messages, training) == any(
        not shown.startswith(render(messages[: place + 1], [], add_generation_prompt=False))
        for place in training
    )


@pytest.mark.parametrize(("thinking", "count"), [("first", 1), ("", 0)])
async def test_without_a_template_it_is_said_how_many_samples_nobody_checked(
    opened: Any, thinking: str, count: int
) -> None:
    made = Made()
    made.bash("one", thinking=thinking)
    made.advise("Stop.")
    made.bash("two", thinking=thinking)
    history = await opened(made)
    rollout = only_rollout(history)
    list(Chat().rows(rollout))
    assert rollout.notes == {UNCHECKED: count}
    checked = only_rollout(history)
    list(Chat(FreshAfterAdvice()).rows(checked))
    assert not checked.notes


class Forgetful(FreshAfterAdvice):
    """Renders a reply in a way that its prompt is no beginning of."""

    def render(self, messages: Any, tools: Any, *, add_generation_prompt: bool) -> str:
        return f"{len(messages)}" + super().render(
            messages, tools, add_generation_prompt=add_generation_prompt
        )


async def test_a_reply_that_no_row_can_hold_is_counted(opened: Any) -> None:
    made = Made()
    made.bash("one")
    made.bash("two")
    made.mark(2, "reject")
    rollout = only_rollout(await opened(made))
    assert list(Chat(Forgetful()).rows(rollout)) == []
    assert sum(rollout.reasons.values()) == 1


class Refusing(FreshAfterAdvice):
    def render(self, messages: Any, tools: Any, *, add_generation_prompt: bool) -> str:
        raise ExportError("the template says: no tools here")


async def test_a_template_that_refuses_is_said_with_the_place(opened: Any) -> None:
    made = Made()
    made.bash("one")
    rollout = only_rollout(await opened(made))
    with pytest.raises(ExportError, match="made, segment 1: the template says: no tools here"):
        list(Chat(Refusing()).rows(rollout))


async def test_turns_hold_the_history_and_one_reply(opened: Any) -> None:
    made = Made()
    for command in ("a", "b", "c"):
        made.bash(command)
    made.mark(2, "reject")
    rollout = only_rollout(await opened(made))
    (whole,) = Chat().rows(rollout)
    rows = list(Turns().rows(rollout))
    plain = [
        {name: value for name, value in message.items() if name not in FLAGS[True]}
        for message in whole["messages"]
    ]
    assert [row["meta"]["steps"] for row in rows] == [[1, 1], [3, 3]]
    assert [row["prompt"] for row in rows] == [plain[:2], plain[:6]]
    assert [row["completion"] for row in rows] == [[plain[2]], [plain[6]]]
    written = sum(len(json.dumps(row)) for row in rows)
    assert 0.3 * written < Turns().bytes_of(rollout) < 1.2 * written


async def test_a_damaged_text_is_named(opened: Any, tmp_path: Path) -> None:
    import sqlite3

    made = Made()
    made.bash("one", "an observation")
    made.bash("two")
    history = await opened(made)
    ref = only_rollout(history).trajectory.segments[0].steps[0].message_ref
    with sqlite3.connect(tmp_path / "0.db") as db:
        (data,) = db.execute("SELECT data FROM texts WHERE hash = ?", (ref,)).fetchone()
        db.execute("UPDATE texts SET data = ? WHERE hash = ?", (data[:-4] + b"\0\0\0\0", ref))
    db.close()
    with pytest.raises(LogCorrupt, match=f"the text {ref} is damaged"):
        list(Chat().rows(only_rollout(history)))


calls = st.lists(st.sampled_from(["ls", "cat a", "make", "vi b"]), min_size=1, max_size=3)


@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    steps=st.lists(calls, min_size=1, max_size=5),
    marks=st.lists(
        st.tuples(
            st.integers(1, 5), st.integers(1, 3), st.sampled_from(["reject", "accept", "reviewed"])
        ),
        max_size=6,
    ),
    cuts=st.sets(st.integers(2, 5), max_size=2),
    reviewed_only=st.booleans(),
)
async def test_only_replies_that_are_kept_as_a_whole_train_and_each_in_one_row(
    opened: Any,
    steps: list[list[str]],
    marks: list[tuple[int, int, Any]],
    cuts: set[int],
    reviewed_only: bool,
) -> None:
    made = Made()
    for number, commands in enumerate(steps, 1):
        if number in cuts:
            made.begin_segment([*made.sent])
        made.step(*[("bash", {"command": command}) for command in commands])
    marks = [mark for mark in marks if mark[0] <= len(steps) and mark[1] <= len(steps[mark[0] - 1])]
    for step, ordinal, mark in marks:
        made.mark(step, mark, ordinal=ordinal)
    history = await opened(made)
    source = Source(history, history.filter_run(RUN), reviewed_only=reviewed_only)
    (rollout,) = source.rollouts()
    last = {(step, ordinal): mark for step, ordinal, mark in marks}
    whole = [
        number
        for number, commands in enumerate(steps, 1)
        if all(rollout.verdicts.keeps(number, ordinal) for ordinal in range(1, len(commands) + 1))
    ]
    if reviewed_only:
        assert all(
            last.get((number, ordinal)) in ("accept", "reviewed")
            for number in whole
            for ordinal in range(1, len(steps[number - 1]) + 1)
        )
    assert not {step for (step, _), mark in last.items() if mark == "reject"} & set(whole)
    rows = list(Chat().rows(rollout))
    trained = [step for row in rows for step, _ in row["meta"]["trained"]]
    assert sorted(set(trained)) == whole
    assert len(trained) == sum(len(steps[number - 1]) for number in whole)
    for row in rows:
        said = [message for message in row["messages"] if message.get("train")]
        ids = [[int(call["id"].split("-")[0][1:]) for call in one["tool_calls"]] for one in said]
        assert {number for one in ids for number in one} == {
            step for step, _ in row["meta"]["trained"]
        }
    assert sorted(row["meta"]["steps"][0] for row in Turns().rows(rollout)) == whole


def rewrite(made: Made, *commands: str) -> None:
    """Change the newest reply's calls before it goes on."""
    before, step = made.sent[0], made.step_number
    said = AssistantMessage.model_validate_json(before)
    calls = [
        ToolCall(id=f"c{step}-{ordinal}", tool="bash", arguments={"command": command})
        for ordinal, command in enumerate(commands, 1)
    ]
    after = said.model_copy(update={"actions": tuple(calls)}).model_dump_json()
    refs = {"before_ref": made.keep(before), "after_ref": made.keep(after)}
    made.tell(ActionRewritten(rollout=R, step=step, ordinal=1, **refs))
    answers = [ToolMessage(call_id=call.id, tool="bash", text="done") for call in calls]
    made.sent = [after, *(one.model_dump_json() for one in answers)]


REWRITTEN = FilterSettings(rules=RuleSettings(include_rewritten=True))


@pytest.mark.parametrize(
    ("said", "rewritten"), [(("one", "two"), ("better",)), (("one",), ("better", "more"))]
)
async def test_a_rewritten_reply_has_its_messages_calls_and_trains_in_no_whole_message(
    opened: Any, said: tuple[str, ...], rewritten: tuple[str, ...]
) -> None:
    made = Made()
    made.step(*(("bash", {"command": one}) for one in said), thinking="stale")
    rewrite(made, *rewritten)
    made.bash("next")
    history = await opened(made, settings=REWRITTEN)
    for a_format in (Chat(), Turns()):
        rollout = only_rollout(history)
        (row,) = a_format.rows(rollout)
        assert row["meta"]["trained"] == [[2, 1]]
        assert rollout.reasons == {ONLY_TOKENS: 1}
    tally = Tally()
    tally.add(rollout)
    assert (tally.kept, tally.partial) == (len(rewritten) + 1, 0)
    assert [json.loads(one.arguments)["command"] for one in rollout.steps[1].actions] == [
        *rewritten
    ]


async def test_a_call_that_a_rewrite_added_is_masked_with_the_others(opened: Any) -> None:
    made = Made()
    made.bash("one")
    rewrite(made, "better", "more")
    made.bash("next")
    rollout = only_rollout(await opened(made))
    assert [rollout.verdicts.of(1, ordinal).rule for ordinal in (1, 2)] == ["off-policy"] * 2
    (row,) = Chat().rows(rollout)
    assert row["meta"]["trained"] == [[2, 1]]
    assert not rollout.reasons
