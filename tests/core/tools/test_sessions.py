"""What an agent reads of its sessions: the real core, scripted models, real sandboxes."""

from __future__ import annotations

import asyncio
import re
import signal
import time
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.client import Client
from apollo_tui.core.tools import InvalidCall
from apollo_tui.core.tools.registry import read_call, summarise_call
from apollo_tui.core.tools.session_arguments import as_typed
from apollo_tui.filter import rules
from apollo_tui.log.read import History, RolloutRow
from apollo_tui.log.trajectory import read_trajectory
from apollo_tui.log.types import ToolCall
from apollo_tui.paths import Home
from apollo_tui.sandbox import Kind
from tests.filter.made import Made
from tests.running import Reply, core, end_core, ended, events, script, task_folder, until
from tests.sandboxes import KINDS, processes, require


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


@pytest.fixture
async def client(home: Home) -> AsyncIterator[Client]:
    async with core(home) as client:
        yield client


@pytest.fixture
def marker() -> str:
    return f"{10_000 + uuid.uuid4().int % 80_000}.{uuid.uuid4().int % 10_000:04}"


def act(tool: str, **arguments: Any) -> Reply:
    return {"actions": [{"tool": tool, "arguments": arguments}]}


def run(command: str, *, wait: bool = True, **arguments: Any) -> Reply:
    return act(
        "run_command", command=command, session_id="a", wait_for_completion=wait, **arguments
    )


async def begin(client: Client, tmp_path: Path, replies: list[Reply], kind: Kind = "plain") -> str:
    number = uuid.uuid4().hex[:6]
    started = await client.run(
        task=task_folder(tmp_path / f"task-{number}"),
        model=script(tmp_path / f"{number}.jsonl", replies),
        sandbox=kind,
        unisolated=kind == "plain",
    )
    return str(started[0]["rollout"])


def read(home: Home, rollout: str) -> list[tuple[dict[str, Any], str]]:
    """Each action that has ended, and what the agent read of it."""
    finished = events(home, rollout, "action_finished")
    history = History(home.database)
    try:
        return [(event, history.text(event["observation_ref"])) for event in finished]
    finally:
        history.close()


async def play(
    client: Client, home: Home, tmp_path: Path, replies: list[Reply], kind: Kind = "plain"
) -> list[tuple[dict[str, Any], str]]:
    rollout = await begin(client, tmp_path, replies, kind)
    row = await ended(home, rollout, seconds=120)
    assert row.state == "finished", row
    return read(home, rollout)


CREATE = act("create_session", session_id="a")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_session_from_its_beginning_to_its_end(
    client: Client, home: Home, tmp_path: Path, kind: Kind, marker: str
) -> None:
    told = await play(
        client,
        home,
        tmp_path,
        [
            CREATE,
            run("cd /usr; X=5; echo hello; (exit 3)"),
            run("echo $X; pwd"),
            act("list_sessions"),
            run(f"echo begun; sleep {marker} & read line; echo got $line", wait=False),
            act("check_session_idle", session_id="a"),
            act("input_in_session", session_id="a", input_text="words"),
            act("wait_for", session_id="a", seconds=20, until="exit"),
            act("get_session_status", session_id="a"),
            act("kill_session_processes", session_id="a"),
            act("wait_for", session_id="a", seconds=20, until="idle"),
            act("get_session_output", session_id="a", start_lines=5),
            act("get_session_recent_output", session_id="a", seconds=600),
            act("clear_session_buffer", session_id="a"),
            act("get_session_output", session_id="a"),
            act("close_session", session_id="a"),
            act("list_sessions"),
            run("echo no"),
        ],
        require(kind),
    )
    texts = [text for _, text in told]
    assert "message: session a is ready, in " in texts[0]
    assert re.match(
        "success=false observation_type=command_run session_id=a command_id=2-1 exit_code=3 "
        r"seconds=\d\.\d timestamp=\S+\nerror_message: ended with exit code 3\nhello\n$",
        texts[1],
    )
    assert texts[2].endswith("\n5\n/usr\n")
    assert "main:a: idle; last command: echo $X; pwd: ended with exit code 0" in texts[3]
    assert (told[4][0]["disposition"], told[4][0]["exit_code"]) == ("background", None)
    assert "exit_code=running" in texts[4]
    assert "message: it goes on running; read it with get_session_output" in texts[4]
    assert texts[4].endswith("\nbegun\n")
    assert "is_idle=false exit_code=running" in texts[5]
    assert "message: busy: echo begun; sleep" in texts[5]
    assert "message: typed 6 bytes" in texts[6]
    assert re.search("the command ended|no command is running", texts[7])
    assert "exit_code=0" in texts[7]
    assert told[7][0]["exit_code"] == 0
    assert f"message: busy: in the background sleep {marker}" in texts[8]
    assert re.search(rf"process \d+, for \d+ s: sleep {marker}", texts[8])
    assert "message: killed 1 process" in texts[9]
    assert "it is idle" in texts[10]
    assert "words\ngot words\n" in texts[11]
    assert "$ cd /usr; X=5; echo hello; (exit 3)\nhello\n$ echo $X; pwd\n5\n/usr\n" in texts[12]
    assert "message: what was said before byte" in texts[13]
    assert "message: there is no such output" in texts[14]
    assert "and all that ran in it has ended" in texts[15]
    assert "message: there is no session" in texts[16]
    assert "error_message: session a has ended; make another one" in texts[17]
    assert told[17][0]["disposition"] == "failed"
    assert processes(marker) == []


async def test_what_is_refused_says_what_there_is(
    client: Client, home: Home, tmp_path: Path
) -> None:
    told = await play(
        client,
        home,
        tmp_path,
        [
            run("echo no"),
            CREATE,
            CREATE,
            act("create_session"),
            act("create_session", session_id="b", computer_ip="10.0.0.7"),
            act("run_command", command="ls", session_id="b"),
            act("get_session_output", session_id="b"),
            act("input_in_session", session_id="a", input_text="echo no"),
            run("sleep 30", wait=False),
            run("echo no"),
            act("input_in_session", session_id="a", input_text="Ctrl+C"),
            act("wait_for", session_id="a", seconds=20),
            act("close_all_sessions"),
            act("wait_for", session_id="a", seconds=20),
        ],
    )
    said = [text.split("\n")[1] for _, text in told]
    assert said[0] == (
        "error_message: there is no session 'a'; there is none; make one with create_session"
    )
    assert said[2] == "error_message: there is a session 'a' already; use it, or close it first"
    assert said[3].startswith("message: session session_1 is ready")
    assert said[4] == "error_message: there is no host '10.0.0.7'; there is: main"
    assert said[5] == "error_message: there is no session 'b'; there is: a, session_1"
    assert said[6] == said[5]
    assert said[7] == "error_message: no command is running in it that could read"
    assert said[9] == "error_message: a command is running in it: sleep 30"
    assert "exit_code=130" in told[11][1]
    assert said[12] == "message: closed: a, session_1"
    assert said[13] == "error_message: session a has ended; make another one"


async def test_a_command_that_takes_longer_goes_on_and_its_end_is_recorded(
    client: Client, home: Home, tmp_path: Path
) -> None:
    replies = [
        CREATE,
        run("echo begun; sleep 2; echo ended; (exit 5)", timeout=0.5),
        act("wait_for", session_id="a", seconds=30),
        run("sleep 60", wait=False),
        act("kill_session_processes", session_id="a", force=True),
        run("true", wait=False),
    ]
    rollout = await begin(client, tmp_path, replies)
    await ended(home, rollout)
    told = read(home, rollout)
    assert "exit_code=running" in told[1][1]
    assert told[1][0]["seconds"] < 2
    assert "exit_code=5" in told[2][1]
    assert told[2][0]["exit_code"] == 5
    started = events(home, rollout, "job_started")
    assert [(one["step"], one["job"], one["session"]) for one in started] == [
        (2, "2-1", "a"),
        (4, "4-1", "a"),
    ]
    assert started[0]["command_line"] == "echo begun; sleep 2; echo ended; (exit 5)"
    over = events(home, rollout, "job_ended")
    assert [(one["job"], one["exit_code"]) for one in over] == [("2-1", 5), ("4-1", 137)]
    assert over[1]["why"] == "killed"
    # The end that an action brought about is recorded before the action's own.
    assert over[1]["seq"] < told[4][0]["seq"]
    assert told[5][0]["exit_code"] == 0


async def test_killing_a_long_run_is_what_the_rule_of_impatience_finds(
    client: Client, home: Home, tmp_path: Path
) -> None:
    replies = [
        CREATE,
        run("echo loss 0.4; sleep 60", wait=False),
        act("sleep", sleep_time=1),
        act("get_session_output", session_id="a"),
        act("kill_session_processes", session_id="a"),
    ]
    rollout = await begin(client, tmp_path, replies)
    await ended(home, rollout)
    history = History(home.database)
    try:
        trajectory = read_trajectory(history, rollout)
        case = rules.Case(trajectory, history.text, rules.RuleSettings(long_job=0.5))
        assert [(found.step, found.ordinal) for found in rules.impatient(case)] == [(5, 1)]
        patient = rules.Case(trajectory, history.text, rules.RuleSettings(long_job=60))
        assert list(rules.impatient(patient)) == []
    finally:
        history.close()


async def test_waiting_for_words_in_the_output(client: Client, home: Home, tmp_path: Path) -> None:
    told = await play(
        client,
        home,
        tmp_path,
        [
            CREATE,
            run("sleep 1; echo epoch 1 loss 0.5; sleep 1; echo saved; sleep 60", wait=False),
            act("wait_for", session_id="a", seconds=30, until="regex", pattern=r"loss [\d.]+"),
            act("wait_for", session_id="a", seconds=30, until="regex", pattern="^saved$"),
            act("wait_for", session_id="a", seconds=1, until="regex", pattern="never"),
            act("input_in_session", session_id="a", input_text="ctrl+c"),
            act("wait_for", session_id="a", seconds=9, until="exit"),
            run("echo one; sleep 1; printf last", wait=False),
            act("wait_for", session_id="a", seconds=30, until="regex", pattern="never"),
            run("echo two; sleep 1; printf last", wait=False),
            act("wait_for", session_id="a", seconds=30, until="regex", pattern="last"),
        ],
    )
    texts = [text for _, text in told]
    assert "the output matches: epoch 1 loss 0.5" in texts[2]
    assert "exit_code=running" in texts[2]
    assert "the output matches: saved" in texts[3]
    assert "message: after 1 s: it did not happen in that time" in texts[4]
    assert "the command ended, and nothing matched" in texts[8]
    assert "the output matches: last" in texts[10]


async def test_advice_and_a_pause_end_the_wait(client: Client, home: Home, tmp_path: Path) -> None:
    wait = act("wait_for", session_id="a", seconds=3000, until="exit")
    replies = [CREATE, run("sleep 3000", wait=False), wait, wait]
    rollout = await begin(client, tmp_path, replies)

    async def waiting(step: int) -> None:
        await until(home, rollout, lambda row: row.step == step and row.in_flight == "action")
        await asyncio.sleep(0.3)

    await waiting(3)
    await client.advise(rollout, "look at the loss")
    await waiting(4)
    await client.pause(rollout)
    await until(home, rollout, lambda row: row.state == "paused" and row.in_flight == "")
    told = [text for _, text in read(home, rollout)]
    assert "advice arrived" in told[2]
    assert "exit_code=running" in told[2]
    assert "the operator paused you" in told[3]
    await client.resume(rollout)
    await ended(home, rollout)


async def test_a_core_that_dies_is_followed_by_one_that_knows_how_it_ended(
    home: Home, tmp_path: Path
) -> None:
    loop = "for n in $(seq 0 39); do echo line $n é; sleep 0.05; done; echo x >> effects; (exit 7)"
    replies = [CREATE, run(loop, timeout=60), run("echo $Y"), run("exit 4")]
    async with core(home) as client:
        rollout = await begin(client, tmp_path, [CREATE, run("Y=kept; true"), *replies[1:]])
        await until(home, rollout, lambda row: row.step == 3 and row.in_flight == "action")
        await asyncio.sleep(0.5)
        await end_core(home, signal.SIGKILL)
        await asyncio.sleep(2.5)
        async with core(home):
            await ended(home, rollout)
    told = read(home, rollout)
    event, text = told[2]
    assert (event["exit_code"], event["disposition"], event["synthetic"]) == (7, "completed", False)
    assert text.endswith("\n" + "".join(f"line {n} é\n" for n in range(40)))
    assert (home.rollout(rollout) / "workspace" / "effects").read_text() == "x\n"
    assert told[3][1].endswith("\nkept\n")
    assert "the session's shell ended with it (exit code 4)" in told[4][1]


async def test_a_job_left_running_is_followed_by_the_next_core(home: Home, tmp_path: Path) -> None:
    replies = [
        CREATE,
        run("sleep 3; (exit 9)", wait=False),
        act("wait_for", session_id="a", seconds=600, until="regex", pattern="never"),
    ]
    async with core(home) as client:
        rollout = await begin(client, tmp_path, replies)
        await until(home, rollout, lambda row: row.step == 3 and row.in_flight == "action")
        assert len(events(home, rollout, "job_started")) == 1
        await end_core(home, signal.SIGKILL)
        async with core(home):
            await ended(home, rollout)
    assert len(events(home, rollout, "job_started")) == 1
    over = events(home, rollout, "job_ended")
    assert [(one["job"], one["exit_code"]) for one in over] == [("2-1", 9)]
    assert "the command ended, and nothing matched" in read(home, rollout)[2][1]


def _has_reached(step: int, row: RolloutRow) -> bool:
    return row.step >= step


async def test_what_is_typed_while_the_core_is_killed_is_typed_once(
    home: Home, tmp_path: Path
) -> None:
    replies = [CREATE, run("cat > typed", wait=False)]
    replies += [act("input_in_session", session_id="a", input_text=f"line {n}") for n in range(30)]
    replies += [act("input_in_session", session_id="a", input_text="ctrl+d")]
    replies += [act("wait_for", session_id="a", seconds=20)]
    async with core(home) as client:
        rollout = await begin(client, tmp_path, replies)
        for step in (4, 9, 16, 22):
            await until(home, rollout, partial(_has_reached, step))
            await end_core(home, signal.SIGKILL)
            again = await Client.connect(home)
            await again.close()
        await ended(home, rollout)
    typed = (home.rollout(rollout) / "workspace" / "typed").read_text()
    assert typed == "".join(f"line {n}\n" for n in range(30))


async def test_a_stopped_rollout_leaves_nothing(
    client: Client, home: Home, tmp_path: Path, marker: str
) -> None:
    rollout = await begin(client, tmp_path, [CREATE, run(f"sleep {marker}", timeout=600)])
    await until(home, rollout, lambda row: bool(processes(marker)))
    await client.stop(rollout)
    row = await ended(home, rollout)
    assert row.state == "stopped"
    async with asyncio.timeout(10):
        while processes(marker):
            await asyncio.sleep(0.05)


async def test_long_output_keeps_its_head_and_its_tail(
    client: Client, home: Home, tmp_path: Path
) -> None:
    began = time.monotonic()
    told = await play(
        client,
        home,
        tmp_path,
        [
            CREATE,
            run("seq 1 3000000; echo end", timeout=60),
            act("get_session_output", session_id="a", start_lines=3),
            act("get_session_output", session_id="a", start_lines=1000000, end_lines=999998),
        ],
    )
    assert time.monotonic() - began < 60
    text = told[1][1]
    assert len(text) < 31_000
    assert "\n1\n2\n3\n" in text
    assert text.endswith("\n2999999\n3000000\nend\n")
    assert "characters left out" in text
    assert told[2][1].endswith("\n2999999\n3000000\nend\n")
    assert told[3][1].endswith("\n2000002\n2000003\n")


# --- arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "typed"),
    [
        ("ctrl+c", "\x03"),
        ("Ctrl-C", "\x03"),
        (" CTRL+D ", "\x04"),
        ("ctrl+\\", "\x1c"),
        ("Enter", "\r"),
        ("up", "\x1b[A"),
        ("yes", "yes\n"),
        ("yes\n", "yes\n"),
        ("two\nlines", "two\nlines\n"),
        ("\x03", "\x03"),
        (" ", " \n"),
        ("\n", "\n"),
        ("ctrl+c now", "ctrl+c now\n"),
    ],
)
def test_what_is_typed(given: str, typed: str) -> None:
    assert as_typed(given) == typed


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("run_command", {"command": "ls"}, "the argument session_id is missing"),
        ("run_command", {"command": "ls", "session_id": ""}, "session_id must have at least 1"),
        ("run_command", {"command": "ls", "session_id": "a\nb"}, "must be a name in one line"),
        ("create_session", {"session_id": "x" * 65}, "at most 64 characters"),
        ("get_session_output", {"session_id": "a", "start_lines": 0}, "greater than or equal to 1"),
        ("wait_for", {"session_id": "a", "seconds": 5, "until": "done"}, "until must be 'exit'"),
        ("wait_for", {"session_id": "a", "seconds": 5, "until": "regex"}, "pattern belongs to"),
        ("wait_for", {"session_id": "a", "seconds": 5, "pattern": "x"}, "pattern belongs to"),
        (
            "wait_for",
            {"session_id": "a", "seconds": 5, "until": "regex", "pattern": "("},
            "pattern is no regular expression",
        ),
        ("wait_for", {"session_id": "a", "seconds": float("inf")}, "seconds must be"),
    ],
)
def test_bad_arguments_are_told(tool: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidCall) as refused:
        read_call(ToolCall(id="1", tool=tool, arguments=arguments), None)
    assert said in refused.value.result.text


@pytest.mark.parametrize(
    ("tool", "arguments", "line", "effect"),
    [
        ("run_command", {"command": "ls   -l", "session_id": "a"}, "ls -l", "looks"),
        ("run_command", {"command": "rm x", "session_id": "a"}, "rm x", "changes"),
        (
            "input_in_session",
            {"session_id": "a b", "input_text": "ctrl+c"},
            '"ctrl+c" in a b',
            "kills",
        ),
        ("get_session_recent_output", {"session_id": "a"}, "a 10", "looks"),
        ("get_session_recent_output", {"session_id": "a", "seconds": 60}, "a 60", "looks"),
        ("kill_session_processes", {"session_id": "a", "force": True}, "a force=true", "kills"),
        ("wait_for", {"session_id": "a", "seconds": 1800}, "a 1800s until exit", "waits"),
        (
            "wait_for",
            {"session_id": "a", "seconds": 5, "until": "regex", "pattern": "epoch 1"},
            "a 5s until /epoch 1/",
            "waits",
        ),
    ],
)
def test_the_line_of_an_action_and_what_the_filter_takes_it_for(
    tool: str, arguments: dict[str, Any], line: str, effect: str
) -> None:
    assert summarise_call(ToolCall(id="1", tool=tool, arguments=arguments)) == line
    made = Made()
    made.step((tool, arguments))
    case = made.case()
    assert case.effect(case.actions[0]) == effect
