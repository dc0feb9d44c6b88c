"""Inspect logs of rollouts made by hand, read back from a real log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.filter.export.inspect_log import Inspect
from apollo_tui.log.events import EvaluationFinished, RolledBack, RolloutEnded, SegmentStarted
from apollo_tui.log.read import History
from apollo_tui.log.types import (
    AssistantMessage,
    Disposition,
    Thinking,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from tests.filter.made import Made, R
from tests.filter.stored import only_rollout, write

EvalLog = dict[str, Any]


async def exported(tmp_path: Path, made: Made) -> EvalLog:
    await write(tmp_path / "apollo.db", made)
    history = History(tmp_path / "apollo.db")
    try:
        (log,) = Inspect().rows(only_rollout(history))
    finally:
        history.close()
    assert json.loads(json.dumps(log)) == log
    return dict(log)


async def test_a_context_is_a_sample_with_its_messages(tmp_path: Path) -> None:
    made = Made()
    made.step(("bash", {"command": "ls"}), observations=["a b"], thinking="Look.", text="First.")
    made.advise("Read b.")
    made.bash("cat b", "contents")
    log = await exported(tmp_path, made)
    (sample,) = log["samples"]
    roles = [message["role"] for message in sample["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user", "assistant"]
    task, said, observed, advice = sample["messages"][1:5]
    assert (task["content"], task["source"]) == ("Make it.", "input")
    assert said["content"] == [
        {"type": "reasoning", "reasoning": "Look.", "redacted": False},
        {"type": "text", "text": "First."},
    ]
    assert said["tool_calls"] == [
        {"id": "c1-1", "function": "bash", "arguments": {"command": "ls"}, "type": "function"}
    ]
    assert (observed["tool_call_id"], observed["content"]) == ("c1-1", "a b")
    assert "error" not in observed
    assert advice["source"] == "operator"
    assert advice["metadata"]["advice"] == [{"advice": 1, "by": "ana", "state": "delivered"}]
    assert sample["input"] == "Make it."
    assert (log["eval"]["eval_id"], log["eval"]["model"]) == (R, "glm")
    assert log["eval"]["metadata"]["meta"] == log["meta"]
    assert Inspect().file_name(log) == f"{R}.json"


async def test_marks_and_verdicts_are_in_the_metadata_of_replies(tmp_path: Path) -> None:
    made = Made()
    made.bash("rm x")
    made.bash("ls")
    made.mark(1, "reject")
    log = await exported(tmp_path, made)
    first, second = [m for m in log["samples"][0]["messages"] if m["role"] == "assistant"]
    (action,) = first["metadata"]["actions"]
    assert (action["verdict"], action["decided_by"]) == ("mask", "human")
    assert (action["trained"], first["metadata"]["trained"]) == (False, False)
    assert action["marks"] == [{"annotator": "ana", "mark": "reject"}]
    assert second["metadata"]["trained"] is True
    assert (second["source"], second["model"]) == ("generate", "glm")


async def test_each_segment_is_a_sample_and_the_last_has_the_score(tmp_path: Path) -> None:
    made = Made()
    made.bash("first", "one", usage=Usage(input=100, cached=40, output=7, cost_usd=0.5))
    carried = made.sent
    made.tell(SegmentStarted(rollout=R, step=2, segment=2, why="summary"))
    made.begin_segment([UserMessage(text="S.", source="summary").model_dump_json(), *carried])
    made.bash("second", "two", usage=Usage(input=50, output=5, cost_usd=0.25))
    made.tell(EvaluationFinished(rollout=R, submission=1, step=2, score=0.75))
    made.tell(RolloutEnded(rollout=R, state="finished"))
    log = await exported(tmp_path, made)
    first, second = log["samples"]
    assert (first["id"], second["id"]) == (1, 2)
    assert log["meta"]["segments"] == [1, 2]
    assert "scores" not in first and second["scores"] == {"score": {"value": 0.75}}
    assert second["metadata"]["rewritten"] == "summary"
    summary, carried_over = second["messages"][1:3]
    assert "source" not in summary and summary["metadata"]["kind"] == "summary"
    assert carried_over["metadata"] == {"step": 1, "trained": False, "carried_over": True}
    assert "source" not in carried_over
    assert first["model_usage"]["glm"] == {
        "input_tokens": 60,
        "input_tokens_cache_read": 40,
        "output_tokens": 7,
        "total_tokens": 107,
        "total_cost": 0.5,
    }
    assert log["stats"]["model_usage"]["glm"]["total_tokens"] == 162
    assert log["status"] == "success"
    assert log["results"]["scores"][0]["metrics"]["score"]["value"] == 0.75


@pytest.mark.parametrize(
    ("disposition", "kind"),
    [
        ("timeout", "timeout"),
        ("invalid", "parsing"),
        ("killed", "cancelled"),
        ("interrupted", "cancelled"),
        ("failed", "unknown"),
    ],
)
async def test_an_observation_that_is_an_error_says_of_what_kind(
    tmp_path: Path, disposition: Disposition, kind: str
) -> None:
    made = Made()
    made.bash("sleep 9", "too long", result={"disposition": disposition, "error": True})
    answer = ToolMessage(call_id="c1-1", tool="bash", text="too long", error=True)
    made.sent[-1] = answer.model_dump_json()
    made.bash("true")
    log = await exported(tmp_path, made)
    (observed,) = [m for m in log["samples"][0]["messages"] if m["role"] == "tool"][:1]
    assert observed["error"] == {"type": kind, "message": "too long"}


async def test_thinking_keeps_its_signature_and_a_malformed_call_its_text(tmp_path: Path) -> None:
    made = Made()
    earlier = AssistantMessage(
        thinking=(Thinking(text="a", signature="s"), Thinking(redacted="xyz")),
        actions=(ToolCall(id="m", tool="bash", malformed="{oops"),),
    )
    made.sent.append(earlier.model_dump_json())
    made.bash("one")
    log = await exported(tmp_path, made)
    said = log["samples"][0]["messages"][2]
    assert said["content"] == [
        {"type": "reasoning", "reasoning": "a", "signature": "s", "redacted": False},
        {"type": "reasoning", "reasoning": "xyz", "redacted": True},
        {"type": "text", "text": ""},
    ]
    assert said["tool_calls"] == [
        {
            "id": "m",
            "function": "bash",
            "arguments": {"malformed": "{oops"},
            "type": "function",
            "parse_error": "not a JSON object",
        }
    ]


async def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    made = Made()
    made.bash("one")
    log = await exported(tmp_path, made)
    assert log["status"] == "started"
    assert "results" not in log and "scores" not in log["samples"][0]
    assert log["stats"]["model_usage"] == {}
    assert "completed_at" not in log["stats"]


async def test_steps_in_no_context_and_rollouts_without_a_reply_are_counted(tmp_path: Path) -> None:
    empty, undone = Made(), Made()
    undone.bash("keep")
    undone.bash("undo")
    undone.tell(RolledBack(rollout=R, to=1))
    undone.begin_segment([UserMessage(text="Again.").model_dump_json()])
    undone.bash("go on")
    reasons = []
    for number, made in enumerate((empty, undone)):
        await write(tmp_path / f"{number}.db", made)
        history = History(tmp_path / f"{number}.db")
        try:
            rollout = only_rollout(history)
            logs = list(Inspect().rows(rollout))
        finally:
            history.close()
        reasons.append((len(logs), dict(rollout.reasons)))
    assert reasons == [
        (0, {"rollouts without a reply": 1}),
        (1, {"steps in no context: replaced or rewound": 1}),
    ]
