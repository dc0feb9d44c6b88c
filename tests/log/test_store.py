from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apollo_tui.errors import LogCorrupt, LogError, LogTooNew, UnknownName, UsageError
from apollo_tui.log.events import (
    ActionFinished,
    ActionRef,
    ActionStarted,
    ActionSummary,
    AdviceDelivered,
    AdviceQueued,
    Marked,
    RolloutCreated,
    StateChanged,
    StepCompleted,
    Unmarked,
)
from apollo_tui.log.read import History
from apollo_tui.log.schema import VERSION
from apollo_tui.log.store import Log
from apollo_tui.log.texts import text_hash
from apollo_tui.log.types import AssistantMessage, RolloutSpec, Task, Thinking, ToolCall, Usage
from apollo_tui.log.verify import verify

SPEC = RolloutSpec(
    task=Task(name="count", description="Count."),
    model="m",
    sandbox="plain",
    isolated=False,
    name="counting",
)
R = "aaaabbbbcccc"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "apollo.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[Log]:
    opened = await Log.open(path)
    yield opened
    await opened.close()


async def step(log: Log, number: int, *, thinking: str = "Hm.", exit_code: int = 0) -> None:
    message = AssistantMessage(
        thinking=(Thinking(text=thinking),),
        actions=(ToolCall(id=f"c{number}", tool="bash", arguments={"command": f"echo {number}"}),),
    )
    stored, observation = message.model_dump_json(), f"said {number}"
    await log.append(
        StepCompleted(
            rollout=R,
            step=number,
            message_ref=text_hash(stored),
            thinking=thinking,
            actions=(ActionSummary(tool="bash", call_id=f"c{number}", arguments=f"echo {number}"),),
            model="m",
            usage=Usage(input=10, output=2, cost_usd=0.25),
        ),
        ActionStarted(rollout=R, step=number, tool="bash", job=f"{number}-1"),
        ActionFinished(
            rollout=R,
            step=number,
            disposition="completed",
            observation_ref=text_hash(observation),
            summary=observation,
            exit_code=exit_code,
        ),
        texts=[stored, observation],
    )


async def test_a_file_of_its_owner_alone_in_wal_mode(path: Path, log: Log) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    db.close()


async def test_events_can_be_neither_changed_nor_deleted(path: Path, log: Log) -> None:
    await log.append(RolloutCreated(rollout=R, spec=SPEC))
    db = sqlite3.connect(path)
    for statement in ("UPDATE events SET kind = 'x'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
    db.close()


async def test_what_the_transcript_shows(path: Path, log: Log) -> None:
    await log.append(RolloutCreated(rollout=R, spec=SPEC))
    await step(log, 1)
    await step(log, 2, thinking="", exit_code=1)
    await log.append(
        AdviceQueued(rollout=R, advice=1, text="Slower.", by="ana"),
        AdviceDelivered(rollout=R, step=3, advice=1),
        Marked(rollout=R, by="ana", actions=(ActionRef(step=1),), mark="reject", code="hasty"),
        Marked(rollout=R, by="ben", actions=(ActionRef(step=1),), mark="accept"),
    )
    history = History(path)
    entries = history.entries(R, 1, 99)
    assert [(entry.kind, entry.step) for entry in entries] == [
        ("thinking", 1),
        ("action", 1),
        ("action", 2),
        ("advice", 3),
    ]
    assert (entries[1].mark, entries[1].mark_by) == ("accept", "ben")
    assert entries[3].text == "Slower."
    row = history.find("count")
    assert (row.marks, row.errors, row.cost_usd, row.step, row.actions) == (1, 1, 0.5, 2, 2)
    assert history.landmark(R, 1, 1) == 2
    assert history.landmark(R, 2, 1) == 3
    assert history.landmark(R, 4, -1) == 3
    assert history.landmark_map(R, 4) == ["", "accept", "error", "advice"]
    assert history.entry_of_step(R, 2) == 3
    detail = history.action(R, 1, 1)
    assert detail is not None
    assert '"echo 1"' in detail.arguments
    assert (detail.observation, detail.thinking) == ("said 1", "Hm.")
    await log.append(Unmarked(rollout=R, by="ben", actions=(ActionRef(step=1),)))
    assert history.entries(R, 2, 1)[0].mark == "reject"
    history.close()
    assert verify(path) == []


async def test_names_prefixes_and_ids_find_a_rollout(path: Path, log: Log) -> None:
    history = History(path)
    with pytest.raises(UnknownName, match="none yet"):
        history.find("x")
    other = SPEC.model_copy(update={"name": "counter"})
    await log.append(RolloutCreated(rollout=R, spec=SPEC), RolloutCreated(rollout="dd", spec=other))
    assert history.find("counting").id == R
    assert history.find("dd").name == "counter"
    assert history.find("counte").name == "counter"
    with pytest.raises(UsageError, match="counting, counter"):
        history.find("count")
    with pytest.raises(UnknownName, match="counter"):
        history.find("zzz")
    history.close()


async def test_working_time_runs_only_while_it_works(path: Path, log: Log) -> None:
    second = 1_000_000
    await log.append(RolloutCreated(rollout=R, at=1 * second, spec=SPEC))
    await log.append(StateChanged(rollout=R, at=2 * second, state="running"))
    await log.append(StateChanged(rollout=R, at=5 * second, state="waiting", why="down"))
    await log.append(StateChanged(rollout=R, at=60 * second, state="running"))
    await log.append(StateChanged(rollout=R, at=61 * second, state="paused"))
    history = History(path)
    assert history.find("counting").worked == 4.0
    history.close()


async def test_one_append_that_fails_is_alone(path: Path, log: Log) -> None:
    await log.append(RolloutCreated(rollout=R, spec=SPEC, command="same-command"))
    results = await asyncio.gather(
        log.append(StateChanged(rollout=R, state="running")),
        log.append(StateChanged(rollout=R, state="paused", command="same-command")),
        log.append(StateChanged(rollout=R, state="waiting")),
        return_exceptions=True,
    )
    assert isinstance(results[1], LogError)
    assert isinstance(results[0], int)
    assert isinstance(results[2], int)
    told = await log.answered("same-command")
    assert [event.kind for _, event in told] == ["rollout_created"]
    assert verify(path) == []


async def test_listeners_hear_of_each_commit(log: Log) -> None:
    heard: list[tuple[int, frozenset[str]]] = []
    log.on_append(lambda seq, rollouts: heard.append((seq, rollouts)))
    seq = await log.append(RolloutCreated(rollout=R, spec=SPEC))
    assert heard == [(seq, frozenset({R}))]


async def test_a_full_disk_is_said_loses_nothing_and_passes(path: Path, log: Log) -> None:
    await log.append(RolloutCreated(rollout=R, spec=SPEC))
    pages = log._writer.execute("PRAGMA page_count").fetchone()[0]
    log._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    big = os.urandom(200_000).hex()
    with pytest.raises(LogError, match="no room left"):
        await log.append(StateChanged(rollout=R, state="running"), texts=[big])
    log._writer.execute("PRAGMA max_page_count = 1000000")
    await log.append(StateChanged(rollout=R, state="paused"), texts=[big])
    assert await log.text(text_hash(big)) == big
    assert len(await log.events(R)) == 2
    assert verify(path) == []


async def test_a_missing_text_is_a_fault_that_names_it(path: Path, log: Log) -> None:
    with pytest.raises(LogCorrupt, match="verify"):
        await log.text("f" * 32)
    await log.append(RolloutCreated(rollout=R, spec=SPEC))
    await step(log, 1)
    db = sqlite3.connect(path)
    db.execute("DELETE FROM texts WHERE hash = ?", (text_hash("said 1"),))
    db.execute("UPDATE rollouts SET step = 7")
    db.commit()
    db.close()
    faults = verify(path)
    assert any("is missing" in fault for fault in faults)
    assert any("rollouts: 1 rows differ" in fault for fault in faults)


async def test_a_newer_log_is_refused(path: Path) -> None:
    await (await Log.open(path)).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(LogTooNew, match="upgrade"):
        await Log.open(path)
    with pytest.raises(LogTooNew, match="upgrade"):
        History(path)


async def test_what_is_no_log_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 400)
    for attempt in (Log.open(path), None):
        with pytest.raises(LogCorrupt, match="damaged"):
            if attempt is not None:
                await attempt
            else:
                History(path)
    assert path.read_bytes().startswith(b"this is not")


def test_a_log_that_is_not_there_yet_reads_as_empty(path: Path) -> None:
    history = History(path)
    assert history.rollouts() == []
    assert history.entries("x", 1, 10) == []
    assert history.last_seq() == 0
    asyncio.run(_create(path))
    assert len(history.rollouts()) == 1
    history.close()


async def _create(path: Path) -> None:
    log = await Log.open(path)
    await log.append(RolloutCreated(rollout=R, spec=SPEC))
    await log.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from apollo_tui.log.events import StateChanged
from apollo_tui.log.store import Log

async def main():
    log = await Log.open(Path(sys.argv[1]))
    while True:
        print(await log.append(StateChanged(rollout="r", state="running"), durable=True), flush=True)

asyncio.run(main())
"""


def test_a_killed_writer_loses_nothing_it_had_acknowledged(path: Path) -> None:
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(40)]
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        acknowledged += [int(line) for line in rest.split("\n")[:-1]]
        history = History(path)
        assert history.last_seq() >= acknowledged[-1]
        history.close()
        assert verify(path) == []
