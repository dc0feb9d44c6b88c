from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apollo_tui.errors import ConfigError
from apollo_tui.models import Delta, Purpose, Request
from apollo_tui.models.scripted import ScriptedModel, ScriptedReply, pieces, reply_at
from tests.models.asking import PROMPT, ask, streamed

PURPOSES: tuple[Purpose, ...] = ("step", "summary", "judge", "ask")


def scripted(folder: Path, *replies: dict[str, Any]) -> ScriptedModel:
    path = folder / "script.jsonl"
    path.write_text("".join(json.dumps(reply) + "\n" for reply in replies))
    return ScriptedModel("scripted:script.jsonl", path)


async def test_a_reply_with_everything(tmp_path: Path) -> None:
    line = {
        "thinking": "Where are the files? …",
        "text": "Looking.",
        "actions": [
            {"tool": "bash", "arguments": {"command": "ls é"}},
            {"tool": "think"},
        ],
    }
    seen: list[Request] = []
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps(line))
    model = ScriptedModel("s", path, on_request=seen.append)
    await model.check()
    reply, deltas = await ask(model, position=0)
    message = reply.message
    assert [block.text for block in message.thinking] == ["Where are the files? …"]
    assert message.text == "Looking."
    assert [(call.id, call.tool, call.arguments) for call in message.actions] == [
        ("call_1_1", "bash", {"command": "ls é"}),
        ("call_1_2", "think", {}),
    ]
    assert streamed(deltas, "thinking") == "Where are the files? …"
    assert streamed(deltas, "text") == "Looking."
    bash = "".join(delta.text for delta in deltas if delta.tool == "bash")
    assert json.loads(bash) == {"command": "ls é"}
    assert len(deltas) >= 4
    assert (reply.finish, reply.usage.estimated, reply.usage.cost_usd) == ("actions", True, 0.0)
    assert reply.usage.input > 0 < reply.usage.output
    assert [request.prompt for request in seen] == [PROMPT]
    await model.close()


async def test_after_the_last_step_it_finishes_for_ever(tmp_path: Path) -> None:
    model = scripted(tmp_path, {"text": "a"}, {"text": "s", "for": "summary"})
    for position in (1, 2, 99):
        reply, _ = await ask(model, position=position)
        assert [(call.id, call.tool) for call in reply.message.actions] == [
            (f"call_{position + 1}_1", "finish")
        ]


@pytest.mark.parametrize("purpose", ["summary", "judge", "ask"])
async def test_side_work_without_lines_gets_no_text(tmp_path: Path, purpose: Purpose) -> None:
    reply, deltas = await ask(scripted(tmp_path, {"text": "a step"}), purpose=purpose)
    assert (reply.message.text, reply.message.actions, deltas) == ("", (), [])
    assert reply.finish == "stop"


async def test_seconds_is_how_long_it_streams(tmp_path: Path) -> None:
    model = scripted(tmp_path, {"text": "word " * 100, "seconds": 0.3}, {"seconds": 0.1})
    started = monotonic()
    arrived = [
        monotonic() - started
        async for part in model.stream(Request(PROMPT))
        if isinstance(part, Delta)
    ]
    whole = monotonic() - started
    assert 0.28 <= whole < 2
    assert 6 <= len(arrived) <= 8
    assert arrived[0] < whole / 2
    started = monotonic()
    await ask(model, position=1)
    assert monotonic() - started >= 0.09


replies = st.builds(
    lambda text, repeat, purpose: ScriptedReply.model_validate(
        {"text": text, "repeat": repeat, "for": purpose}
    ),
    st.text(max_size=5),
    st.integers(1, 4),
    st.sampled_from(PURPOSES),
)


@given(st.lists(replies, max_size=8), st.sampled_from(PURPOSES))
@settings(deadline=None)
def test_positions_walk_through_the_lines_of_their_purpose(
    script: list[ScriptedReply], purpose: Purpose
) -> None:
    def given_in_order() -> Iterator[ScriptedReply]:
        for reply in script:
            if reply.purpose == purpose:
                yield from [reply] * reply.repeat

    expected = list(given_in_order())
    assert [reply_at(script, purpose, number) for number in range(len(expected))] == expected
    after = reply_at(script, purpose, len(expected))
    assert [call.tool for call in after.actions] == (["finish"] if purpose == "step" else [])


@given(
    st.text(max_size=300),
    st.text(max_size=300),
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=30)), max_size=3),
    st.sampled_from([0.0, 0.2, 3.0]),
)
@settings(deadline=None)
def test_pieces_are_the_reply(
    thinking: str, text: str, arguments: list[dict[str, str]], seconds: float
) -> None:
    actions = [{"tool": f"t{number}", "arguments": a} for number, a in enumerate(arguments)]
    reply = ScriptedReply.model_validate(
        {"thinking": thinking, "text": text, "actions": actions, "seconds": seconds}, strict=False
    )
    made = pieces(reply)
    assert streamed(made, "thinking") == thinking
    assert streamed(made, "text") == text
    for number, wanted in enumerate(arguments):
        raw = "".join(delta.text for delta in made if delta.tool == f"t{number}")
        assert json.loads(raw) == wanted
    assert all(delta.text for delta in made)
    assert len(made) <= max(4, seconds * 20) * 2 + 2 + len(arguments)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"text": "a"', "this is no JSON"),
        ('{"txt": "a"}', "unknown field txt; there are thinking, text, actions, seconds"),
        ('{"actions": [{"tool": "bash", "args": {}}]}', "unknown field actions.0.args"),
        ('{"actions": [{"arguments": {}}]}', "actions.0.tool is missing"),
        ('{"for": "steps"}', "for must be 'step', 'summary', 'judge' or 'ask'"),
        ('{"repeat": 0}', "repeat must be greater than or equal to 1"),
        ('{"seconds": -1}', "seconds must be greater than or equal to 0"),
        ("[]", "a reply must be a JSON object"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "script.jsonl"
    path.write_text(f'{{"text": "fine"}}\n\n{line}\n')
    with pytest.raises(ConfigError) as raised:
        ScriptedModel("s", path)
    assert f"script.jsonl line 3: {says}" in raised.value.line


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        ScriptedModel("s", tmp_path / "none.jsonl")
    (tmp_path / "raw").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        ScriptedModel("s", tmp_path / "raw")


def test_a_separator_of_lines_inside_a_text_is_no_line_break(tmp_path: Path) -> None:
    path = tmp_path / "script.jsonl"
    path.write_text('{"text": "a\u2028b\x85c"}\n', encoding="utf-8")
    ScriptedModel("s", path)
