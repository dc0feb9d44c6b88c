"""A real rollout goes all the way: imported, marked, filtered, exported in every form, read by TRL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import atif
import pytest
import pytest_asyncio
from inspect_ai.log import read_eval_log

from apollo_tui.filter.export.atif import Atif
from apollo_tui.filter.export.chat import Chat
from apollo_tui.filter.export.chat_messages import ChatMessage
from apollo_tui.filter.export.inspect_log import Inspect
from apollo_tui.filter.export.source import FilteredRollout, Source
from apollo_tui.filter.export.tokens import Tokens
from apollo_tui.filter.export.turns import Turns
from apollo_tui.filter.template import load_template
from apollo_tui.filter.tokenizer import load_tokenizer
from apollo_tui.log.read import History
from apollo_tui.paths import Home
from tests.proof.test_formats import only_document
from tests.proof.tiny import plain_template, published, tokenizer_folder
from tests.proof.trained import honouring_train, loaded, sft, trains_one_step, unmasked
from tests.proof.written import END, export_of
from tests.running import core

CHECKOUT = Path(__file__).parent.parent.parent
NODE = CHECKOUT.parent / "shared/data/trajectories/innovatorbench-node-depth70.json"

pytestmark = pytest.mark.skipif(not NODE.exists(), reason="the InnovatorBench node is not here")


@dataclass(frozen=True)
class Filtered:
    """The node in a log, with marks, as a filter run left it."""

    database: Path
    run: str
    rejected: tuple[int, ...]
    kept: dict[int, ChatMessage]  # the replies that train, by step


@pytest_asyncio.fixture
async def filtered(home: Home) -> AsyncIterator[Filtered]:
    async with core(home) as client:
        rollout = (await client.import_file(str(NODE)))["rollout"]
        history = History(home.database)
        try:
            steps = [entry.step for entry in history.entries(rollout, 1, 9999) if entry.tool]
            rejected, accepted = tuple(steps[3:6]), steps[10:13]
            await client.mark(rollout, [(step, 1) for step in rejected], "reject", code="wasteful")
            await client.mark(rollout, [(step, 1) for step in accepted], "accept")
            run = await client.filter([rollout])
            async with asyncio.timeout(60):
                while history.filter_run(run).state != "finished":
                    await asyncio.sleep(0.05)
            (one,) = Source(history, history.filter_run(run)).rollouts()
            yield Filtered(home.database, run, rejected, kept_replies(one))
        finally:
            history.close()


def kept_replies(rollout: FilteredRollout) -> dict[int, ChatMessage]:
    """What the verdicts leave of the replies, taken from the log without a mask."""
    steps = [step for step in rollout.steps.values() if step.actions and not step.superseded]
    return {
        step.number: rollout.chat_messages([step.message_ref])[0]
        for step in steps
        if all(rollout.verdicts.keeps(step.number, action.ordinal) for action in step.actions)
    }


def as_plain(message: ChatMessage) -> str:
    """A reply as the plain template renders it, told without the template."""
    thinking = message.get("reasoning_content")
    calls = [
        f"<tool_call>{call['function']['name']} "
        f"{json.dumps(call['function']['arguments'], ensure_ascii=False)}</tool_call>"
        for call in message["tool_calls"]
    ]
    prose = f"<think>{thinking}</think>" if thinking else ""
    return prose + str(message["content"]) + "".join(calls) + END


def a_tokenizer(folder: Path, template: str) -> Any:
    texts = json.dumps(json.loads(NODE.read_text()), ensure_ascii=False)
    return published(tokenizer_folder(folder, template, [texts], size=2000))


async def test_marks_decide(filtered: Filtered) -> None:
    assert len(filtered.kept) > 20
    assert not filtered.kept.keys() & set(filtered.rejected)


async def test_it_is_a_valid_atif_document(filtered: Filtered, tmp_path: Path) -> None:
    export_of(filtered.database, filtered.run, tmp_path / "out", Atif())
    written = json.loads(only_document(tmp_path / "out").read_text())
    trajectory = atif.Trajectory.model_validate(written)
    assert trajectory.to_json_dict() == written
    said = [step.extra or {} for step in trajectory.steps if step.source == "agent"]
    assert {facts["step"] for facts in said if facts["trained"]} == set(filtered.kept)
    (marked,) = {
        (action["decided_by"], action["rule"], action["marks"][0]["annotator"])
        for facts in said
        if facts.get("step") in filtered.rejected
        for action in facts["actions"]
    }
    assert marked == ("human", "wasteful", "ana")


async def test_inspect_reads_it(filtered: Filtered, tmp_path: Path) -> None:
    export_of(filtered.database, filtered.run, tmp_path / "out", Inspect())
    path = only_document(tmp_path / "out")
    written = json.loads(path.read_text())
    log = read_eval_log(str(path))
    assert log.samples is not None
    for sample, said in zip(log.samples, written["samples"], strict=True):
        read = [message.model_dump(exclude_none=True) for message in sample.messages]
        assert read == said["messages"]


async def test_trl_trains_its_kept_replies_as_turns(filtered: Filtered, tmp_path: Path) -> None:
    facts = export_of(filtered.database, filtered.run, tmp_path / "out", Turns())
    assert facts.rows == len(filtered.kept)
    rows = loaded(tmp_path / "out" / facts.rows_file)
    few = rows.select(range(3))  # the whole of it is a hundred times as long as the rollout
    trainer = sft(tmp_path, few, a_tokenizer(tmp_path / "tokenizer", plain_template()))
    first = [filtered.kept[row["meta"]["steps"][0]] for row in few]
    assert unmasked(trainer) == sorted(f"{as_plain(reply)}\n" for reply in first)
    trains_one_step(trainer)


async def test_trl_trains_its_kept_replies_as_chat(filtered: Filtered, tmp_path: Path) -> None:
    facts = export_of(filtered.database, filtered.run, tmp_path / "out", Chat())
    rows = loaded(tmp_path / "out" / facts.rows_file)
    tokenizer = a_tokenizer(tmp_path / "tokenizer", honouring_train())
    trainer = sft(tmp_path, rows, tokenizer, assistant_only_loss=True)
    assert unmasked(trainer) == sorted(as_plain(reply) for reply in filtered.kept.values())


async def test_trl_trains_its_kept_replies_as_tokens(filtered: Filtered, tmp_path: Path) -> None:
    a_tokenizer(tmp_path / "tokenizer", plain_template())
    folder = tmp_path / "tokenizer"
    tokens = Tokens(load_tokenizer(folder), load_template(folder))
    facts = export_of(filtered.database, filtered.run, tmp_path / "out", tokens)
    trainer = sft(tmp_path, loaded(tmp_path / "out" / facts.rows_file), published(folder))
    assert unmasked(trainer) == sorted(as_plain(reply) for reply in filtered.kept.values())
