from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apollo_tui.client import Client, core_pid
from apollo_tui.core.progress import Progress
from apollo_tui.core.recorder import Recorder
from apollo_tui.core.watching import MOST_SHOWN, Changes, FileWatch, Watched, Watcher
from apollo_tui.log.events import FilesChanged, RolloutCreated
from apollo_tui.log.store import Log
from apollo_tui.log.types import RolloutSpec, Task
from apollo_tui.paths import Home
from tests.running import bash, core, ended, events, script, task_folder, until

PLAIN = {"sandbox": "plain", "unisolated": True}


class Workspace:
    """A watched folder, whose changes are awaited and taken."""

    def __init__(self, folder: Path, excluded: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.watcher = Watcher()
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()
        self.errors: list[OSError] = []
        self.excluded = excluded
        self.watched: Watched | None = None

    async def begin(self) -> Watched:
        def changed() -> None:
            self.loop.call_soon_threadsafe(self.changed.set)

        self.watched = watched = await asyncio.to_thread(
            self.watcher.add, self.folder, self.excluded, changed, self.errors.append
        )
        return watched

    async def take(self) -> Changes | None:
        assert self.watched is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                await self.changed.wait()
        await asyncio.sleep(0.4)  # what comes together is taken together
        self.changed.clear()
        return await asyncio.to_thread(self.watcher.take, self.watched)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Workspace]:
    (folder := tmp_path / "workspace").mkdir()
    place = Workspace(folder)
    yield place
    await asyncio.to_thread(place.watcher.close)


async def test_what_is_made_written_moved_and_deleted(place: Workspace) -> None:
    folder = place.folder
    (folder / "old").mkdir()
    (folder / "old" / "before").write_text("1")
    (folder / "gone").write_text("12")
    await place.begin()
    assert await place.take() is None
    (folder / "old" / "before").write_text("12345")
    (folder / "new" / "deep").mkdir(parents=True)
    (folder / "new" / "deep" / "file").write_text("123")
    (folder / "gone").unlink()
    changes = await place.take()
    assert changes == Changes(3, 8, ("old/before", "new/deep/file", "gone"), False)
    (folder / "new").rename(folder / "moved")
    assert (await place.take() or Changes(0, 0, (), False)).largest == ("moved/deep/file",)
    (folder / "moved" / "deep" / "file").write_text("1")
    assert (await place.take() or Changes(0, 0, (), False)).largest == ("moved/deep/file",)


async def test_what_means_nothing_is_not_told(tmp_path: Path, place: Workspace) -> None:
    place.excluded = ("wandb", "*.ckpt")
    folder = place.folder
    (folder / ".git" / "objects").mkdir(parents=True)
    (folder / "wandb").mkdir()
    await place.begin()
    (folder / ".git" / "objects" / "one").write_text("1")
    (folder / "src" / "__pycache__").mkdir(parents=True)
    (folder / "src" / "__pycache__" / "a.pyc").write_text("1")
    (folder / "wandb" / "log").write_text("1")
    (folder / "model.ckpt").write_text("1")
    (folder / "src" / "a.py").write_text("1")
    changes = await place.take()
    assert changes is not None
    assert changes.largest == ("src/a.py",)


async def test_links_lead_nowhere_and_any_name_can_be_told(
    tmp_path: Path, place: Workspace
) -> None:
    (outside := tmp_path / "outside").mkdir()
    (place.folder / "before").symlink_to(outside)
    await place.begin()
    (place.folder / "after").symlink_to(outside)
    (place.folder / "root").symlink_to("/")
    (outside / "secret").write_text("123456")
    os.close(os.open(os.fsencode(place.folder) + b"/bad\xff\n\x1b[31m", os.O_CREAT))
    changes = await place.take()
    assert changes is not None
    assert {path for path in changes.largest if not path.startswith("bad")} == {"after", "root"}
    assert changes.count == 3
    event = FilesChanged(rollout="r", count=3, paths=changes.largest)
    assert FilesChanged.model_validate_json(event.model_dump_json()).count == 3


async def test_a_build_of_ten_thousand_files_does_not_stall_the_loop(place: Workspace) -> None:
    for number in range(1000):
        (place.folder / f"d{number}").mkdir()
    slowest = 0.0
    done = False

    async def tick() -> None:
        nonlocal slowest
        while not done:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            slowest = max(slowest, time.perf_counter() - began)

    ticking = asyncio.create_task(tick())
    await place.begin()
    build = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import os\nfor i in range(100):\n os.makedirs(f'b/{i}')\n"
        " for j in range(100): open(f'b/{i}/{j}', 'w').write('x' * 10)",
        cwd=place.folder,
    )
    await build.wait()
    changes = await place.take()
    done = True
    await ticking
    assert changes is not None
    assert (changes.count, changes.bytes, changes.at_least) == (10_000, 100_000, False)
    assert len(changes.largest) == MOST_SHOWN
    assert slowest < 0.25, "a key press waits no longer than that"


async def test_more_than_the_kernel_holds_is_said(place: Workspace) -> None:
    watched = await place.begin()
    with place.watcher._lock:  # the watcher cannot read meanwhile
        for number in range(20_000):
            os.close(os.open(place.folder / f"f{number}", os.O_CREAT | os.O_WRONLY))
        (place.folder / "late").mkdir()
    await asyncio.sleep(0.5)
    changes = await place.take()
    assert changes is not None
    assert changes.at_least
    (place.folder / "late" / "file").write_text("1")
    changes = await place.take()
    assert changes is not None
    assert "late/file" in changes.largest, "folders that were missed are found"
    await asyncio.to_thread(place.watcher.remove, watched)
    await asyncio.to_thread(place.watcher.remove, watched)  # harmless
    assert place.watcher._folders == {}


# --- told on the log ---------------------------------------------------------------------------------


async def test_at_most_one_event_in_a_while_and_none_is_lost(tmp_path: Path) -> None:
    log = await Log.open(tmp_path / "apollo.db")
    (workspace := tmp_path / "workspace").mkdir()
    recorder = Recorder(log, "r", Progress())
    task = Task(name="t", description="d")
    spec = RolloutSpec(task=task, model="m", sandbox="plain", isolated=False, name="n")
    await recorder.record(RolloutCreated(rollout="r", spec=spec))
    watcher = Watcher()
    began = time.monotonic()
    async with FileWatch(watcher, recorder, workspace, every=0.5):
        for number in range(40):
            (workspace / f"f{number}").write_text("1")
            await asyncio.sleep(0.05)
        took = time.monotonic() - began
    watcher.close()
    told = [event for _, event in await log.events("r") if isinstance(event, FilesChanged)]
    assert 2 <= len(told) <= took / 0.5 + 2
    assert sum(event.count for event in told) >= 40
    assert {path for event in told for path in event.paths} <= {f"f{n}" for n in range(40)}
    await log.close()


async def test_a_rollout_tells_which_files_it_changed(home: Home, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [bash("echo 12345 > made")])
    async with core(home) as client:
        (one,) = await client.run(task=task_folder(tmp_path / "t"), model=model, **PLAIN)
        row = await ended(home, one["rollout"])
        assert row.state == "finished"
        (told,) = events(home, one["rollout"], "files_changed")
        assert (told["count"], told["bytes"], told["paths"]) == (1, 6, ["made"])
        assert told["at_least"] is False


async def test_the_limit_of_watches_is_said_and_the_rollout_goes_on(
    home: Home, tmp_path: Path
) -> None:
    """In a user namespace of its own, where the limit can be lowered for nobody else."""
    limit = "/proc/sys/user/max_inotify_watches"
    probe = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", f"echo 3 > {limit}"], check=False, capture_output=True
    )
    if probe.returncode:
        pytest.skip(f"no user namespace with a limit of its own: {probe.stderr.decode().strip()}")
    home.prepare()
    starting = await asyncio.create_subprocess_exec(
        *("unshare", "-Ur", "sh", "-c", f'echo 3 > {limit}; exec "$@"', "sh"),
        *(sys.executable, "-m", "apollo_tui", "--home", str(home.path), "core", "serve"),
    )
    async with asyncio.timeout(20):
        while core_pid(home) is None or not home.socket.exists():
            await asyncio.sleep(0.05)
    model = script(tmp_path / "m.jsonl", [bash("mkdir -p a/b/c/d/e; sleep 0.5; echo > a/f")])
    async with await Client.connect(home, start=False, annotator="ana") as client:
        (one,) = await client.run(task=task_folder(tmp_path / "t"), model=model, **PLAIN)
        row = await ended(home, one["rollout"])
    assert row.state == "finished"
    said = [line for line in home.core_log.read_text().splitlines() if "not watched" in line]
    assert len(said) == 1
    assert "sysctl -w fs.inotify.max_user_watches" in said[0]
    starting.terminate()
    await starting.wait()


async def test_a_core_watches_again_what_it_takes_up(home: Home, tmp_path: Path) -> None:
    model = script(
        tmp_path / "m.jsonl", [bash("until [ -e go ]; do sleep 0.1; done; sleep 1; echo > made")]
    )
    async with core(home) as client:
        (one,) = await client.run(task=task_folder(tmp_path / "t"), model=model, **PLAIN)
        await until(home, one["rollout"], lambda row: row.in_flight == "action")
    async with core(home):
        (home.rollout(one["rollout"]) / "workspace" / "go").touch()
        await ended(home, one["rollout"])
        told = events(home, one["rollout"], "files_changed")
        assert "made" in {path for event in told for path in event["paths"]}
