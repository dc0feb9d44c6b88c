"""What a job's outcome and output say, whatever the job does; in every kind of sandbox."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from apollo_tui.errors import SandboxError
from apollo_tui.sandbox import Job, Sandbox
from tests.sandboxes import processes, run, until


async def test_output_and_exit_code(sandbox: Sandbox) -> None:
    outcome, output = await run(sandbox, "echo out; echo err >&2; pwd; exit 3")
    assert (outcome.ended, outcome.exit_code, outcome.signal) == ("exited", 3, None)
    assert output == f"out\nerr\n{sandbox.workspace_path}\n"
    assert outcome.output_bytes == outcome.kept_bytes == len(output)
    assert outcome.started_at <= outcome.ended_at <= time.time_ns() // 1000


async def test_the_workspace_is_the_hosts_folder(sandbox: Sandbox) -> None:
    await run(sandbox, "printf hello > made.txt")
    assert (sandbox.spec.workspace / "made.txt").read_text() == "hello"


async def test_a_job_that_was_handed_over_twice_runs_once(sandbox: Sandbox) -> None:
    job = Job(id="once", script="echo ran >> effects; sleep 0.2")
    await asyncio.gather(*(sandbox.launch(job) for _ in range(5)))
    await sandbox.wait("once")
    await sandbox.launch(job)
    await run(sandbox, "true")
    assert (sandbox.spec.workspace / "effects").read_text() == "ran\n"


async def test_states_before_and_after(sandbox: Sandbox) -> None:
    assert await sandbox.outcome("gated") == "unknown"
    await sandbox.launch(Job(id="gated", script="mkfifo gate; read code < gate; exit $code"))
    await until((sandbox.spec.workspace / "gate").exists)
    assert await sandbox.outcome("gated") == "running"
    await run(sandbox, "echo 5 > gate")
    outcome = await sandbox.wait("gated")
    assert outcome.exit_code == 5
    assert outcome == await sandbox.outcome("gated")


async def test_waiting_for_what_was_never_handed_over(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="no job nothing"):
        await sandbox.wait("nothing")


@pytest.mark.parametrize("job_id", ["../escape", "", ".serve", "a/b", "x" * 101])
async def test_an_id_that_is_no_safe_file_name(sandbox: Sandbox, job_id: str) -> None:
    with pytest.raises(SandboxError, match="cannot be a job's id"):
        await sandbox.launch(Job(id=job_id, script="true"))


async def test_cancelling_a_wait_only_stops_waiting(sandbox: Sandbox) -> None:
    await sandbox.launch(Job(id="slow", script="sleep 0.3; echo done"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await sandbox.wait("slow")
    assert (await sandbox.wait("slow")).exit_code == 0
    assert await sandbox.output("slow") == b"done\n"


async def test_several_jobs_at_once(sandbox: Sandbox) -> None:
    jobs = [Job(id=f"many-{n}", script=f"sleep 0.1; echo {n}; exit {n}") for n in range(12)]
    await asyncio.gather(*(sandbox.launch(job) for job in jobs))
    outcomes = await asyncio.gather(*(sandbox.wait(job.id) for job in jobs))
    assert [outcome.exit_code for outcome in outcomes] == list(range(12))
    assert await sandbox.output("many-7") == b"7\n"


# --- output -----------------------------------------------------------------------------------------


async def test_more_output_than_is_kept(sandbox: Sandbox) -> None:
    cap, size = 1 << 20, 50_000_000
    script = f"head -c {size} /dev/zero | tr '\\0' x; printf end"
    await sandbox.launch(Job(id="flood", script=script, output_cap=cap))
    outcome = await sandbox.wait("flood")
    assert (outcome.exit_code, outcome.kept_bytes, outcome.output_bytes) == (0, cap, size + 3)
    assert await sandbox.output("flood") == b"x" * cap
    assert await sandbox.output("flood", cap - 5, 100) == b"x" * 5
    assert await sandbox.output("flood", cap + 5) == b""


async def test_output_can_be_read_while_it_comes(sandbox: Sandbox) -> None:
    await sandbox.launch(Job(id="talk", script="echo one; read x < <(sleep 0.5); echo two"))
    async with asyncio.timeout(5):
        while await sandbox.output("talk") != b"one\n":
            await asyncio.sleep(0.01)
    assert await sandbox.outcome("talk") == "running"
    await sandbox.wait("talk")
    assert await sandbox.output("talk", 4) == b"two\n"


async def test_bytes_that_are_no_text(sandbox: Sandbox) -> None:
    await sandbox.launch(Job(id="bytes", script=r"printf '\377\0\300\200a'"))
    outcome = await sandbox.wait("bytes")
    assert await sandbox.output("bytes") == b"\xff\0\xc0\x80a"
    assert outcome.output_bytes == 5


# --- scripts that are wrong, or strange ---------------------------------------------------------------


async def test_a_nul_byte_in_the_script(sandbox: Sandbox) -> None:
    outcome, output = await run(sandbox, "echo a\0b")
    assert (outcome.ended, outcome.exit_code, output) == ("exited", 126, "")
    assert "NUL byte at byte 6" in outcome.error


async def test_half_a_surrogate_pair_in_the_script(sandbox: Sandbox) -> None:
    outcome, output = await run(sandbox, "printf '\ud83d' | wc -c")
    assert (outcome.exit_code, output.strip()) == (0, "3")


async def test_a_script_of_a_megabyte(sandbox: Sandbox) -> None:
    outcome, output = await run(sandbox, ": " + "x" * (1 << 20) + "\necho end")
    assert (outcome.exit_code, output) == (0, "end\n")


async def test_a_missing_program(sandbox: Sandbox) -> None:
    outcome, output = await run(sandbox, "no-such-program")
    assert outcome.exit_code == 127
    assert "no-such-program" in output


async def test_a_syntax_error(sandbox: Sandbox) -> None:
    outcome, output = await run(sandbox, "if true; then")
    assert outcome.exit_code == 2
    assert "syntax error" in output


async def test_a_signal(sandbox: Sandbox) -> None:
    outcome, _ = await run(sandbox, "kill -9 $$")
    assert (outcome.ended, outcome.exit_code, outcome.signal) == ("exited", 137, 9)


async def test_a_workspace_that_the_job_deleted(sandbox: Sandbox) -> None:
    """Only plain can: elsewhere the workspace is a mount."""
    outcome, _ = await run(sandbox, 'rmdir "$PWD"')
    again, _ = await run(sandbox, "pwd")
    if outcome.exit_code == 0:
        assert (again.exit_code, "No such file" in again.error) == (126, True)
    else:
        assert again.exit_code == 0


# --- the end of a job -----------------------------------------------------------------------------------

STUBBORN = """
(setsid env -i bash -c 'trap "" TERM HUP INT; (trap "" TERM; sleep {0} & wait; sleep {0}) & sleep {0}' &) &
trap '' TERM
sleep {0} & sleep {0}
sleep {0}
"""


async def test_a_timeout_ends_the_whole_tree(sandbox: Sandbox, marker: str) -> None:
    began = time.monotonic()
    outcome, _ = await run(sandbox, STUBBORN.format(marker), timeout=0.5)
    assert outcome.ended == "timeout"
    assert time.monotonic() - began < 0.5 + 2.0 + 2.0
    assert processes(marker) == []


async def test_a_timeout_of_what_obeys(sandbox: Sandbox, marker: str) -> None:
    began = time.monotonic()
    outcome, output = await run(sandbox, f"echo begun; sleep {marker}", timeout=0.3)
    assert (outcome.ended, outcome.signal, output) == ("timeout", 15, "begun\n")
    assert time.monotonic() - began < 1.5


async def test_killing_the_whole_tree(sandbox: Sandbox, marker: str) -> None:
    await sandbox.launch(Job(id="stubborn", script=STUBBORN.format(marker)))
    await until(lambda: len(processes(marker)) >= 4)
    await sandbox.kill("stubborn", grace=0.3)
    async with asyncio.timeout(3):
        outcome = await sandbox.wait("stubborn")
    assert outcome.ended == "killed"
    assert processes(marker) == []


async def test_the_grace_of_a_kill(sandbox: Sandbox) -> None:
    script = "trap 'echo saved; exit 4' TERM; echo begun; while :; do sleep 0.02; done"
    await sandbox.launch(Job(id="graceful", script=script))
    while not await sandbox.output("graceful"):
        await asyncio.sleep(0.01)
    await sandbox.kill("graceful", grace=5)
    outcome = await sandbox.wait("graceful")
    assert (outcome.ended, outcome.exit_code) == ("killed", 4)
    assert (await sandbox.output("graceful")).endswith(b"saved\n")


async def test_a_kill_does_not_reach_other_jobs(sandbox: Sandbox, marker: str) -> None:
    await sandbox.launch(Job(id="victim", script=f"sleep {marker}"))
    await sandbox.launch(Job(id="neighbour", script="sleep 0.5; echo fine"))
    await sandbox.kill("victim", grace=0)
    assert (await sandbox.wait("victim")).ended == "killed"
    assert (await sandbox.wait("neighbour")).exit_code == 0
    assert await sandbox.output("neighbour") == b"fine\n"


async def test_a_background_child_does_not_delay_the_outcome(sandbox: Sandbox, marker: str) -> None:
    script = "(for n in 1 2 3 4; do sleep 0.3; echo late; done; touch wrote) & echo now"
    began = time.monotonic()
    outcome, output = await run(sandbox, script)
    assert time.monotonic() - began < 0.6
    assert (outcome.exit_code, output) == (0, "now\n")
    # Its pipe is still read, or it would have died of SIGPIPE.
    await until((sandbox.spec.workspace / "wrote").exists)


async def test_what_ends_just_after_its_job_is_still_heard(sandbox: Sandbox) -> None:
    _, output = await run(sandbox, "echo a > >(sleep 0.03; sed s/a/b/)")
    assert output == "b\n"


async def test_a_background_child_that_writes_for_ever(sandbox: Sandbox, marker: str) -> None:
    job = Job(id="yes", script=f"yes {marker} & echo now", output_cap=1 << 16)
    await sandbox.launch(job)
    async with asyncio.timeout(5):
        outcome = await sandbox.wait("yes")
    assert outcome.exit_code == 0
    assert processes(f"yes\0{marker}")
    await sandbox.kill("yes", grace=0)
    await until(lambda: not processes(marker))


async def test_background_children_outlive_their_job_and_can_be_killed(
    sandbox: Sandbox, marker: str
) -> None:
    await sandbox.launch(Job(id="server", script=f"setsid sleep {marker} > /dev/null 2>&1 &"))
    await sandbox.wait("server")
    await run(sandbox, "true")
    assert len(processes(marker)) == 1
    await sandbox.kill("server", grace=0.1)
    await until(lambda: not processes(marker))


async def test_no_zombies(sandbox: Sandbox) -> None:
    script = "for n in $(seq 200); do (setsid true &) ; done; sleep 0.3; ps -eo stat | grep -c '^Z'"
    _, output = await run(sandbox, script)
    if sandbox.isolated:
        assert output == "0\n"


async def test_closing_ends_everything_and_keeps_the_workspace(
    sandbox: Sandbox, marker: str
) -> None:
    await sandbox.launch(Job(id="bg", script=f"touch kept; sleep {marker} & exit 0"))
    await sandbox.wait("bg")
    await sandbox.launch(Job(id="fg", script=f"sleep {marker}"))
    await until(lambda: len(processes(marker)) >= 2)
    await sandbox.close(remove=True)
    assert processes(marker) == []
    assert (sandbox.spec.workspace / "kept").exists()
    await sandbox.close(remove=True)


async def test_the_environment_that_was_asked_for(sandbox: Sandbox) -> None:
    job = Job(id="env", script='echo "$GREETING $HOME"; cd && pwd', environment={"GREETING": "hé"})
    await sandbox.launch(job)
    await sandbox.wait("env")
    greeting, home = (await sandbox.output("env")).decode().splitlines()
    assert greeting == f"hé {home}"


async def test_stdin_is_empty(sandbox: Sandbox) -> None:
    outcome, output = await run(sandbox, "cat; echo end")
    assert (outcome.exit_code, output) == (0, "end\n")


async def test_a_file_tool(sandbox: Sandbox) -> None:
    content = "first é 😀\n" + "x" * 300_000
    job = Job(id="tool", tool="create_file", arguments={"filename": "new.txt", "content": content})
    await sandbox.launch(job)
    outcome = await sandbox.wait("tool")
    said = json.loads(await sandbox.output("tool"))
    assert (outcome.exit_code, said["success"]) == (0, True)
    assert (sandbox.spec.workspace / "new.txt").read_text() == content
    assert (await run(sandbox, "echo more >> new.txt"))[0].exit_code == 0
