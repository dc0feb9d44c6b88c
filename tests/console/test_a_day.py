"""One annotator's day in small, in the real console, on real rollouts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from apollo_tui.log.verify import verify
from apollo_tui.paths import Home
from tests.console.terminal import Terminal
from tests.running import bash, core, end_core, events, script, task_folder, until

NAMES = ("alpha", "beta", "gamma")


def replies(name: str) -> list[dict[str, object]]:
    return [
        bash(
            f"echo {name}-{number} >> effects.txt; echo wrote line {number}",
            thinking=f"I shall write line {number} of {name} now.",
            seconds=0.6,
        )
        for number in range(1, 200)
    ]


async def begin(home: Home, tmp_path: Path) -> dict[str, str]:
    """Three rollouts that go on for two minutes; returns their ids by name."""
    started = {}
    from apollo_tui.client import Client

    async with await Client.connect(home, annotator="ana") as client:
        for name in NAMES:
            answer = await client.run(
                task=task_folder(tmp_path / name),
                model=script(tmp_path / f"{name}.jsonl", replies(name)),
                sandbox="plain",
                unisolated=True,
            )
            started[name] = answer[0]["rollout"]
    return started


def ls(home: Home) -> dict[str, dict[str, object]]:
    said = subprocess.run(
        [sys.executable, "-m", "apollo_tui", "--home", str(home.path), "ls", "--json"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {row["name"]: row for row in json.loads(said)}


async def test_watch_pause_advise_reject_open_leave_come_back(home: Home, tmp_path: Path) -> None:
    started = await begin(home, tmp_path)
    alpha = started["alpha"]
    try:
        with Terminal(home, "--as", "ana") as terminal:
            terminal.wait(lambda text: all(name in text for name in NAMES))
            terminal.wait("wrote line 2")
            terminal.wait("I shall write line")
            terminal.press("1", "p")
            terminal.wait("paused")
            await until(home, alpha, lambda row: row.state == "paused" and row.in_flight == "")
            terminal.press("a")
            terminal.wait("THE AGENT WILL READ THIS")
            terminal.press(*"Keep notes of every line.")
            terminal.press("enter")
            await until(home, alpha, lambda row: row.queued_advice == 1)
            terminal.wait("Keep notes of every line.")
            terminal.press("x")
            terminal.wait("rejected")
            await until(home, alpha, lambda row: row.marks == 1)
            terminal.press("enter")
            terminal.wait(lambda text: "observation" in text and "alpha" in text)
            terminal.press("q")
            terminal.wait(lambda text: all(name in text for name in NAMES))
            terminal.press("q")
            assert terminal.ended() == 0
        before = ls(home)
        assert {row["name"] for row in before.values()} == set(NAMES)
        assert (before["alpha"]["state"], before["alpha"]["marks"]) == ("paused", 1)
        assert before["beta"]["state"] == "running"
        with Terminal(home, "--as", "ana") as terminal:
            terminal.wait("paused")
            terminal.press("1", "p")
            await until(home, alpha, lambda row: row.step > int(str(before["alpha"]["step"])))
            terminal.wait("Keep notes of every line.")
            terminal.press("q")
            assert terminal.ended() == 0
        assert int(str(ls(home)["beta"]["step"])) > int(str(before["beta"]["step"]))
        kinds = [event["kind"] for event in events(home, alpha)]
        for kind in ("paused", "advice_queued", "marked", "resumed", "advice_delivered"):
            assert kind in kinds
        assert events(home, alpha, "marked")[0]["by"] == "ana"
    finally:
        await end_core(home)
    assert verify(home.database) == []


async def test_killing_the_console_and_then_the_core(home: Home, tmp_path: Path) -> None:
    started = await begin(home, tmp_path)
    try:
        with Terminal(home) as terminal:
            terminal.wait("wrote line 2")
            terminal.kill()
        row = await until(home, started["alpha"], lambda row: row.step >= 4)
        await end_core(home, signal.SIGKILL)
        with Terminal(home) as terminal:
            terminal.wait("alpha")
            after = await until(home, started["alpha"], lambda now: now.step > row.step + 2)
            terminal.wait(f"wrote line {after.step}")
            terminal.press("q")
            assert terminal.ended() == 0
        for name, rollout in started.items():
            effects = (home.rollout(rollout) / "workspace" / "effects.txt").read_text().split()
            assert effects == [f"{name}-{number}" for number in range(1, len(effects) + 1)]
    finally:
        await end_core(home)


async def test_a_hangup_ends_the_console_and_nothing_else(home: Home, tmp_path: Path) -> None:
    started = await begin(home, tmp_path)
    try:
        with Terminal(home) as terminal:
            terminal.wait("wrote line 1")
            assert terminal.process.pid is not None
            os.kill(terminal.process.pid, signal.SIGHUP)
            terminal.process.close(force=True)
        row = await until(home, started["beta"], lambda row: row.step >= 1)
        await until(home, started["beta"], lambda now: now.step > row.step + 1)
    finally:
        await end_core(home)


async def test_the_console_says_when_the_core_is_gone_and_when_it_is_back(
    home: Home, tmp_path: Path
) -> None:
    started = await begin(home, tmp_path)
    try:
        with Terminal(home) as terminal:
            terminal.wait("▏")  # a reply streams: the console hears the core
            await end_core(home, signal.SIGKILL)
            terminal.wait("core gone")
            async with core(home):
                terminal.wait(lambda text: "core gone" not in text)
                row = await until(home, started["alpha"], lambda row: row.step >= 2)
                terminal.wait(f"wrote line {row.step}")
                terminal.press("q")
                terminal.ended()
    finally:
        await end_core(home)


@pytest.mark.parametrize(("columns", "lines"), [(20, 5), (80, 24), (200, 60)])
async def test_every_size_of_terminal_shows_the_rollouts(
    home: Home, tmp_path: Path, columns: int, lines: int
) -> None:
    await begin(home, tmp_path)
    try:
        with Terminal(home, columns=columns, lines=lines) as terminal:
            terminal.wait(lambda text: "alpha" in text and "beta" in text)
            terminal.press("q")
            assert terminal.ended() == 0
    finally:
        await end_core(home)
