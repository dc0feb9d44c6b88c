"""kill -9 of the core, at any moment: every effect once, nothing acknowledged lost."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
from pathlib import Path

import pytest

from apollo_tui.client import Client, core_pid
from apollo_tui.log.verify import verify
from apollo_tui.paths import Home
from tests.running import bash, core, end_core, ended, events, script, task_folder, until
from tests.sandboxes import processes


async def test_killed_again_and_again_every_action_runs_once(home: Home, tmp_path: Path) -> None:
    steps = 30
    replies = [
        bash(f"echo {number} >> effects.txt; sleep 0.0{number % 5}", seconds=0.02)
        for number in range(1, steps + 1)
    ]
    chance = random.Random(7)
    async with core(home) as client:
        started = await client.run(
            task=task_folder(tmp_path / "killed"),
            model=script(tmp_path / "killed.jsonl", replies),
            sandbox="plain",
            unisolated=True,
        )
        rollout = started[0]["rollout"]
        for _ in range(8):
            await asyncio.sleep(chance.uniform(0.05, 0.5))
            await end_core(home, signal.SIGKILL)
            again = await Client.connect(home)
            await again.close()
        row = await ended(home, rollout)
    assert (row.state, row.step) == ("finished", steps + 1)
    effects = (home.rollout(rollout) / "workspace" / "effects.txt").read_text().split()
    assert effects == [str(number) for number in range(1, steps + 1)]
    outcomes = [
        (event["step"], event["ordinal"]) for event in events(home, rollout, "action_finished")
    ]
    assert len(outcomes) == len(set(outcomes)) == steps + 1
    assert verify(home.database) == []
    connection = sqlite3.connect(home.database)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_an_action_that_outlives_the_core_is_taken_up_with_its_outcome(
    home: Home, tmp_path: Path
) -> None:
    replies = [bash("echo began; sleep 2; echo ended; exit 5"), bash("true")]
    async with core(home) as client:
        started = await client.run(
            task=task_folder(tmp_path / "long"),
            model=script(tmp_path / "long.jsonl", replies),
            sandbox="plain",
            unisolated=True,
        )
        rollout = started[0]["rollout"]
        await until(home, rollout, lambda row: row.in_flight == "action")
        await end_core(home, signal.SIGKILL)
        await asyncio.sleep(2.5)
        async with core(home):
            await ended(home, rollout)
    first = events(home, rollout, "action_finished")[0]
    assert (first["exit_code"], first["disposition"], first["synthetic"]) == (5, "completed", False)
    started_at = events(home, rollout, "action_started")[0]["at"]
    assert first["seconds"] == pytest.approx((first["at"] - started_at) / 1e6, abs=0.2)


async def test_an_action_whose_runner_died_too_is_unknown_and_not_run_again(
    home: Home, tmp_path: Path
) -> None:
    replies = [bash("echo x >> effects.txt; sleep 30"), bash("true")]
    async with core(home) as client:
        started = await client.run(
            task=task_folder(tmp_path / "lost"),
            model=script(tmp_path / "lost.jsonl", replies),
            sandbox="plain",
            unisolated=True,
        )
        rollout = started[0]["rollout"]
        effects = home.rollout(rollout) / "workspace" / "effects.txt"
        await until(home, rollout, lambda row: row.in_flight == "action" and effects.exists())
        await end_core(home, signal.SIGKILL)
        kill_everything_in(home.rollout(rollout))
        async with core(home):
            row = await ended(home, rollout)
    assert row.state == "finished"
    first = events(home, rollout, "action_finished")[0]
    assert (first["disposition"], first["synthetic"]) == ("unknown", True)
    assert effects.read_text().split() == ["x"]


async def test_a_core_that_dies_while_evaluating_evaluates_again_and_leaves_nothing(
    home: Home, tmp_path: Path
) -> None:
    evaluate = "import time; time.sleep(1.5); print('{\"score\": 77}')"
    task = task_folder(tmp_path / "scored", evaluation=evaluate)
    replies = [bash("true"), {"actions": [{"tool": "finish", "arguments": {}}]}, bash("touch oops")]
    async with core(home) as client:
        started = await client.run(
            task=task,
            model=script(tmp_path / "scored.jsonl", replies),
            sandbox="plain",
            unisolated=True,
        )
        rollout = started[0]["rollout"]
        await until(home, rollout, lambda row: row.state == "evaluating")
        await asyncio.sleep(0.5)
        await end_core(home, signal.SIGKILL)
        async with core(home):
            row = await ended(home, rollout)
            await gone(str(home.rollout(rollout)))
    assert (row.state, row.score, row.why) == ("finished", 77.0, "the agent finished")
    assert len(events(home, rollout, "evaluation_finished")) == 1
    # The agent was done: nothing is asked of it again.
    assert row.step == 2
    assert len(events(home, rollout, "request_sent")) == 2
    assert not (home.rollout(rollout) / "workspace" / "oops").exists()


async def gone(marker: str) -> None:
    """Wait until no process names a folder any more."""
    async with asyncio.timeout(10):
        while processes(marker):
            await asyncio.sleep(0.05)


async def test_pause_and_advice_survive_a_kill(home: Home, tmp_path: Path) -> None:
    replies = [bash("true", seconds=0.2, repeat=30)]
    async with core(home) as client:
        started = await client.run(
            task=task_folder(tmp_path / "paused"),
            model=script(tmp_path / "paused.jsonl", replies),
            sandbox="plain",
            unisolated=True,
        )
        rollout = started[0]["rollout"]
        await until(home, rollout, lambda row: row.step >= 1)
        await client.pause(rollout)
        await client.advise(rollout, "Do not lose this.")
        await end_core(home, signal.SIGKILL)
        async with core(home) as client:
            await asyncio.sleep(1)
            row = await until(home, rollout, lambda row: row.state == "paused")
            assert row.queued_advice == 1
            step = row.step
            await client.resume(rollout)
            await until(home, rollout, lambda row: row.step > step)
            assert len(events(home, rollout, "advice_delivered")) == 1
            await client.stop(rollout)
            await ended(home, rollout)


async def test_the_terminal_s_hangup_changes_nothing(home: Home, tmp_path: Path) -> None:
    async with core(home) as client:
        started = await client.run(
            task=task_folder(tmp_path / "hup"),
            model=script(tmp_path / "hup.jsonl", [bash("true", seconds=0.1, repeat=10)]),
            sandbox="plain",
            unisolated=True,
        )
        rollout = started[0]["rollout"]
        pid = core_pid(home)
        assert pid is not None
        import os

        os.kill(pid, signal.SIGHUP)
        assert (await ended(home, rollout)).state == "finished"
        assert core_pid(home) == pid


def kill_everything_in(folder: Path) -> None:
    """SIGKILL every process that names a rollout's folder in its command line or works in it."""
    import os

    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            named = str(folder).encode() in (process / "cmdline").read_bytes()
            inside = (process / "cwd").readlink().is_relative_to(folder)
        except OSError:
            continue
        if named or inside:
            os.kill(int(process.name), signal.SIGKILL)
