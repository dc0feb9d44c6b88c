from __future__ import annotations

import copy
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.core.imported_events import events_of, raw_text
from apollo_tui.errors import ImportFailed
from apollo_tui.importers import read_recording
from apollo_tui.importers.recording import Given, Observed, Recording, Said, Source
from apollo_tui.log.events import event_adapter
from apollo_tui.log.trajectory import fold
from apollo_tui.log.types import Usage
from tests.importers.nodes import SUMMARY, called, data, message, node


def read(made: Any) -> Recording:
    form, recording = read_recording(Source("node.json", data(made)))
    assert form == "innovatorbench"
    return recording


def observations(recording: Recording) -> list[Observed]:
    return [part for part in recording.parts if isinstance(part, Observed)]


def replies(recording: Recording) -> list[Said]:
    return [part for part in recording.parts if isinstance(part, Said)]


def test_every_part_stands_where_it_stood() -> None:
    recording = read(node())
    kinds = [type(part).__name__ for part in recording.parts]
    assert kinds == ["Given"] * 3 + ["Said", "Observed"] * 4
    task, summary, notice = (part for part in recording.parts if isinstance(part, Given))
    assert recording.system == "You are an innovator."
    assert recording.task.description == task.message.text == "<task>Beat 0.04.</task>"
    assert summary.summary and summary.message.text == SUMMARY
    assert not notice.summary and notice.message.text == "OK, continue."


def test_what_was_thought_said_and_called() -> None:
    first, *_, own = replies(read(node()))
    assert [block.text for block in first.message.thinking] == ["Train first."]
    (call,) = first.message.actions
    assert (call.id, call.tool, call.arguments) == (
        "c1",
        "run_command",
        {"command": "python train.py"},
    )
    assert own.message.text == "Look."
    assert [block.text for block in own.message.thinking] == ["It needs time."]
    assert own.model == "glm" and own.finish == "tool_calls"
    assert own.usage == Usage(input=900, output=8)


def test_what_the_file_does_not_tell_is_unknown() -> None:
    first, *_ = replies(read(node()))
    assert first.model == "" and first.usage is None and first.finish == ""
    _, opened, _, slept = observations(read(node()))
    assert opened.seconds is None and opened.exit_code is None
    assert slept.disposition == "unknown"  # it has no `success`


def test_a_command_that_ran_and_ended_badly_is_no_failed_action() -> None:
    ran, opened, evaluated, _ = observations(read(node()))
    assert (ran.disposition, ran.seconds, ran.error) == ("completed", 0.25, False)
    assert (opened.disposition, opened.error, opened.shown) == (
        "failed",
        True,
        "There is no /none.",
    )
    assert evaluated.submitted is not None
    assert evaluated.submitted.score == 5.5 and evaluated.submitted.submission == 1
    made = node(observation={"success": False, "output": "1 failed", "message": "Ended."})
    *_, last = observations(read(made))
    assert (last.disposition, last.error, last.shown) == ("completed", True, "1 failed")


def test_what_found_no_place_is_kept_by_its_path() -> None:
    kept = dict(read(node()).unmapped)
    assert kept == {
        "id": "0af1",
        "parent_id": "6091",
        "timestamp": "2025-09-08T15:38:36.604590",
        "node_type": "react",
        "source": "generate",
        "depth": 4,
        "response.usage.total_tokens": 908,
        "action.description": "Sleeps.",
    }
    made = node(system_prompt="Another.", extra={"deep": [1]})
    made["messages"][4]["tool_call"]["new"] = True
    kept = dict(read(made).unmapped)
    assert kept["system_prompt"] == "Another." and kept["extra"] == {"deep": [1]}
    assert kept["messages[4].tool_call.new"] is True


def test_a_node_whose_request_got_no_reply() -> None:
    made = node(response=None)
    recording = read(made)
    assert len(replies(recording)) == 3
    assert recording.unmapped["observation"] == made["observation"]
    assert recording.unmapped["action"] == made["action"]
    assert recording.model == ""


def test_arguments_that_are_no_object_are_kept_as_they_were() -> None:
    made = node()
    made["messages"][4]["tool_call"]["arguments"] = '{"command": '
    (call,) = replies(read(made))[0].message.actions
    assert call.malformed == '{"command": '


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["messages", 4, "tool_call", "name"], 7, "messages[4].tool_call.name"),
        (["messages", 4, "role"], "robot", "messages[4].role"),
        (["messages", 5, "tool_result"], None, "messages[5].tool_result"),
        (["messages", 5, "tool_result", "call_id"], "c9", "messages[5].tool_result.call_id"),
        (["messages", 5], called(1, "x", {}), "messages[5].tool_call.call_id"),
        (["messages", 1], message("tool"), "messages[1].tool_result"),
        (["messages", 3, "role"], "system", "messages[3]"),
        (["messages", 1, "tool_call"], called(9, "x", {})["tool_call"], "messages[1].tool_call"),
        (["messages"], {}, "messages"),
        (["response", "usage", "input_tokens"], -1, "response.usage.input_tokens"),
        (["response", "usage", "input_tokens"], 1 << 70, "response.usage.input_tokens"),
        (["observation"], 3, "observation"),
    ],
)
def test_a_broken_node_says_where(path: list[str | int], value: Any, said: str) -> None:
    made = node()
    place: Any = made
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(ImportFailed) as raised:
        read(made)
    assert raised.value.line.startswith(f"node.json was not imported: {said}")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"", "line 1"),
        (b"{\n\n'", "line 3"),
        (b"\xff\xfe", "line 1"),
        (b'{"a":"\\ud800"}', "line 1"),
        (b"[" * 100_000, "recursion"),
        (b"[]", "not known"),
        (b'{"messages": []}', "not known"),
        (b'{"messages": [], "node_type": "react"}', "no step"),
        (b"null", "not known"),
    ],
)
def test_a_file_that_is_no_node(written: bytes, said: str) -> None:
    with pytest.raises(ImportFailed, match=said) as raised:
        read_recording(Source("node.json", written))
    assert "node.json" in raised.value.line


def test_a_context_that_no_model_could_have_read() -> None:
    """Neither a fault in every message nor millions of messages take memory for each."""
    head = b'{"node_type": "react", "messages": ['
    for one, said in (
        (b"{}", r"messages\[0\]\.role"),
        (b'{"role": "user"}', "at most 100000 items"),
    ):
        written = head + (one + b",") * 300_000 + one + b"]}"
        tracemalloc.start()
        try:
            with pytest.raises(ImportFailed, match=said):
                read_recording(Source("node.json", written))
            assert tracemalloc.get_traced_memory()[1] < 200 << 20
        finally:
            tracemalloc.stop()


def test_a_number_in_a_call_that_json_cannot_hold() -> None:
    written = data(node()).replace(b'"python train.py"', b"NaN")
    with pytest.raises(ImportFailed, match=r"messages\[4\]\.tool_call\.arguments"):
        read_recording(Source("node.json", written))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    return [path, *(one for key, inner in below for one in places(inner, (*path, key)))]


PLACES = places(node())


@given(st.lists(st.tuples(st.sampled_from(PLACES[1:]), values), max_size=4))
def test_whatever_stands_where_is_read_or_refused_in_one_line(
    changes: list[tuple[tuple[str | int, ...], Any]],
) -> None:
    made = copy.deepcopy(node())
    for path, value in changes:
        place: Any = made
        try:
            for part in path[:-1]:
                place = place[part]
            place[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    try:
        _, recording = read_recording(Source("node.json", json.dumps(made).encode()))
    except ImportFailed as failed:
        assert "node.json was not imported: " in failed.line
        return
    events, texts = events_of(recording, "r")
    raw_text(recording).encode()
    for event in events:
        assert event_adapter.validate_json(event.model_dump_json()) == event
    assert fold(enumerate(events, 1)).segments[0].steps
    assert all(text.encode() for text in texts if text)


@given(st.binary(max_size=300), st.integers(0, 4000), st.integers(0, 40))
def test_bytes_that_are_broken_anywhere(noise: bytes, at: int, cut: int) -> None:
    written = data(node())
    broken = written[:at] + noise + written[at + cut :]
    try:
        read_recording(Source("node.json", broken))
    except ImportFailed as failed:
        assert "node.json was not imported: " in failed.line
