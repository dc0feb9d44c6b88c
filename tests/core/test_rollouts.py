"""The whole core, as a process of its own, with scripted models in real sandboxes."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from apollo_tui.client import Client, CoreGone, Streamed, core_pid
from apollo_tui.errors import ApolloError, CommandRefused, CoreUnreachable, UsageError
from apollo_tui.log.read import History
from apollo_tui.log.verify import verify
from apollo_tui.paths import Home
from tests.running import Reply, bash, core, end_core, ended, events, script, task_folder, until

EVALUATE = """
import json, os
lines = open(os.path.join(os.environ["WORKSPACE"], "count.txt")).read().split()
print("counted")
print(json.dumps({"score": 10 * len(lines), "results": {"lines": len(lines)}}))
"""


async def start(client: Client, tmp_path: Path, replies: list[Reply], **more: object) -> str:
    number = uuid.uuid4().hex[:6]
    task = more.pop("task", None) or task_folder(tmp_path / f"task-{number}")
    model = script(tmp_path / f"{number}.jsonl", replies)
    sandbox = {"sandbox": "plain", "unisolated": True} | more
    started = await client.run(task=task, model=model, **sandbox)
    return str(started[0]["rollout"])


async def test_a_rollout_acts_is_scored_and_ends(home: Home, tmp_path: Path) -> None:
    task = task_folder(tmp_path / "counting", evaluation=EVALUATE)
    replies = [
        bash("echo one >> count.txt; echo two >> count.txt; cat count.txt", thinking="Begin."),
        {"actions": [{"tool": "eval", "arguments": {}}]},
        bash("for n in 3 4 5; do echo $n >> count.txt; done; exit 3"),
    ]
    async with core(home) as client:
        rollout = await start(client, tmp_path, replies, task=task)
        row = await ended(home, rollout)
    assert (row.state, row.why, row.score) == ("finished", "the agent finished", 50.0)
    assert (row.step, row.actions, row.submissions) == (4, 4, 1)
    assert not row.isolated
    finished = events(home, rollout, "action_finished")
    assert finished[0]["exit_code"] == 0
    assert finished[2]["exit_code"] == 3
    scores = [event["score"] for event in events(home, rollout, "evaluation_finished")]
    assert scores == [20.0, 50.0]
    assert verify(home.database) == []


async def test_the_logged_prompt_of_every_step_can_be_read_again(
    home: Home, tmp_path: Path
) -> None:
    extra = "time_limit = 600\nstep_limit = 9"
    task = task_folder(tmp_path / "limited", extra=extra)
    async with core(home) as client:
        rollout = await start(client, tmp_path, [bash("echo hello", repeat=3)], task=task)
        await ended(home, rollout)
    history = History(home.database)
    prompts = [json.loads(history.prompt(rollout, step)) for step in (1, 2, 4)]
    history.close()
    assert [len(prompt["messages"]) for prompt in prompts] == [1, 3, 7]
    assert prompts[2]["messages"][:3] == prompts[1]["messages"]
    observation = prompts[1]["messages"][2]["text"]
    assert "hello" in observation
    assert "8 steps]" in observation


async def test_nothing_begins_between_a_pause_and_its_resume(home: Home, tmp_path: Path) -> None:
    async with core(home) as client:
        rollout = await start(client, tmp_path, [bash("true", seconds=0.01, repeat=400)])
        await until(home, rollout, lambda row: row.step >= 1)
        for cycle in range(40):
            await client.pause(rollout)
            await client.resume(rollout)
            await asyncio.sleep(cycle / 1000)
        await client.stop(rollout)
        await ended(home, rollout)
    paused, begun_while_paused, begun = False, 0, 0
    for event in events(home, rollout):
        if event["kind"] in ("paused", "resumed"):
            paused = event["kind"] == "paused"
        elif event["kind"] in ("request_sent", "action_started"):
            begun += 1
            begun_while_paused += paused
    assert begun > 20
    assert begun_while_paused == 0


async def test_pause_holds_the_proposed_action_and_advice_goes_in_before_the_next_step(
    home: Home, tmp_path: Path
) -> None:
    replies = [bash("echo 1 >> seen.txt", seconds=0.3, repeat=40)]
    async with core(home) as client:
        rollout = await start(client, tmp_path, replies)
        await until(home, rollout, lambda row: row.step >= 1)
        await client.pause(rollout)
        row = await until(home, rollout, lambda row: row.state == "paused" and not row.in_flight)
        step = row.step
        assert await client.advise(rollout, "Prefer the token-level mean.") == 1
        assert await client.advise(rollout, "And keep notes.") == 2
        await asyncio.sleep(0.5)
        row = await until(home, rollout, lambda row: row.state == "paused")
        assert (row.step, row.queued_advice) == (step, 2)
        await client.resume(rollout)
        await until(home, rollout, lambda row: row.step > step)
        delivered = events(home, rollout, "advice_delivered")
        assert [(event["advice"], event["step"]) for event in delivered] == [
            (1, step + 1),
            (2, step + 1),
        ]
        await client.stop(rollout)
        row = await ended(home, rollout)
        assert (row.state, row.why) == ("stopped", "stopped by ana")
        history = History(home.database)
        said = [m["text"] for m in json.loads(history.prompt(rollout, step + 1))["messages"][-2:]]
        history.close()
        assert "token-level" in said[0]
        assert "notes" in said[1]
    assert verify(home.database) == []


async def test_pause_now_cuts_the_model_call_and_keeps_its_text_out_of_the_context(
    home: Home, tmp_path: Path
) -> None:
    replies = [bash("true", thinking="slowly " * 200, seconds=20), bash("true")]
    async with core(home) as client:
        rollout = await start(client, tmp_path, replies)
        await until(home, rollout, lambda row: row.in_flight == "model")
        await asyncio.sleep(0.5)
        await client.pause(rollout, now=True)
        await until(home, rollout, lambda row: row.state == "paused" and row.in_flight == "")
        discarded = events(home, rollout, "step_discarded")
        assert len(discarded) == 1
        assert discarded[0]["partial_ref"]
        assert discarded[0]["usage"]["estimated"]
        await client.resume(rollout)
        await until(home, rollout, lambda row: row.in_flight == "model")
        history = History(home.database)
        assert "slowly" not in history.prompt(rollout, 1)
        history.close()


async def test_stop_kills_the_running_action_and_everything_it_started(
    home: Home, tmp_path: Path
) -> None:
    replies = [bash("(setsid sleep 300 & echo $! > child.txt); sleep 300")]
    async with core(home) as client:
        rollout = await start(client, tmp_path, replies)
        child_file = home.rollout(rollout) / "workspace" / "child.txt"
        await until(home, rollout, lambda row: child_file.exists() and row.in_flight == "action")
        await asyncio.sleep(0.2)
        child = int(child_file.read_text())
        await client.stop(rollout)
        await ended(home, rollout)
        finished = events(home, rollout, "action_finished")
        assert (finished[-1]["disposition"], finished[-1]["synthetic"]) == ("killed", True)
        stat_file = Path(f"/proc/{child}/stat")
        async with asyncio.timeout(5):
            while stat_file.exists() and stat_file.read_text().split(") ")[1][0] != "Z":
                await asyncio.sleep(0.05)


async def test_a_stopped_rollout_goes_on_when_resumed(home: Home, tmp_path: Path) -> None:
    async with core(home) as client:
        rollout = await start(client, tmp_path, [bash("echo x >> seen.txt", seconds=0.2, repeat=6)])
        await until(home, rollout, lambda row: row.step >= 2)
        await client.stop(rollout)
        row = await ended(home, rollout)
        assert row.state == "stopped"
        await client.resume(rollout)
        row = await until(home, rollout, lambda row: row.state == "finished")
        assert row.step == 7
        seen = (home.rollout(rollout) / "workspace" / "seen.txt").read_text().split()
        finished = events(home, rollout, "action_finished")
        whole = [event for event in finished if event["disposition"] == "completed"][:-1]
        assert len(whole) <= len(seen) <= 6  # the stop may have ended one before its effect
        with pytest.raises(CommandRefused, match="finished"):
            await client.resume(rollout)


async def test_marks_are_checked_superseded_and_never_lost(home: Home, tmp_path: Path) -> None:
    async with core(home) as client:
        rollout = await start(client, tmp_path, [bash("true", repeat=3)])
        await ended(home, rollout)
        await client.mark(rollout, [(1, 1), (2, 1)], "reject", code="impatient", note="why")
        await client.mark(rollout, [(2, 1)], "accept")
        await client.unmark(rollout, [(1, 1)])
        with pytest.raises(CommandRefused, match=r"9\.1"):
            await client.mark(rollout, [(9, 1)], "reject")
        history = History(home.database)
        marks = {e.step: e.mark for e in history.entries(rollout, 1, 99) if e.kind == "action"}
        history.close()
    assert (marks[1], marks[2], marks[3]) == ("", "accept", "")
    assert len(events(home, rollout, "marked", "unmarked")) == 3
    assert events(home, rollout, "marked")[0]["by"] == "ana"


async def test_a_command_repeated_under_its_id_does_nothing_twice(
    home: Home, tmp_path: Path
) -> None:
    async with core(home) as client:
        rollout = await start(client, tmp_path, [bash("true", seconds=0.5, repeat=20)])
        command = uuid.uuid4().hex
        first = await client.command("advise", command=command, rollout=rollout, text="Once.")
        again = await client.command("advise", command=command, rollout=rollout, text="Once.")
        assert first == again
        assert len(events(home, rollout, "advice_queued")) == 1
        command = uuid.uuid4().hex
        more = {
            "task": task_folder(tmp_path / "twice"),
            "model": script(tmp_path / "twice.jsonl", [bash("true")]),
            "sandbox": "plain",
            "unisolated": True,
            "count": 2,
        }
        first = await client.command("run", command=command, **more)
        assert first == await client.command("run", command=command, **more)
        assert [one["name"] for one in first["rollouts"]] == ["twice", "twice-2"]


async def test_a_sick_rollout_ends_failed_and_its_neighbour_goes_on(
    home: Home, tmp_path: Path
) -> None:
    async with core(home) as client:
        well = await start(client, tmp_path, [bash("true", seconds=0.2, repeat=5)])
        sick_task = task_folder(tmp_path / "sick")
        sick = await start(client, tmp_path, [bash("true", seconds=1, repeat=5)], task=sick_task)
        await until(home, sick, lambda row: row.step >= 1)
        spool = home.rollout(sick) / "spool"
        spool.rename(spool.with_name("gone"))
        spool.write_text("not a folder")
        assert (await ended(home, sick)).state == "failed"
        assert (await ended(home, well)).state == "finished"


async def test_unknown_tools_and_bad_arguments_are_observations(home: Home, tmp_path: Path) -> None:
    replies: list[Reply] = [
        {"actions": [{"tool": "bahs", "arguments": {"command": "ls"}}]},
        {"actions": [{"tool": "bash", "arguments": {"cmd": "ls"}}]},
        {"text": "I have a question."},
        bash("true"),
        {"actions": [{"tool": "think", "arguments": {"thought": "a"}}] * 2},
    ]
    async with core(home) as client:
        rollout = await start(client, tmp_path, replies)
        row = await ended(home, rollout)
    assert row.state == "finished"
    finished = events(home, rollout, "action_finished")
    assert [event["disposition"] for event in finished[:2]] == ["invalid", "invalid"]
    assert finished[-2]["disposition"] == "invalid"
    assert len(events(home, rollout, "reminder_sent")) == 1


async def test_a_second_reply_without_an_action_asks_the_annotator(
    home: Home, tmp_path: Path
) -> None:
    replies = [
        {"text": "May I use the test set?"},
        {"text": "May I use the test set?"},
        bash("true"),
    ]
    async with core(home) as client:
        rollout = await start(client, tmp_path, replies)
        row = await until(home, rollout, lambda row: row.state == "waiting")
        assert "asks you" in row.why
        await client.advise(rollout, "No, it is off limits.")
        assert (await ended(home, rollout)).state == "finished"


async def test_limits_end_a_rollout_with_its_reason(home: Home, tmp_path: Path) -> None:
    async with core(home) as client:
        rollout = await start(client, tmp_path, [bash("true", repeat=9)], steps=3)
        row = await ended(home, rollout)
        assert (row.state, row.why, row.step) == ("finished", "the step limit was reached", 3)
        rollout = await start(client, tmp_path, [bash("sleep 0.5", repeat=9)], hours=1 / 3600)
        row = await ended(home, rollout)
        assert row.why == "the time limit was reached"


async def test_no_action_outlasts_the_working_time(home: Home, tmp_path: Path) -> None:
    waits = {"actions": [{"tool": "sleep", "arguments": {"sleep_time": 600}}]}
    async with core(home) as client:
        for reply, said in (
            (waits, "the working time is over"),
            (bash("sleep 600"), "killed at its time limit"),
        ):
            rollout = await start(client, tmp_path, [reply], hours=1.5 / 3600)
            row = await ended(home, rollout, seconds=20)
            assert row.why == "the time limit was reached"
            (action,) = events(home, rollout, "action_finished")
            assert said in action["summary"]


async def test_what_is_being_scored_takes_no_more_advice(home: Home, tmp_path: Path) -> None:
    evaluate = "import time; time.sleep(2); print('{\"score\": 50}')"
    async with core(home) as client:
        started = await client.run(
            task=task_folder(tmp_path / "late", evaluation=evaluate),
            model=script(tmp_path / "late.jsonl", [bash("true")]),
            sandbox="plain",
            unisolated=True,
        )
        rollout = started[0]["rollout"]
        await until(home, rollout, lambda row: row.state == "evaluating")
        with pytest.raises(CommandRefused, match="being scored"):
            await client.advise(rollout, "Too late.")
        with pytest.raises(CommandRefused, match="being scored"):
            await client.pause(rollout)
        assert (await ended(home, rollout)).queued_advice == 0


async def test_deltas_reach_a_follower_before_they_are_history(home: Home, tmp_path: Path) -> None:
    async with core(home) as client:
        pieces: list[str] = []

        async def listen() -> None:
            async for notification in client.follow():
                if isinstance(notification, Streamed) and notification.kind == "thinking":
                    pieces.append(notification.text)
                elif isinstance(notification, CoreGone):
                    return

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0.1)
        rollout = await start(client, tmp_path, [bash("true", thinking="word " * 60, seconds=1)])
        await ended(home, rollout)
        listening.cancel()
        assert "".join(pieces).startswith("word word")
        assert len(pieces) > 3


async def test_one_core_a_home_and_a_clean_end(home: Home, tmp_path: Path) -> None:
    async with core(home) as client:
        status = await client.status()
        assert status["pid"] == core_pid(home)
        mode = stat.S_IMODE(home.socket.stat().st_mode)
        assert mode == 0o600
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "apollo_tui", "--home", str(home.path), "core", "serve"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _, said = await second.communicate()
        assert second.returncode == 1
        assert said.decode().count("\n") == 1
        assert "already runs" in said.decode()
        await client.shutdown()
        async with asyncio.timeout(10):
            while core_pid(home) is not None:
                await asyncio.sleep(0.02)
    kinds = [event["kind"] for event in events(home, None)]
    assert kinds[0] == "core_started"
    assert kinds[-1] == "core_stopped"
    assert not home.socket.exists()
    with pytest.raises(CoreUnreachable, match="core start"):
        await Client.connect(home, start=False)


async def test_a_home_148_characters_deep_works(tmp_path: Path) -> None:
    deep = tmp_path
    while len(str(deep)) < 148:
        deep /= "deeper-and-deeper"
    home = Home(deep)
    async with core(home) as client:
        assert (await client.status())["version"]


async def test_bad_requests_get_one_line_and_the_connection_lives(
    home: Home, tmp_path: Path
) -> None:
    async with core(home) as client:
        for method, params, said in (
            ("dance", {}, "does not know"),
            ("pause", {}, "rollout"),
            ("pause", {"rollout": "nobody"}, "no rollout"),
            ("run", {"task": "nothing-like-it", "model": "scripted:/none"}, "nothing-like-it"),
            ("mark", {"rollout": "x", "actions": [], "mark": "reject"}, "actions"),
        ):
            with pytest.raises(ApolloError, match=said) as refused:
                await client.command(method, **params)
            assert "\n" not in refused.value.line
        with pytest.raises(UsageError, match="--unisolated"):
            await client.run(
                task=task_folder(tmp_path / "plain"),
                model=script(tmp_path / "plain.jsonl", [bash("true")]),
                sandbox="plain",
            )
        model = script(tmp_path / "refused.jsonl", [bash("true")])
        for extra, said in (("gpus = 1", "GPUs"), ('tools = ["bahs"]', "bahs")):
            folder = task_folder(tmp_path / said, extra=extra)
            with pytest.raises(ApolloError, match=said):
                await client.run(task=folder, model=model, sandbox="plain", unisolated=True)
        assert (await client.status())["rollouts"] == 0


async def test_closing_the_core_leaves_a_rollout_to_the_next_one(
    home: Home, tmp_path: Path
) -> None:
    async with core(home) as client:
        rollout = await start(client, tmp_path, [bash("echo x >> seen.txt", seconds=0.2, repeat=8)])
        await until(home, rollout, lambda row: row.step >= 2)
        await end_core(home)
        async with core(home):
            row = await ended(home, rollout)
    assert (row.state, row.step) == ("finished", 9)
    seen = (home.rollout(rollout) / "workspace" / "seen.txt").read_text().split()
    assert len(seen) == 8
