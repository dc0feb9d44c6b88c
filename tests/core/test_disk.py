from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from apollo_tui.cli.attention import attention
from apollo_tui.core.disk import DiskWatch
from apollo_tui.errors import CommandRefused
from apollo_tui.log.store import Log
from apollo_tui.log.verify import verify
from apollo_tui.paths import Home
from apollo_tui.screens.needs import needs
from tests.running import bash, core, ended, events, script, task_folder, until

PLAIN = {"sandbox": "plain", "unisolated": True}


def full_from(home: Home, warn: float, pause: float) -> None:
    home.prepare()
    home.config.write_text(f"[retention]\ndisk_warn = {warn}\ndisk_pause = {pause}\n")


async def test_a_full_disk_pauses_visibly_and_room_lets_go_on(home: Home, tmp_path: Path) -> None:
    full_from(home, 1.0, 1.0)
    model = script(tmp_path / "m.jsonl", [bash("sleep 0.2", repeat=30)])
    task = task_folder(tmp_path / "t")
    async with core(home) as client:
        (first,) = await client.run(task=task, model=model, **PLAIN)
        await until(home, first["rollout"], lambda row: row.step >= 1)
        full_from(home, 0.00001, 0.00002)
        (second,) = await client.run(task=task, model=model, name="second", **PLAIN)
        rows = [
            await until(
                home, one["rollout"], lambda row: row.state == "paused" and not row.in_flight
            )
            for one in (first, second)
        ]
        assert all(row.why.startswith("disk ") and row.why.endswith("% full") for row in rows)
        (need,) = needs(rows)
        assert need.urgent
        assert need.reason == f"paused: {rows[0].why} (stops 2 rollouts)"
        assert [one["kind"] for one in attention(rows[0])] == ["disk"]
        (low,) = events(home, None, "disk_low")
        assert low["pauses"]
        (paused,) = events(home, first["rollout"], "paused")
        assert paused["by"] is None

        with pytest.raises(CommandRefused, match=r"stays paused: disk .*% full; make room"):
            await client.resume(first["rollout"])
        with pytest.raises(CommandRefused, match="make room"):
            await client.advise(first["rollout"], "Go on.", resume=True)
        await client.advise(first["rollout"], "Look again.")
        full_from(home, 1.0, 1.0)
        for one in (first, second):
            await client.resume(one["rollout"])
            assert (await ended(home, one["rollout"])).state == "finished"


async def test_a_core_that_starts_on_a_full_disk_pauses_what_it_takes_up(
    home: Home, tmp_path: Path
) -> None:
    model = script(tmp_path / "m.jsonl", [bash("sleep 0.2", repeat=30)])
    async with core(home) as client:
        (one,) = await client.run(task=task_folder(tmp_path / "t"), model=model, **PLAIN)
        await until(home, one["rollout"], lambda row: row.step >= 1)
    full_from(home, 0.00001, 0.00002)
    async with core(home) as client:
        row = await until(home, one["rollout"], lambda row: row.state == "paused")
        assert "full" in row.why
        await client.stop(one["rollout"])
        await ended(home, one["rollout"])


async def test_it_looks_again_and_tells_once_each_time(home: Home) -> None:
    full_from(home, 0.00001, 1.0)
    log = await Log.open(home.database)

    async def take_up(_: object) -> None:
        raise AssertionError("nothing was thrown out")

    watch = DiskWatch(home, log, tuple, take_up, every=0.02)
    task = asyncio.create_task(watch.watch())

    async def noted(count: int) -> None:
        async with asyncio.timeout(10):
            while len(await log.events()) < count:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(await log.events()) == count

    await noted(1)
    full_from(home, 0.00001, 0.00002)
    await noted(2)
    full_from(home, 1.0, 1.0)
    await asyncio.sleep(0.1)
    full_from(home, 0.00001, 1.0)
    await noted(3)
    home.config.write_text("nonsense = [")  # the defaults hold meanwhile
    await asyncio.sleep(0.1)
    assert not task.done()
    task.cancel()
    assert [event.kind for _, event in await log.events()] == ["disk_low"] * 3
    await log.close()


# --- a disk that is really full ----------------------------------------------------------------------


@pytest.fixture
def small_home(tmp_path: Path) -> Iterator[Home]:
    """A home on a file system of 24 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    home = Home(tmp_path / "small")
    home.path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", home.path], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let us mount")
    yield home
    subprocess.run(["umount", "-l", home.path], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 65_536):
                pass
        except OSError:
            return


async def test_a_rollout_outlives_a_disk_without_any_room(small_home: Home, tmp_path: Path) -> None:
    home = small_home
    model = script(tmp_path / "m.jsonl", [bash(f"echo {'x' * 3000}; sleep 0.1", repeat=40)])
    task = task_folder(tmp_path / "t")
    async with core(home) as client:
        (one,) = await client.run(task=task, model=model, **PLAIN)
        rollout = one["rollout"]
        await until(home, rollout, lambda row: row.step >= 3)
        fill(home.path / "filler")
        async with asyncio.timeout(60):
            while (await client.status())["rollouts"]:
                fill(home.path / "filler2")
                await asyncio.sleep(0.1)
        assert shutil.disk_usage(home.path).free < 100_000
        with pytest.raises(CommandRefused, match="no room left"):
            await client.run(task=task, model=model, name="other", **PLAIN)
        (home.path / "filler").unlink()
        (home.path / "filler2").unlink()
        (other,) = await client.run(task=task, model=model, name="next", **PLAIN)
        row = await until(home, rollout, lambda row: row.state == "paused")
        assert row.why == "the disk was full"
        before = row.step
        await client.stop(other["rollout"])
        await client.resume(rollout)
        row = await ended(home, rollout)
        assert row.state == "finished"
        assert row.step > before
        started = [
            (event["step"], event["ordinal"]) for event in events(home, rollout, "action_started")
        ]
        assert len(started) == len(set(started)), "nothing was begun twice"
        await ended(home, other["rollout"])
    assert verify(home.database) == []
