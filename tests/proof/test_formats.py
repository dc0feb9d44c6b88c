"""Documents and logs, read by the libraries that define them."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import atif
from hypothesis import given, settings
from inspect_ai.log import read_eval_log

from apollo_tui.filter.export.atif import Atif
from apollo_tui.filter.export.inspect_log import Inspect
from apollo_tui.filter.export.source import FilteredRollout
from apollo_tui.log.read import History
from tests.filter.made import Made
from tests.filter.stored import only_rollout, write
from tests.filter.test_mask import rollouts
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


@contextmanager
def filtered(made: Made) -> Iterator[tuple[Path, FilteredRollout]]:
    """A made rollout in a log of its own, filtered, and a folder for what is made of it."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(write(Path(folder, "apollo.db"), made))
        history = History(Path(folder, "apollo.db"))
        try:
            yield Path(folder), only_rollout(history)
        finally:
            history.close()


@settings(max_examples=60, deadline=None)
@given(rollouts())
def test_any_rollout_is_a_valid_document_that_says_each_reply_once(made: Made) -> None:
    with filtered(made) as (_, rollout):
        turns = [turn.step.number for one in rollout.samples() for turn in one.sample.turns]
        documents = list(Atif().rows(rollout))
        assert len(documents) == bool(turns)
        for document in documents:
            meta = document.pop("meta")
            trajectory = atif.Trajectory.model_validate(document)
            assert trajectory.to_json_dict() == document
            said = [
                step.extra or {}
                for step in trajectory.steps
                if step.source == "agent" and not step.is_copied_context
            ]
            assert [facts["step"] for facts in said] == turns
            assert meta["trained"] == [
                [facts["step"], action["ordinal"]]
                for facts in said
                for action in facts.get("actions", ())
                if action["trained"]
            ]
            samples = [one.sample for one in rollout.samples() if one.sample.turns]
            sent = sum(len(sample.messages) for sample in samples)
            assert sent == sum(map(messages_of, trajectory.steps))


def messages_of(step: atif.Step) -> int:
    """How many of the messages that were sent a step stands for; a rewrite stands for none."""
    observed = 0 if step.observation is None else len(step.observation.results)
    return observed + int(step.source != "system")


@settings(max_examples=40, deadline=None)
@given(rollouts())
def test_inspect_reads_any_rollout(made: Made) -> None:
    with filtered(made) as (folder, rollout):
        for row in Inspect().rows(rollout):
            del row["meta"]
            (folder / "log.json").write_text(json.dumps(row))
            log = read_eval_log(str(folder / "log.json"))
            assert log.samples is not None
            for sample, said in zip(log.samples, row["samples"], strict=True):
                read = [message.model_dump(exclude_none=True) for message in sample.messages]
                assert read == said["messages"]
