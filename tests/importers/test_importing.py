"""From a file to the log: in one append, once, with every prompt as the file has it."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.core import importing
from apollo_tui.core.importing import Importing
from apollo_tui.errors import ImportFailed, LogError
from apollo_tui.filter.run import FilterSettings, filter_rollout
from apollo_tui.filter.samples import samples
from apollo_tui.log import commands
from apollo_tui.log.read import History
from apollo_tui.log.store import Log
from apollo_tui.log.trajectory import read_trajectory
from apollo_tui.log.types import Prompt
from apollo_tui.log.verify import verify
from tests.importers.nodes import REAL, SUMMARY, data, message, node

needs_real = pytest.mark.skipif(not REAL.exists(), reason="the real node is not here")


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    opened = await Log.open(tmp_path / "apollo.db")
    yield opened
    await opened.close()


@pytest.fixture
def history(log: Log, tmp_path: Path) -> History:
    return History(tmp_path / "apollo.db")


def asked(path: Path, **more: Any) -> commands.Import:
    return commands.Import(command=uuid.uuid4().hex, by="ana", path=str(path), **more)


def written(folder: Path, made: Any, name: str = "node.json") -> Path:
    path = folder / name
    path.write_bytes(data(made))
    return path


def chat(prompt: str) -> list[dict[str, Any]]:
    """A prompt of the log as messages of the file: what both can hold, in one form."""
    read = Prompt.model_validate_json(prompt)
    made = [message("system", read.system)] if read.system else []
    for one in read.messages:
        match one.role:
            case "user":
                made.append(message("user", one.text))
            case "assistant":
                thought = "".join(block.text for block in one.thinking) or None
                call = None
                if one.actions:
                    (action,) = one.actions
                    call = {
                        "call_id": action.id,
                        "name": action.tool,
                        "arguments": action.arguments,
                    }
                made.append(message("assistant", one.text, reasoning=thought, tool_call=call))
            case _:
                result = {"call_id": one.call_id, "name": one.tool, "content": one.text}
                made.append(message("tool", tool_result=result))
    return made


def prompts_equal_the_file(history: History, rollout: str, made: dict[str, Any]) -> None:
    sent = made["messages"]
    begins = [
        place
        for place, one in enumerate(sent)
        if one["role"] == "assistant" and not one["content"].startswith("After the last action")
    ]
    for step, place in enumerate([*begins, len(sent)], 1):
        assert chat(history.prompt(rollout, step)) == sent[:place], step
    detail = history.action(rollout, len(begins) + 1, 1)
    assert detail is not None
    own = made["response"]["tool_calls"][0]
    assert (detail.entry.tool, json.loads(detail.arguments)) == (own["name"], own["arguments"])
    assert json.loads(detail.observation) == made["observation"]


async def test_every_prompt_is_as_in_the_file(log: Log, history: History, tmp_path: Path) -> None:
    made = node()
    done = await Importing(log).obey(asked(written(tmp_path, made)))
    assert (done["steps"], done["actions"], done["new"], done["name"]) == (4, 4, True, "node")
    prompts_equal_the_file(history, done["rollout"], made)
    assert verify(tmp_path / "apollo.db") == []


@needs_real
async def test_every_prompt_of_the_real_node(log: Log, history: History, tmp_path: Path) -> None:
    done = await Importing(log).obey(asked(REAL))
    assert done["steps"] == done["actions"] == 69
    prompts_equal_the_file(history, done["rollout"], json.loads(REAL.read_bytes()))
    assert verify(tmp_path / "apollo.db") == []
    trajectory = read_trajectory(history, done["rollout"])
    assert [one.score for one in trajectory.submissions] == [5.278489735411422, 5.3764036952415495]
    filter_rollout(trajectory, history.text, FilterSettings())


async def test_what_is_on_the_log(log: Log, history: History, tmp_path: Path) -> None:
    path = written(tmp_path, node())
    rollout = (await Importing(log).obey(asked(path, name="mine")))["rollout"]
    row = history.rollout(rollout)
    assert row is not None
    assert (row.name, row.sandbox, row.state, row.model) == ("mine", "none", "stopped", "glm")
    assert row.started_at is row.ended_at is row.cost_usd is row.time_limit is None
    assert (row.score, row.submissions, row.worked, row.errors) == (5.5, 1, 0.0, 1)
    trajectory = read_trajectory(history, rollout)
    (segment,) = trajectory.segments
    assert [step.number for step in segment.steps] == [1, 2, 3, 4]
    seen = [step.actions[0] for step in segment.steps]
    assert [action.disposition for action in seen] == [
        "completed",
        "failed",
        "completed",
        "unknown",
    ]
    assert {action.started_at for action in seen} == {None}
    assert [action.seconds for action in seen] == [0.25, None, None, None]
    assert seen[0].arguments == "python train.py"
    (imported,) = (one for one in history.events(rollout) if one["kind"] == "rollout_imported")
    kept = json.loads(history.text(imported["raw_ref"]))
    assert len(kept) == imported["unmapped"] == 8
    assert kept["response.usage.total_tokens"] == 908
    (told,) = (one for one in history.events(rollout) if one["kind"] == "summary_completed")
    assert history.text(told["summary_ref"]) == SUMMARY


async def test_one_sample_in_which_neither_task_nor_summary_is_a_turn(
    log: Log, history: History, tmp_path: Path
) -> None:
    rollout = (await Importing(log).obey(asked(written(tmp_path, node()))))["rollout"]
    (sample,) = samples(rollout, read_trajectory(history, rollout).segments)
    assert [turn.position for turn in sample.turns] == [3, 5, 7, 9]
    assert [turn.step.number for turn in sample.turns] == [1, 2, 3, 4]


async def test_a_request_without_a_reply_is_kept(
    log: Log, history: History, tmp_path: Path
) -> None:
    made = node(response=None, action=None, observation=None)
    made["messages"].append(message("user", "Go on."))
    done = await Importing(log).obey(asked(written(tmp_path, made)))
    assert done["steps"] == 3
    assert chat(history.prompt(done["rollout"], 4)) == made["messages"]
    row = history.rollout(done["rollout"])
    assert row is not None and row.in_flight == ""


async def test_the_same_file_twice_is_one_rollout(
    log: Log, history: History, tmp_path: Path
) -> None:
    made, importer = node(), Importing(log)
    copies = [written(tmp_path, made, f"{number}.json") for number in range(4)]
    done = await asyncio.gather(*(importer.obey(asked(path)) for path in copies))
    assert len({one["rollout"] for one in done}) == 1
    assert sorted(one["new"] for one in done) == [False, False, False, True]
    (row,) = history.rollouts()
    assert (row.step, row.actions) == (4, 4)
    assert verify(tmp_path / "apollo.db") == []


async def test_a_command_that_is_repeated_has_the_same_answer(log: Log, tmp_path: Path) -> None:
    command = asked(written(tmp_path, node()))
    importer = Importing(log)
    first = await importer.obey(command)
    written(tmp_path, node(depth=5))  # the file is another one by now
    assert await importer.obey(command) == first


async def test_files_of_one_name_are_named_apart(log: Log, tmp_path: Path) -> None:
    importer = Importing(log)
    done = [
        (await importer.obey(asked(written(tmp_path, node(depth=depth)))))["name"]
        for depth in range(3)
    ]
    assert done == ["node", "node-2", "node-3"]


async def test_nothing_is_written_of_a_file_that_is_refused(
    log: Log, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importer = Importing(log)
    broken = node()
    broken["messages"][5]["tool_result"]["call_id"] = "c9"
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (written(tmp_path, broken), "messages\\[5\\]"),
        (tmp_path / "none", "No such file"),
        (tmp_path, "no file"),
        (tmp_path / "pipe", "no file"),
        (tmp_path / "a\0b", "null byte"),
    ):
        with pytest.raises(ImportFailed, match=said):
            await importer.obey(asked(path))
    monkeypatch.setattr(importing, "MOST_BYTES", 1 << 20)
    (tmp_path / "big").write_bytes(b" " * (1 << 20) + b"{}")
    with pytest.raises(ImportFailed, match="larger than 1 MB"):
        await importer.obey(asked(tmp_path / "big"))
    assert history.rollouts() == [] and history.last_seq() == 0


async def test_all_or_nothing(log: Log, history: History, tmp_path: Path) -> None:
    """The last event cannot be stored, so none is."""
    made = node()
    path = written(tmp_path, made)
    importer = Importing(log)
    source = importing.read_source(str(path))
    events, texts = importing._tell(source, "d" * 64, rollout="r", name="n", command=asked(path))
    too_late = events[-1].model_copy(update={"at": 1 << 70})
    with pytest.raises(LogError):
        await log.append(*events[:-1], too_late, texts=texts)
    assert history.rollouts() == [] and history.last_seq() == 0
    assert (await importer.obey(asked(path)))["new"]
