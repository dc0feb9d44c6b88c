from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path

import pytest

from apollo_tui.client import Client
from apollo_tui.core.housekeeping import seconds
from apollo_tui.errors import CommandRefused, LogCorrupt, UnknownName, UsageError
from apollo_tui.log.backup import backup
from apollo_tui.log.events import Marked, RolloutCreated
from apollo_tui.log.store import Log
from apollo_tui.log.types import RolloutSpec, Task
from apollo_tui.log.verify import verify
from apollo_tui.paths import Home
from apollo_tui.sandbox.usage import Usage, remove_tree, used_by
from tests.running import bash, core, ended, events, script, task_folder, until
from tests.sandboxes import processes, require

PLAIN = {"sandbox": "plain", "unisolated": True}


def keep(home: Home, how_long: str) -> None:
    home.prepare()
    home.config.write_text(f'[retention]\nkeep_workspaces = "{how_long}"\n')


async def start(client: Client, tmp_path: Path, name: str, *commands: str, **more: object) -> str:
    model = script(tmp_path / f"{name}.jsonl", [bash(command) for command in commands])
    settings = {**PLAIN, **more}
    (one,) = await client.run(task=task_folder(tmp_path / name), model=model, **settings)
    return str(one["rollout"])


async def stopped(home: Home, client: Client, rollout: str) -> None:
    await until(home, rollout, lambda row: row.in_flight == "action")
    await client.stop(rollout)
    await ended(home, rollout)


async def test_gc_takes_what_is_old_and_tells_of_stopped_ones(home: Home, tmp_path: Path) -> None:
    keep(home, "forever")
    async with core(home) as client:
        finished = await start(client, tmp_path, "done", "echo 1 > made")
        halted = await start(client, tmp_path, "halted", "echo 1 > made; sleep 600")
        running = await start(client, tmp_path, "running", "sleep 600")
        await ended(home, finished)
        await stopped(home, client, halted)
        await until(home, running, lambda row: row.in_flight == "action")

        told = await client.collect_garbage()
        assert [(one["what"], one["rollout"]) for one in told["removed"]] == [("spool", finished)]
        assert (told["failed"], told["notes"]) == ([], [])
        assert not (home.rollout(finished) / "spool").exists()
        assert (home.rollout(finished) / "workspace" / "made").exists()
        assert (home.rollout(halted) / "spool").exists(), "it may go on"

        (stranger := home.rollouts / "stranger").mkdir()
        keep(home, "1m")  # none is that old
        assert (await client.collect_garbage())["removed"] == []
        set_back_ends(home)
        os.utime(stranger, (time.time() - 120,) * 2)
        dry = await client.collect_garbage(dry_run=True)
        assert stranger.exists()
        told = await client.collect_garbage()
        assert [one["what"] for one in told["removed"]] == ["files", "files", "folder"]
        assert [one["rollout"] for one in dry["removed"]] == [finished, halted, "stranger"]
        assert "could have been resumed" in told["removed"][1]["why"]
        assert [path.name for path in home.rollouts.iterdir()] == [running]
        (event,) = events(home, halted, "files_removed")
        assert "workspace" in event["parts"]
        with pytest.raises(CommandRefused, match="its files were removed"):
            await client.resume(halted)
        await client.stop(running)
        await ended(home, running)


def set_back_ends(home: Home) -> None:
    """As if what has ended had done so two minutes ago: the projection is what gc goes by."""
    db = sqlite3.connect(home.database, timeout=10)
    db.execute("UPDATE rollouts SET ended_at = ended_at - 120000000 WHERE ended_at IS NOT NULL")
    db.commit()
    db.close()


async def test_rm_refuses_what_it_must(home: Home, tmp_path: Path) -> None:
    async with core(home) as client:
        with pytest.raises(UnknownName):
            await client.remove_files("nobody")
        rollout = await start(client, tmp_path, "one", "sleep 600")
        with pytest.raises(CommandRefused, match="stop it first"):
            await client.remove_files(rollout)
        await stopped(home, client, rollout)
        told = await client.command("remove_files", command="the-same-one", rollout=rollout)
        again = await client.command("remove_files", command="the-same-one", rollout=rollout)
        assert again == told
        assert len(events(home, rollout, "files_removed")) == 1


async def test_rm_and_resume_at_the_same_time_never_leave_half(home: Home, tmp_path: Path) -> None:
    async with core(home) as client, Client(home, "ben") as other:
        for number in range(5):
            rollout = await start(client, tmp_path, f"r{number}", "echo 1 > made; sleep 600")
            await stopped(home, client, rollout)
            both = await asyncio.gather(
                client.remove_files(rollout), other.resume(rollout), return_exceptions=True
            )
            refused = [one for one in both if isinstance(one, CommandRefused)]
            assert len(refused) == 1, both
            workspace = home.rollout(rollout) / "workspace"
            if isinstance(both[0], dict):
                assert not workspace.exists()
            else:
                assert (workspace / "made").exists()
                await client.stop(rollout)
                await ended(home, rollout)


async def test_rm_ends_the_jobs_that_a_stop_left(home: Home, tmp_path: Path) -> None:
    marker = f"sleep {600 + os.getpid() / 1e6:.6f}"
    async with core(home) as client:
        rollout = await start(client, tmp_path, "left", f"{marker} & sleep 600")
        await until(home, rollout, lambda row: row.in_flight == "action")
        await client.stop(rollout, jobs="leave")
        await ended(home, rollout)
        told = await client.collect_garbage()
        assert told["removed"] == [], "its jobs were left on purpose"
        await client.remove_files(rollout)
        assert processes(marker) == []
        assert not home.rollout(rollout).exists()


async def test_gc_removes_containers_without_a_rollout(home: Home, tmp_path: Path) -> None:
    require("docker")
    import docker

    from apollo_tui.sandbox.docker import list_containers

    async with core(home) as client:
        rollout = await start(client, tmp_path, "boxed", "sleep 600", sandbox="docker")
        await until(home, rollout, lambda row: row.in_flight == "action", seconds=120)
        engine = docker.from_env()
        try:
            (mine,) = [
                one
                for one in engine.containers.list()
                if one.labels.get("apollo.rollout") == rollout
            ]
            label = mine.labels["apollo.home"]
            labels = {"apollo.home": label, "apollo.rollout": "gone", "apollo.sandbox": "gone"}
            name = f"apollo-gone-{os.getpid()}"
            image = mine.attrs["Image"]
            engine.containers.create(image, "true", labels=labels, name=name)
        finally:
            engine.close()
        told = await client.collect_garbage()
        assert [(one["what"], one["name"]) for one in told["removed"]] == [("container", "gone")]
        assert list(list_containers(label).values()) == [rollout]
        await client.stop(rollout)
        await ended(home, rollout)


@pytest.mark.parametrize(
    ("setting", "meant"), [("30d", 2_592_000), ("2w", 1_209_600), ("1m", 60), ("forever", None)]
)
def test_how_long_a_setting_means(setting: str, meant: float | None) -> None:
    assert seconds(setting) == meant


# --- what an agent leaves --------------------------------------------------------------------------


def nest(folder: Path, depth: int) -> None:
    """Folders deeper than any path may be long."""
    held = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 60, dir_fd=held)
        below = os.open("d" * 60, os.O_RDONLY, dir_fd=held)
        os.close(held)
        held = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=held))
    os.close(held)


def test_what_an_agent_made_is_counted_and_deleted_and_nothing_else(tmp_path: Path) -> None:
    (outside := tmp_path / "outside").mkdir()
    (outside / "kept").write_text("x" * 100_000)
    (made := tmp_path / "made").mkdir()
    (made / "link").symlink_to(outside)
    os.mkfifo(made / "pipe")
    (made / "closed" / "inner").mkdir(parents=True)
    (made / "closed" / "inner" / "file").write_text("x" * 10_000)
    os.link(made / "closed" / "inner" / "file", made / "second name")
    (made / "closed" / "inner").chmod(0o500)
    (made / "closed").chmod(0o000)
    nest(made, 2000)
    used = used_by(made)
    assert used.bytes >= 10_000
    assert used.unread >= 1, "what cannot be looked into is said"
    remove_tree(made)
    assert not made.exists()
    assert (outside / "kept").exists()
    remove_tree(made)  # harmless
    assert used_by(made) == Usage()


# --- backup ------------------------------------------------------------------------------------------


async def test_a_backup_while_the_log_is_written(home: Home, tmp_path: Path) -> None:
    home.prepare()
    log = await Log.open(home.database)
    task = Task(name="t", description="d")
    spec = RolloutSpec(task=task, model="m", sandbox="plain", isolated=False, name="n")
    await log.append(RolloutCreated(rollout="r", spec=spec))
    text = [os.urandom(3000).hex() for _ in range(2000)]
    await log.append(texts=text)
    writing = True

    async def write() -> int:
        count = 0
        while writing:
            await log.append(Marked(rollout="r", by="a", actions=(), mark="accept"), durable=True)
            count += 1
        return count

    writer = asyncio.create_task(write())
    began = time.monotonic()
    size = await asyncio.to_thread(backup, home.database, tmp_path / "copy.db")
    took = time.monotonic() - began
    writing = False
    assert await writer > 0
    await log.close()
    assert size > 6_000_000
    assert took < 5
    assert verify(tmp_path / "copy.db") == []
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == ["copy.db"]


def test_a_backup_of_a_damaged_log_is_none(tmp_path: Path) -> None:
    log = tmp_path / "apollo.db"

    async def make() -> None:
        await (await Log.open(log)).close()

    asyncio.run(make())
    data = bytearray(log.read_bytes())
    data[4096:12288] = os.urandom(8192)
    log.write_bytes(data)
    with pytest.raises(LogCorrupt):
        backup(log, tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == []
    with pytest.raises(UsageError, match="exists already"):
        backup(log, log)
