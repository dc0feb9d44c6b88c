from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apollo_tui.log.types import AssistantMessage
from apollo_tui.models.calls import CallBuffer, arguments_to_send, tool_call

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), values), st.data())
@settings(deadline=None)
def test_arguments_survive_any_cut_into_pieces(
    arguments: dict[str, object], data: st.DataObject
) -> None:
    raw = json.dumps(arguments, allow_nan=False) if _finite(arguments) else "{}"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    call = CallBuffer("c", "bash", pieces).finished(1)
    assert call.malformed is None
    assert call.arguments == json.loads(raw)


def _finite(arguments: object) -> bool:
    return "Infinity" not in json.dumps(arguments)


@given(st.text(max_size=40))
@settings(deadline=None)
def test_whatever_a_model_writes_can_be_kept_and_sent_back(raw: str) -> None:
    call = tool_call("c", "bash", raw)
    message = AssistantMessage(actions=(call,))
    assert AssistantMessage.model_validate_json(message.model_dump_json()) == message
    assert isinstance(json.loads(json.dumps(arguments_to_send(call))), dict)


@pytest.mark.parametrize(
    "raw",
    [
        '{"command": "l',
        "[1]",
        '"ls"',
        "null",
        "3",
        "{'command': 'ls'}",
        '{"a": NaN}',
        '{"a": 1} {"b": 2}',
        '{"n": ' + "9" * 5000 + "}",
        '{"a": ' + "[" * 5000 + "]" * 5000 + "}",
    ],
)
def test_what_is_no_object_is_kept_raw(raw: str) -> None:
    call = tool_call("c", "bash", raw)
    assert (call.malformed, call.arguments) == (raw, {})
    assert arguments_to_send(call) == {"malformed": raw}


@pytest.mark.parametrize("raw", ["", "  \n", "{}"])
def test_no_text_means_no_arguments(raw: str) -> None:
    assert tool_call("c", "finish", raw) == tool_call("c", "finish", "{}")


def test_an_escaped_lone_surrogate_becomes_a_question_mark() -> None:
    assert tool_call("c", "bash", '{"a": "x\\ud800y"}').arguments == {"a": "x?y"}
    assert tool_call("c", "bash", '{"a": "\\ud83d\\ude00"}').arguments == {"a": "😀"}


def test_a_call_without_an_id_is_numbered() -> None:
    assert CallBuffer("", "bash", ["{}"]).finished(2).id == "call_2"
