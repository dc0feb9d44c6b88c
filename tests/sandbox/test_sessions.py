"""Terminal sessions: whatever a command does, its end and its output are known, and the next one
runs; in every kind of sandbox."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.sandbox import Kind, Sandbox
from apollo_tui.sandbox.sessions import Command, Refused, Session, Sessions, line_starts
from tests.sandbox.conftest import Place
from tests.sandboxes import (
    HOME_LABEL,
    parent,
    processes,
    require,
    runner_of,
    signal_process,
    until,
)


@pytest.fixture
async def session(sandbox: Sandbox) -> Session:
    return await Sessions(sandbox).create("main", "1-1")


def new_id() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


async def start(session: Session, text: str) -> Command:
    return await session.run(new_id(), text)


async def end(session: Session, command: Command, seconds: float = 20) -> tuple[Command, bytes]:
    async with asyncio.timeout(seconds):
        over = await session.ended(command.id)
    assert over.end is not None
    return over, await session.read(over.start, over.end - over.start)


async def run(session: Session, text: str, seconds: float = 20) -> tuple[Command, bytes]:
    """Run a command to its end: what is known of it, and its output."""
    return await end(session, await start(session, text), seconds)


async def began(session: Session, text: str) -> Command:
    """Start a command, and return when it has printed something."""
    command = await start(session, text)
    await until(lambda: _size(session) > command.start)
    return command


async def key(session: Session, text: str) -> tuple[int, int]:
    return await session.type(new_id(), text)


# --- commands ---------------------------------------------------------------------------------------


async def test_folder_and_variables_stay_from_command_to_command(session: Session) -> None:
    first, said = await run(session, "mkdir -p sub && cd sub && X=5 && export Y=6; echo begun")
    assert (first.exit_code, first.ended, said) == (0, "exited", b"begun\n")
    second, said = await run(session, 'echo "$X $(printenv Y)"; basename "$PWD"; (exit 7)')
    assert (second.exit_code, said) == (7, b"5 6\nsub\n")
    assert second.cwd == f"{session.sandbox.workspace_path}/sub"
    assert first.started_at <= first.ended_at <= second.started_at <= second.ended_at
    assert first.end is not None
    assert first.end <= second.start


async def test_it_is_a_terminal(session: Session) -> None:
    _, said = await run(session, "test -t 0 && test -t 1 && test -t 2 && stty size; id -u")
    user = (await run(session, "id -u"))[1]
    assert said == b"100 300\n" + user


@pytest.mark.parametrize(
    ("text", "code", "ended", "said"),
    [
        ("if", 2, "exited", b"syntax error"),
        ("echo 'never closed", 2, "exited", b"unexpected EOF"),
        ('echo "$(never', 2, "exited", b"unexpected EOF"),
        ("cat <<END\nnever closed", 0, "exited", b"never closed"),
        ("no-such-program-anywhere", 127, "exited", b"not found"),
        ("/etc", 126, "exited", b"directory"),
        ("return 4", 4, "exited", b""),
        ("set -u; echo $unset; echo after", 1, "exited", b"unbound"),
        ("exit 3", 3, "shell_ended", b""),
        ("set -e; false; echo no", 1, "shell_ended", b""),
        ("exec sh -c 'exit 9'", 9, "shell_ended", b""),
        ("kill -9 $$", 137, "shell_ended", b""),
        (":" + ";:" * 400_000, 139, "shell_ended", b""),  # bash itself dies of this
        ("stty raw -echo -isig", 0, "exited", b""),
        ("exec </dev/null; exec 7>&1; PS1='$ '; PROMPT_COMMAND='echo x'", 0, "exited", b""),
        ("printf '\\377\\0\\300\\200a'", 0, "exited", b"\xff\0\xc0\x80a"),
        ("echo a\0b", 126, "exited", b""),
        ("printf '\ud83d' | od -An -tx1", 0, "exited", b" ed a0 bd\n"),
        ("", 0, "exited", b""),
        ("# nothing", 0, "exited", b""),
    ],
)
async def test_what_goes_wrong_is_a_result_and_the_session_goes_on(
    session: Session, text: str, code: int, ended: str, said: bytes
) -> None:
    command, output = await run(session, text)
    assert (command.exit_code, command.ended) == (code, ended)
    assert said in output
    assert command.shell_ended == (ended == "shell_ended")
    if "\0" in text:
        assert "NUL byte at character 6" in command.error
    # The next command runs, on a terminal as it should be.
    again, output = await run(session, "stty -a | grep -ow -e '-echo' -e '-isig'; pwd")
    assert again.exit_code == 0
    assert session.sandbox.workspace_path.encode() in output.split(b"\n")
    assert b"-echo" not in output
    assert b"-isig" not in output


async def test_a_command_of_a_megabyte(session: Session) -> None:
    lines = "\n".join(f"echo {number}" for number in range(100_000))
    assert len(lines) > 1_000_000
    command, output = await run(session, lines, 60)
    assert command.exit_code == 0
    assert output == b"".join(b"%d\n" % number for number in range(100_000))
    assert (await run(session, f"echo '{'x' * (1 << 20)}' | wc -c"))[1].strip() == b"1048577"


async def test_one_command_at_a_time(session: Session) -> None:
    running = await began(session, "echo; sleep 20")
    with pytest.raises(Refused, match="a command is running in it: echo; sleep 20"):
        await start(session, "echo no")
    await key(session, "\x03")
    assert (await end(session, running))[0].exit_code == 130


async def test_a_command_that_was_asked_for_twice_runs_once(session: Session) -> None:
    asked = (session.run("same", "echo ran >> effects; sleep 0.2") for _ in range(4))
    await asyncio.gather(*asked)
    await session.ended("same")
    again = await session.run("same", "echo ran >> effects; sleep 0.2")
    assert again.is_over
    assert (session.sandbox.spec.workspace / "effects").read_text() == "ran\n"


async def test_a_background_child_that_holds_the_terminal(session: Session, marker: str) -> None:
    command, said = await run(session, f"sleep {marker} & echo went on", 5)
    assert (command.exit_code, said) == (0, b"went on\n")


# --- typing -----------------------------------------------------------------------------------------


async def test_what_is_typed_is_read_by_the_command_and_by_nothing_after_it(
    session: Session,
) -> None:
    command = await began(session, "stty -echo; echo; read -r first; echo got $first")
    assert await key(session, "hello\necho 'never run' > effect\n") == (32, 32)
    assert (await end(session, command))[1] == b"\ngot hello\n"
    assert (await run(session, "ls"))[1] == b""
    with pytest.raises(Refused, match="no command is running"):
        await key(session, "echo no\n")


async def test_more_is_typed_than_a_terminal_holds(session: Session) -> None:
    command = await start(session, "stty -echo; cat > copy; wc -c < copy")
    line = "x" * 999 + "\n"
    await key(session, line * 1000 + "\x04")
    assert (await end(session, command))[1].strip() == b"1000000"


@pytest.mark.parametrize(
    "text", ["while :; do :; done; echo on", "sleep 60; echo on", "read x; echo on", "cat; sleep 9"]
)
async def test_ctrl_c_ends_the_whole_command(session: Session, text: str) -> None:
    await run(session, "X=kept")
    command = await began(session, f"echo; {text}")
    await key(session, "\x03")
    over, said = await end(session, command, 5)
    assert over.exit_code == 130
    assert b"on\n" not in said
    assert (await run(session, "echo $X"))[1] == b"kept\n"


# --- idle, busy, killed, closed ------------------------------------------------------------------------


async def test_busy_with_a_loop_of_builtins(session: Session) -> None:
    assert (await session.look()).idle
    command = await start(session, "while :; do :; done")
    state = await session.look()
    assert not state.idle
    assert (state.running, state.count) == (command, 0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await session.until_idle()
    await session.kill_processes("k", force=False)
    assert (await session.ended(command.id)).ended == "killed"
    async with asyncio.timeout(2):
        await session.until_idle()


async def test_busy_with_a_detached_job(session: Session, marker: str) -> None:
    before = time.time_ns() // 1000
    await run(session, f"(setsid nohup sleep {marker} > /dev/null 2>&1 &)")
    async with asyncio.timeout(5):
        while (state := await session.look()).processes[0].command != f"sleep {marker}":
            await asyncio.sleep(0.01)
    assert (state.idle, state.running, state.count) == (False, None, 1)
    process = state.processes[0]
    assert abs(process.started_at - before) < 3_000_000
    waiting = asyncio.create_task(session.until_idle())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await run(session, f"kill {process.pid}")
    async with asyncio.timeout(2):
        await waiting


async def test_a_stopped_job_is_busy_and_can_go_on(session: Session, marker: str) -> None:
    command = await start(session, f"sleep {marker}")
    await until(lambda: len(processes(marker)) == 1)
    await key(session, "\x1a")
    assert (await end(session, command))[0].exit_code == 148
    state = await session.look()
    assert (state.idle, state.processes[0].stopped) == (False, True)
    killed = await session.kill_processes("k", force=False)
    assert [process.command for process in killed.killed] == [f"sleep {marker}"]


DAEMON = (
    "setsid sh -c \"trap '' TERM HUP INT; env -i sleep {0} & sleep {0}; sleep {0}\" "
    "> /dev/null 2>&1 & sleep 0.2"
)


async def test_killing_ends_all_processes_and_keeps_the_shell(
    session: Session, marker: str
) -> None:
    await run(session, f"cd /usr; X=kept; ({DAEMON.format(marker)})")
    command = await start(session, f"trap 'echo no' TERM; sleep {marker}; sleep {marker}")
    await until(lambda: len(processes(marker)) >= 4)
    began = time.monotonic()
    killed = await session.kill_processes("k", force=False)
    assert time.monotonic() - began < 4
    assert not processes(marker)
    assert killed.count >= 4
    assert not killed.shell_ended
    assert (await session.ended(command.id)).ended == "killed"
    assert await session.kill_processes("k", force=False) == killed
    assert (await run(session, "echo $X; pwd"))[1] == b"kept\n/usr\n"


async def test_killing_by_force_waits_for_nobody(session: Session, marker: str) -> None:
    await run(session, DAEMON.format(marker))
    began = time.monotonic()
    await session.kill_processes("k", force=True)
    assert time.monotonic() - began < 1
    assert not processes(marker)


async def test_a_fork_bomb_is_killed(session: Session, marker: str) -> None:
    bomb = f"bomb() {{ sleep {marker} & sleep 0.02; bomb & sleep 0.02; bomb; }}; bomb 2> /dev/null"
    command = await start(session, f"ulimit -u 400; {bomb}")
    await until(lambda: len(processes(marker)) > 20)
    killed = await session.kill_processes("k", force=True)
    assert killed.count > 20
    assert not processes(marker)
    assert (await session.ended(command.id)).ended == "killed"
    assert (await run(session, "echo on"))[1] == b"on\n"


async def test_a_loop_that_hears_nothing_takes_its_shell_with_it(session: Session) -> None:
    await run(session, "cd /usr")
    command = await began(session, "trap '' INT TERM; echo; while :; do :; done")
    killed = await session.kill_processes("k", force=True)
    assert killed.shell_ended
    assert (await session.ended(command.id)).shell_ended
    assert (await run(session, "pwd"))[1] == b"/usr\n"


async def test_closing_leaves_nothing(session: Session, marker: str) -> None:
    await run(session, f"({DAEMON.format(marker)}); sleep {marker} & true")
    command = await start(session, f"sleep {marker}")
    began = time.monotonic()
    outcome = await session.close(grace=1)
    assert time.monotonic() - began < 3
    assert outcome.ended == "killed"
    assert not processes(marker)
    assert (await session.ended(command.id)).ended == "killed"
    with pytest.raises(Refused, match="session main has ended"):
        await start(session, "echo no")
    with pytest.raises(Refused, match="has ended"):
        await session.look()


async def test_an_idle_session_closes_at_once(session: Session) -> None:
    began = time.monotonic()
    await session.close()
    assert time.monotonic() - began < 1


async def test_a_thousand_orphans_leave_no_zombies(session: Session, marker: str) -> None:
    await run(session, f"sleep {marker} & true")
    shell = parent(processes(marker)[0])
    ours = {shell, runner_of(shell)}
    text = "for n in $(seq 200); do (for m in 1 2 3 4 5; do sleep 0 & done); done"
    assert (await run(session, text, 60))[0].exit_code == 0
    await asyncio.sleep(2)
    stats = [file.read_text().rpartition(")")[2].split() for file in stat_files()]
    assert [fields for fields in stats if fields[0] == "Z" and int(fields[1]) in ours] == []
    assert (await session.look()).count == 1


def stat_files() -> list[Path]:
    return [folder / "stat" for folder in Path("/proc").iterdir() if folder.name.isdigit()]


# --- output -------------------------------------------------------------------------------------------


def _size(session: Session) -> int:
    return (session.folder / "output").stat().st_size


async def test_output_is_read_by_lines_from_the_end(session: Session) -> None:
    await run(session, "seq 1 5000")
    await run(session, "printf 'no newline'")

    async def window(first: int, last: int = 0) -> bytes:
        begin, stop = await session.lines(first, last)
        return await session.read(begin, stop - begin)

    assert await window(2) == b"$ printf 'no newline'\nno newline"
    assert await window(5, 2) == b"4998\n4999\n5000\n"
    whole = b"$ seq 1 5000\n" + b"".join(b"%d\n" % n for n in range(1, 5001))
    assert await window(100_000, 2) == whole
    begins = await session.clear("c")
    assert await session.clear("c") == begins
    assert await window(50) == b""
    await run(session, "echo new")
    assert await window(50) == b"\n$ echo new\nnew\n"
    assert await session.read(0, len(whole)) == whole


@given(
    lines=st.lists(st.binary(max_size=5).map(lambda b: b.replace(b"\n", b"")), max_size=30),
    ends=st.booleans(),
    view=st.integers(0, 60),
    wanted=st.sets(st.integers(1, 40), min_size=1, max_size=3),
)
def test_windows_of_lines_are_what_slices_are(
    lines: list[bytes], ends: bool, view: int, wanted: set[int]
) -> None:
    whole = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    view = min(view, len(whole))
    shown = whole[view:].splitlines(keepends=True) if b"\r" not in whole else None
    found = line_starts(io.BytesIO(whole), view, len(whole), sorted(wanted))
    assert set(found) == wanted
    if shown is not None:
        kept = whole[view:]
        pieces = [piece + b"\n" for piece in kept.split(b"\n")]
        pieces[-1] = pieces[-1][:-1]
        pieces = [piece for piece in pieces if piece]
        for number, begin in found.items():
            assert whole[begin:] == b"".join(pieces[-number:])


async def test_output_is_read_by_time(session: Session) -> None:
    await run(session, "echo before")
    await asyncio.sleep(0.2)
    at = time.time_ns() // 1000
    await run(session, "echo after")
    begin = await session.since(at)
    assert await session.read(begin, 100) == b"$ echo after\nafter\n"
    assert await session.since(0) == 0
    later = await session.since(time.time_ns() // 1000 + 10**6)
    assert later == await session.size()


async def test_more_output_than_is_kept(sandbox: Sandbox) -> None:
    session = await Sessions(sandbox).create("small", "1-1", output_cap=1 << 20)
    command, said = await run(session, "head -c 50000000 /dev/zero | tr '\\0' x; exit 5", 60)
    assert command.exit_code == 5
    assert command.end is not None
    assert command.end - command.start == 50_000_000
    assert said == b"x" * ((1 << 20) - command.start)
    state = await session.look()
    assert (state.total, state.kept) == (command.end, 1 << 20)


# --- whoever dies -------------------------------------------------------------------------------------

CORE = """
import asyncio, json, sys
from pathlib import Path
from apollo_tui.sandbox import SandboxSpec
from apollo_tui.sandbox.choose import open_sandbox
from apollo_tui.sandbox.sessions import Sessions

async def main(kind, spec, text):
    spec["folder"] = Path(spec["folder"])
    sandbox = open_sandbox(kind, SandboxSpec(**spec), home_label=sys.argv[4])
    await sandbox.start()
    session = await Sessions(sandbox).create("main", "1-1")
    await session.run("2-1", text)
    print("begun", flush=True)
    await session.ended("2-1")

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]))
"""


async def test_a_command_outlives_the_core_that_started_it(place: Place) -> None:
    text = (
        "echo ran >> effects; for n in $(seq 0 29); do echo line $n é; sleep 0.02; done; (exit 7)"
    )
    spec = json.dumps(asdict(place.spec) | {"folder": str(place.spec.folder)})
    core = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CORE, place.kind, spec, text, HOME_LABEL),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert core.stdout is not None
    assert await core.stdout.readline() == b"begun\n"
    core.kill()
    await core.communicate()

    again = place.open()
    assert await again.start() is True
    session = await Sessions(again).create("main", "1-1")
    command, said = await end(session, await session.run("2-1", text))
    assert command.exit_code == 7
    assert said == "".join(f"line {n} é\n" for n in range(30)).encode()
    assert (place.spec.workspace / "effects").read_text() == "ran\n"
    assert [found.name for found in await Sessions(again).living()] == ["main"]
    found = await Sessions(again).command("2-1")
    assert found is not None
    assert found[1] == command


async def test_the_session_itself_is_killed(session: Session, marker: str) -> None:
    command = await start(session, f"echo begun; trap '' HUP; sleep {marker}")
    await until(lambda: bool(processes(marker)))
    waiting = asyncio.create_task(session.ended(command.id))
    await asyncio.sleep(0.1)
    signal_process(runner_of(processes(marker)[0]), signal.SIGKILL)
    async with asyncio.timeout(2):
        over = await waiting
    assert (over.ended, over.exit_code) == ("lost", None)
    assert over.end is not None
    assert await session.read(over.start, over.end - over.start) == b"begun\n"
    await until(lambda: not processes(marker))
    outcome = await session.outcome()
    assert outcome is not None
    assert outcome.ended == "lost"
    again = await Sessions(session.sandbox).create("main", "3-1")
    assert (await run(again, "echo on"))[1] == b"on\n"


async def test_what_a_session_is_asked_is_answered_while_its_shell_is_stopped(
    session: Session, marker: str
) -> None:
    command = await start(session, f"sleep {marker} & kill -STOP $$")
    await until(lambda: bool(processes(marker)))
    shell = parent(processes(marker)[0])
    await until(lambda: Path(f"/proc/{shell}/stat").read_text().split(") ")[1][0] == "T")
    assert not (await session.look()).idle
    killed = await session.kill_processes("k", force=False)
    assert killed.count == 1
    assert (await session.ended(command.id)).is_over
    assert (await run(session, "echo on"))[1] == b"on\n"


# --- without bash -------------------------------------------------------------------------------------


@pytest.fixture
async def poor(make_place: Callable[[Kind], Place], tmp_path: Path) -> Session:
    """A session where there is only sh."""
    if (dash := shutil.which("dash")) is None:
        pytest.skip("there is no dash here")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sh").symlink_to(dash)
    for name in ("sleep", "cat", "env"):
        (programs / name).symlink_to(shutil.which(name) or "")
    place = make_place(require("plain"))
    sandbox = place.open(environment={"PATH": str(programs)})
    await sandbox.start()
    return await Sessions(sandbox).create("poor", "1-1")


async def test_a_session_of_a_plain_sh(poor: Session) -> None:
    try:
        assert (await run(poor, "X=5; cd /usr; echo a"))[1] == b"a\n"
        command, said = await run(poor, "echo $X; pwd; (exit 3)")
        assert (command.exit_code, said, command.cwd) == (3, b"5\n/usr\n", "/usr")
        for text in ("if", "echo 'un", "no-such", "set -u; echo $unset", "PS1='> '"):
            command, _ = await run(poor, text)
            assert command.ended == "exited", text
        command = await began(poor, "echo; while :; do :; done")
        await key(poor, "\x03")
        assert (await end(poor, command))[0].exit_code == 130
        command, _ = await run(poor, "set -e; false; echo no")
        assert (command.exit_code, command.ended) == (1, "shell_ended")
        assert (await run(poor, "pwd"))[1] == b"/usr\n"
    finally:
        await poor.sandbox.close(remove=True)


async def test_no_shell_at_all(make_place: Callable[[Kind], Place], tmp_path: Path) -> None:
    place = make_place(require("plain"))
    sandbox = place.open(environment={"PATH": str(tmp_path)})
    await sandbox.start()
    try:
        with pytest.raises(Refused, match="there is no bash and no sh"):
            await Sessions(sandbox).create("none", "1-1")
        assert await Sessions(sandbox).living() == []
    finally:
        await sandbox.close(remove=True)
