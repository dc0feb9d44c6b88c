"""ATIF documents of rollouts made by hand, read back from a real log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.errors import LogCorrupt
from apollo_tui.filter.export.atif import Atif
from apollo_tui.log.events import (
    AdviceDelivered,
    EvaluationFinished,
    RolledBack,
    RolloutImported,
    SegmentStarted,
    StepCompleted,
)
from apollo_tui.log.read import History
from apollo_tui.log.types import AssistantMessage, ToolCall, ToolMessage, Usage, UserMessage
from tests.filter.made import Made, R
from tests.filter.stored import only_rollout, write

Document = dict[str, Any]


async def exported(tmp_path: Path, made: Made) -> Document:
    (document,) = await rows(tmp_path, made)
    assert json.loads(json.dumps(document)) == document
    return document


async def rows(tmp_path: Path, made: Made) -> list[Document]:
    await write(tmp_path / "apollo.db", made)
    history = History(tmp_path / "apollo.db")
    try:
        return list(Atif().rows(only_rollout(history)))
    finally:
        history.close()


def agent_steps(document: Document, *, copied: bool = False) -> list[Document]:
    return [
        step
        for step in document["steps"]
        if step["source"] == "agent" and step.get("is_copied_context", False) == copied
    ]


async def test_a_rollout_is_one_document_in_the_order_it_was_sent(tmp_path: Path) -> None:
    made = Made()
    made.step(("bash", {"command": "ls"}), observations=["a b"], thinking="Look.", text="First.")
    made.advise("Read b.")
    made.bash("cat b", "contents")
    document = await exported(tmp_path, made)
    assert document["schema_version"] == "ATIF-v1.7"
    assert [step["step_id"] for step in document["steps"]] == [1, 2, 3, 4, 5]
    assert [step["source"] for step in document["steps"]] == [
        "system",
        "user",
        "agent",
        "user",
        "agent",
    ]
    said = document["steps"][2]
    assert (said["message"], said["reasoning_content"]) == ("First.", "Look.")
    assert said["tool_calls"] == [
        {"tool_call_id": "c1-1", "function_name": "bash", "arguments": {"command": "ls"}}
    ]
    (result,) = said["observation"]["results"]
    assert (result["source_call_id"], result["content"]) == ("c1-1", "a b")
    assert document["steps"][3]["extra"] == {
        "kind": "advice",
        "advice": [{"advice": 1, "by": "ana", "state": "delivered"}],
    }
    assert document["steps"][4]["extra"]["advice"] == [
        {"advice": 1, "by": "ana", "text": "Read b."}
    ]
    assert document["meta"] == document["extra"]["meta"]
    assert document["meta"]["trained"] == [[1, 1], [2, 1]]
    assert Atif().file_name(document) == f"{R}.json"


async def test_each_action_says_who_decided_and_who_marked_it(tmp_path: Path) -> None:
    made = Made()
    made.step(("bash", {"command": "rm x"}), ("bash", {"command": "ls"}), text="Both.")
    made.bash("true")
    made.mark(1, "reject", by="ana")
    made.mark(1, "accept", by="ben")
    made.mark(1, "unsure", by="ben", ordinal=2)
    first, second = agent_steps(await exported(tmp_path, made))
    rejected, unsure = first["extra"]["actions"]
    assert rejected["trained"] is False
    assert (rejected["verdict"], rejected["decided_by"]) == ("mask", "human")
    assert (rejected["rule"], rejected["why"]) == ("rejected", "rejected by ana")
    assert rejected["marks"] == [
        {"annotator": "ana", "mark": "reject"},
        {"annotator": "ben", "mark": "accept"},
    ]
    assert (unsure["trained"], unsure["decided_by"]) == (True, "default")
    assert first["extra"]["trained"] and not first["extra"]["prose_trained"]
    assert second["extra"]["trained"] and second["extra"]["prose_trained"]
    assert "marks" not in second["extra"]["actions"][0]


async def test_what_a_rewrite_of_the_context_carried_over_is_copied_context(tmp_path: Path) -> None:
    made = Made()
    made.bash("first", "one")
    made.bash("second", "two")
    carried = made.sent
    summary = UserMessage(text="Summary.", source="summary").model_dump_json()
    made.tell(SegmentStarted(rollout=R, step=3, segment=2, why="summary"))
    made.begin_segment([UserMessage(text="Make it.").model_dump_json(), summary, *carried])
    made.bash("third", "three")
    document = await exported(tmp_path, made)
    boundary = next(
        i
        for i, step in enumerate(document["steps"])
        if "extra" in step and "segment" in step["extra"]
    )
    assert document["steps"][boundary]["extra"]["context_management"] == {
        "type": "compaction",
        "boundary": "replace",
    }
    after = document["steps"][boundary + 1 :]
    assert [(step["source"], step.get("is_copied_context", False)) for step in after] == [
        ("system", True),
        ("user", True),
        ("user", False),
        ("agent", True),
        ("agent", False),
    ]
    assert after[3]["observation"]["results"][0]["content"] == "two"
    assert after[3]["extra"] == {"step": 2, "trained": False, "carried_over": True}
    assert document["meta"]["segments"] == [1, 2]
    said = [step["extra"]["step"] for step in agent_steps(document)]
    assert said == [1, 2, 3]  # each step is said once, however often it was sent


async def test_a_rewrite_nobody_gave_a_reason_for_has_no_type(tmp_path: Path) -> None:
    made = Made()
    made.bash("first")
    made.begin_segment([UserMessage(text="Again.").model_dump_json()])
    made.bash("second")
    document = await exported(tmp_path, made)
    (rewrite,) = [s for s in document["steps"] if "segment" in s.get("extra", {})]
    assert rewrite["extra"]["context_management"] == {"boundary": "replace"}


async def test_usage_is_summed_and_an_unknown_cost_stays_unknown(tmp_path: Path) -> None:
    made = Made()
    made.bash("one", usage=Usage(input=100, cached=40, output=7, cost_usd=0.5))
    made.bash("two", usage=Usage(input=200, output=3))
    document = await exported(tmp_path, made)
    first, second = agent_steps(document)
    assert first["metrics"] == {
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "completion_tokens": 7,
        "cost_usd": 0.5,
    }
    assert second["metrics"] == {"prompt_tokens": 200, "completion_tokens": 3}
    assert document["final_metrics"] == {
        "total_prompt_tokens": 300,
        "total_completion_tokens": 10,
        "total_cached_tokens": 40,
        "total_steps": len(document["steps"]),
    }


async def test_nothing_is_invented(tmp_path: Path) -> None:
    made = Made()
    made.bash("one")
    document = await exported(tmp_path, made)
    (said,) = agent_steps(document)
    assert "metrics" not in said and "reasoning_content" not in said
    assert document["final_metrics"] == {"total_steps": len(document["steps"])}
    assert document["agent"]["version"] == "unknown"
    assert "score" not in document["extra"]


async def test_an_imported_rollout_names_its_format_and_a_score_is_kept(tmp_path: Path) -> None:
    made = Made()
    made.tell(RolloutImported(rollout=R, format="innovatorbench", source="n.json", digest="d"))
    made.bash("one")
    made.tell(EvaluationFinished(rollout=R, submission=1, step=1, score=0.25))
    document = await exported(tmp_path, made)
    assert document["agent"]["name"] == "innovatorbench"
    assert document["extra"]["score"] == 0.25


async def test_steps_that_are_in_no_context_are_counted_and_named(tmp_path: Path) -> None:
    made = Made()
    made.bash("keep")
    made.bash("undo")
    made.tell(RolledBack(rollout=R, to=1))
    made.begin_segment([UserMessage(text="Again.").model_dump_json()])
    made.bash("go on")
    await write(tmp_path / "apollo.db", made)
    history = History(tmp_path / "apollo.db")
    try:
        rollout = only_rollout(history)
        (document,) = Atif().rows(rollout)
    finally:
        history.close()
    assert document["extra"]["steps_in_no_context"] == [2]
    assert rollout.reasons == {"steps in no context: replaced or rewound": 1}
    assert [step["extra"]["step"] for step in agent_steps(document)] == [1, 3]


async def test_ids_of_calls_that_come_again_keep_their_own_observations(tmp_path: Path) -> None:
    made = Made()
    made.sent.append(
        AssistantMessage(actions=(ToolCall(id="c1-1", tool="bash"),)).model_dump_json()
    )
    made.sent.append(ToolMessage(call_id="c1-1", tool="bash", text="old").model_dump_json())
    made.bash("new", "new")
    made.bash("end")
    document = await exported(tmp_path, made)
    results = [
        [result["content"] for result in step["observation"]["results"]]
        for step in document["steps"]
        if step["source"] == "agent" and "observation" in step
    ]
    assert results == [["old"], ["new"]]


async def test_an_observation_without_its_call_stays_in_place(tmp_path: Path) -> None:
    made = Made()
    made.sent.append(
        ToolMessage(call_id="gone", tool="bash", text="orphan", error=True).model_dump_json()
    )
    made.bash("one")
    document = await exported(tmp_path, made)
    assert document["steps"][2] == {
        "step_id": 3,
        "source": "system",
        "message": "",
        "observation": {
            "results": [
                {
                    "content": "orphan",
                    "extra": {"tool_call_id": "gone", "tool": "bash", "error": True},
                }
            ]
        },
    }


async def test_a_rollout_without_a_reply_is_left_out_and_counted(tmp_path: Path) -> None:
    await write(tmp_path / "apollo.db", Made())
    history = History(tmp_path / "apollo.db")
    try:
        rollout = only_rollout(history)
        assert list(Atif().rows(rollout)) == []
    finally:
        history.close()
    assert rollout.reasons == {"rollouts without a reply": 1}


async def test_a_text_that_is_missing_is_said(tmp_path: Path) -> None:
    made = Made()
    made.bash("one")
    lost = next(event for event in made.events if isinstance(event, StepCompleted)).message_ref
    del made.texts[lost]
    made.tell(AdviceDelivered(rollout=R, step=2, advice=9))  # of advice that nobody queued
    with pytest.raises(LogCorrupt, match=lost):
        await rows(tmp_path, made)
