"""Whoever dies, at whatever moment: what is left is found again, and nothing runs twice."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from apollo_tui.errors import SandboxError
from apollo_tui.sandbox import Job, Kind, Sandbox
from tests.sandbox.conftest import Place
from tests.sandboxes import (
    HOME_LABEL,
    parent,
    processes,
    require,
    run,
    runner_of,
    signal_process,
    until,
)

CORE = """
import asyncio, json, sys
from pathlib import Path
from apollo_tui.sandbox import Job, SandboxSpec
from apollo_tui.sandbox.choose import open_sandbox

async def main(kind, spec, script):
    spec["folder"] = Path(spec["folder"])
    sandbox = open_sandbox(kind, SandboxSpec(**spec), home_label=sys.argv[4])
    await sandbox.start()
    await sandbox.launch(Job(id="interrupted", script=script))
    print("launched", flush=True)
    await sandbox.wait("interrupted")

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]))
"""


async def begin_and_die(place: Place, script: str) -> None:
    """Another core starts the sandbox, hands a job over, waits for it, and is killed."""
    spec = json.dumps(asdict(place.spec) | {"folder": str(place.spec.folder)})
    core = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CORE, place.kind, spec, script, HOME_LABEL),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert core.stdout is not None
    assert await core.stdout.readline() == b"launched\n"
    core.kill()
    await core.communicate()


async def serve_of(sandbox: Sandbox, marker: str) -> int:
    """The pid that the sandbox's `serve` has on the host."""
    await sandbox.launch(Job(id="beacon", script=f"sleep {marker}"))
    await until(lambda: bool(processes(marker)))
    serve = parent(runner_of(processes(marker)[0]))
    await sandbox.kill("beacon", grace=0)
    await sandbox.wait("beacon")
    return serve


async def test_the_core_is_killed_in_mid_job(place: Place) -> None:
    script = (
        "echo ran >> effects; for n in $(seq 0 29); do echo line $n é; sleep 0.02; done; exit 7"
    )
    await begin_and_die(place, script)
    again = place.open()
    assert await again.start() is True
    await again.launch(Job(id="interrupted", script=script))
    outcome = await again.wait("interrupted")
    assert (outcome.ended, outcome.exit_code) == ("exited", 7)
    output = "".join(f"line {n} é\n" for n in range(30)).encode()
    assert await again.output("interrupted") == output
    assert outcome.output_bytes == len(output)
    assert (place.spec.workspace / "effects").read_text() == "ran\n"


async def test_the_job_ended_while_no_core_was_there(place: Place) -> None:
    await begin_and_die(place, "sleep 0.2; echo done > done; echo said")
    await until((place.spec.workspace / "done").exists)
    again = place.open()
    assert await again.start() is True
    outcome = await again.wait("interrupted")
    assert outcome.exit_code == 0
    assert await again.output("interrupted") == b"said\n"


async def test_a_second_core_sees_and_kills_what_runs(sandbox: Sandbox, place: Place) -> None:
    await sandbox.launch(Job(id="long", script="echo begun; exec sleep 60"))
    again = place.open()
    assert await again.start() is True
    assert again.identity == sandbox.identity
    async with asyncio.timeout(5):
        while await again.outcome("long") != "running":
            await asyncio.sleep(0.01)
    await again.kill("long", grace=1)
    seen = await asyncio.gather(sandbox.wait("long"), again.wait("long"))
    assert seen[0] == seen[1]
    assert seen[0].ended == "killed"


async def test_the_runner_is_killed(sandbox: Sandbox, marker: str) -> None:
    script = f"echo begun; trap '' TERM; sleep {marker} & setsid sleep {marker} & wait"
    await sandbox.launch(Job(id="orphaned", script=script))
    await until(lambda: len(processes(marker)) >= 3)
    while not await sandbox.output("orphaned"):
        await asyncio.sleep(0.01)
    waiting = asyncio.create_task(sandbox.wait("orphaned"))
    await asyncio.sleep(0)
    signal_process(runner_of(processes(marker)[0]), signal.SIGKILL)
    async with asyncio.timeout(2):
        outcome = await waiting
    assert (outcome.ended, outcome.exit_code) == ("lost", None)
    assert await sandbox.output("orphaned") == b"begun\n"
    assert outcome.kept_bytes == 6
    # What it left behind could never be ended by anybody else.
    await until(lambda: not processes(marker))
    await sandbox.launch(Job(id="orphaned", script=script))
    assert (await sandbox.outcome("orphaned")) == outcome
    assert (await run(sandbox, "echo on"))[1] == "on\n"


async def test_the_sandbox_ends_and_is_started_again(
    sandbox: Sandbox, place: Place, marker: str
) -> None:
    if not sandbox.isolated:
        pytest.skip("plain processes have no sandbox that could end")
    await run(sandbox, "echo kept > file")
    serve = await serve_of(sandbox, marker)
    await sandbox.launch(Job(id="cut", script=f"echo begun; sleep {marker}"))
    while not await sandbox.output("cut"):
        await asyncio.sleep(0.01)
    signal_process(serve, signal.SIGKILL)
    async with asyncio.timeout(2):
        assert (await sandbox.wait("cut")).ended == "lost"
    assert await sandbox.output("cut") == b"begun\n"
    await until(lambda: not processes(marker))
    with pytest.raises(SandboxError, match="does not run"):
        await sandbox.launch(Job(id="refused", script="echo ran > refused"))

    again = place.open()
    await again.start()
    assert (await run(again, "cat file"))[1] == "kept\n"
    assert (await again.wait("cut")).ended == "lost"
    assert await again.outcome("refused") == "unknown"
    assert not (place.spec.workspace / "refused").exists()


async def test_plain_jobs_outlive_their_serve(
    make_place: Callable[[Kind], Place], marker: str
) -> None:
    place = make_place(require("plain"))
    sandbox = place.open()
    await sandbox.start()
    serve = await serve_of(sandbox, marker)
    await sandbox.launch(Job(id="on", script="echo begun; sleep 0.5; echo ended; exit 9"))
    while not await sandbox.output("on"):
        await asyncio.sleep(0.01)
    waiting = asyncio.create_task(sandbox.wait("on"))
    signal_process(serve, signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{serve}").exists())
    again = place.open()
    assert await again.start() is False
    assert await again.start() is True
    assert (await waiting).exit_code == 9
    assert await again.output("on") == b"begun\nended\n"
    assert (await run(again, "echo on"))[1] == "on\n"
    await again.close()


async def test_a_job_that_was_never_begun_is_withdrawn(
    sandbox: Sandbox, place: Place, marker: str
) -> None:
    serve = await serve_of(sandbox, marker)
    signal_process(serve, signal.SIGSTOP)
    await sandbox.launch(Job(id="unseen", script="echo ran > effect"))
    assert await sandbox.outcome("unseen") == "unclaimed"
    waiting = asyncio.create_task(sandbox.wait("unseen"))
    await asyncio.sleep(0.1)
    signal_process(serve, signal.SIGKILL)
    async with asyncio.timeout(2):
        outcome = await waiting
    assert outcome.ended == "lost"
    assert "nothing was run" in outcome.error
    again = place.open()
    await again.start()
    await run(again, "true")
    assert await again.outcome("unseen") == outcome
    assert not (place.spec.workspace / "effect").exists()


async def test_a_job_that_was_never_begun_is_begun_by_the_next_core(
    sandbox: Sandbox, place: Place, marker: str
) -> None:
    serve = await serve_of(sandbox, marker)
    signal_process(serve, signal.SIGSTOP)
    await sandbox.launch(Job(id="unseen", script="echo ran >> effect"))
    signal_process(serve, signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{serve}").exists())
    again = place.open()
    await again.start()
    await again.launch(Job(id="unseen", script="echo ran >> effect"))
    async with asyncio.timeout(5):
        assert (await again.wait("unseen")).exit_code == 0
    assert (place.spec.workspace / "effect").read_text() == "ran\n"


async def test_a_kill_before_the_beginning(sandbox: Sandbox, marker: str) -> None:
    serve = await serve_of(sandbox, marker)
    signal_process(serve, signal.SIGSTOP)
    await sandbox.launch(Job(id="early", script="echo ran > effect"))
    await sandbox.kill("early")
    signal_process(serve, signal.SIGCONT)
    outcome = await sandbox.wait("early")
    assert (outcome.ended, outcome.error) == ("killed", "ended before it began")
    assert not (sandbox.spec.workspace / "effect").exists()


async def test_starting_twice_at_once(place: Place) -> None:
    sandboxes = [place.open() for _ in range(3)]
    found = await asyncio.gather(*(sandbox.start() for sandbox in sandboxes))
    assert sorted(found) == [False, True, True]
    outcome, output = await run(sandboxes[0], "echo once >> effects; cat effects")
    assert (outcome.exit_code, output) == (0, "once\n")


async def test_a_sandbox_that_was_removed_can_be_made_again(place: Place) -> None:
    first = place.open()
    await first.start()
    await run(first, "echo kept > file")
    await first.close(remove=True)
    second = place.open()
    assert await second.start() is False
    assert (await run(second, "cat file"))[1] == "kept\n"


async def test_letting_go_leaves_everything_running(place: Place, marker: str) -> None:
    first = place.open()
    await first.start()
    await first.launch(Job(id="stays", script=f"sleep {marker}"))
    await until(lambda: bool(processes(marker)))
    await first.close(remove=False)
    assert await place.open().outcome("stays") == "running"
