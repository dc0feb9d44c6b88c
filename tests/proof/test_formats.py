"""Documents and logs, read by the libraries that define them."""

from __future__ import annotations

import json
from pathlib import Path

import atif
from inspect_ai.log import read_eval_log

from apollo_tui.filter.export.atif import Atif
from apollo_tui.filter.export.inspect_log import Inspect
from tests.proof.written import export


def only_document(folder: Path) -> Path:
    """The file that the index names."""
    (line,) = (folder / "index.jsonl").read_text().splitlines()
    return folder / str(json.loads(line)["file"])


async def test_atif_validates_and_loses_nothing(tmp_path: Path) -> None:
    await export(tmp_path / "out", Atif())
    written = json.loads(only_document(tmp_path / "out").read_text())
    trajectory = atif.Trajectory.model_validate(written)
    assert trajectory.schema_version == "ATIF-v1.7"
    assert trajectory.to_json_dict() == written
    trained = {
        action["tool_call_id"]: action["trained"]
        for step in trajectory.steps
        if step.source == "agent" and not step.is_copied_context
        for action in (step.extra or {})["actions"]
    }
    assert trained == {
        "c1-1": True,
        "c2-1": False,
        "c3-1": False,
        "c3-2": True,
        "c4-1": True,
        "c5-1": True,
        "c6-1": True,
        "c6-2": False,
        "c8-1": True,
    }


async def test_inspect_reads_every_message_with_its_metadata(tmp_path: Path) -> None:
    await export(tmp_path / "out", Inspect())
    path = only_document(tmp_path / "out")
    written = json.loads(path.read_text())
    log = read_eval_log(str(path))
    assert log.status == "success"
    assert log.samples is not None
    assert [sample.id for sample in log.samples] == [1, 2]
    for sample, said in zip(log.samples, written["samples"], strict=True):
        assert [message.model_dump(exclude_none=True) for message in sample.messages] == said[
            "messages"
        ]
        assert sample.metadata == said["metadata"]
    assert log.eval.metadata == written["eval"]["metadata"]
    (score,) = log.results.scores if log.results else []
    assert score.metrics["score"].value == 0.5
    assert log.samples[1].scores is not None
    assert log.samples[1].scores["score"].value == 0.5


async def test_inspect_reads_the_header_alone(tmp_path: Path) -> None:
    await export(tmp_path / "out", Inspect())
    log = read_eval_log(str(only_document(tmp_path / "out")), header_only=True)
    assert (log.eval.task, log.eval.model) == ("made", "glm")
    assert log.stats.model_usage["glm"].input_tokens == 80
    assert log.stats.model_usage["glm"].input_tokens_cache_read == 20
