"""The console and a real core: what the keys ask for becomes durable, and losing it is survived."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from apollo_tui.client import Client
from apollo_tui.paths import Home
from apollo_tui.screens.app import ApolloApp
from tests.running import bash, core, end_core, events, script, task_folder, until
from tests.screens.test_keys import footer, text


async def seen(pilot: Pilot[int], met: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until the screen says so; fails with what it shows instead."""
    app = pilot.app
    assert isinstance(app, ApolloApp)
    for _ in range(int(seconds / 0.05)):
        if met():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(text(app))


async def begin(home: Home, folder: Path) -> str:
    replies = [
        bash(f"echo wrote line {n}", thinking=f"Line {n} is next.", seconds=0.3)
        for n in range(1, 100)
    ]
    async with await Client.connect(home, annotator="ana") as client:
        answer = await client.run(
            task=task_folder(folder / "alpha"),
            model=script(folder / "alpha.jsonl", replies),
            sandbox="plain",
            unisolated=True,
        )
    return str(answer[0]["rollout"])


async def test_pause_advise_mark_reason_undo_resume(home: Home, tmp_path: Path) -> None:
    home.prepare()
    rollout = await begin(home, tmp_path)
    try:
        app = ApolloApp(home, "ana")
        async with app.run_test(size=(120, 40)) as pilot:
            await seen(pilot, lambda: "wrote line 2" in text(app))
            await seen(pilot, lambda: "is next.▏" in text(app))
            await pilot.press("p")
            await seen(pilot, lambda: "‖ paused" in text(app))
            await until(home, rollout, lambda row: row.state == "paused" and not row.in_flight)
            await pilot.press("a", *"Count aloud.", "enter")
            await seen(pilot, lambda: "Count aloud." in text(app) and "queued" in text(app))
            await pilot.press("x")
            await seen(pilot, lambda: not app.marks.pending)
            assert "rejected" in footer(app)
            await pilot.press("r", *"off-task it only counts", "enter")
            await seen(pilot, lambda: not app.marks.pending)
            await pilot.press("u")
            await seen(pilot, lambda: not app.marks.pending)
            await pilot.press("p")
            await until(home, rollout, lambda row: row.queued_advice == 0)
            await seen(pilot, lambda: "delivered at step" in text(app))
            assert not app.error
            await pilot.press("q")
        marked = events(home, rollout, "marked")
        assert [event["code"] for event in marked] == [None, "off-task"]
        assert {event["by"] for event in marked} == {"ana"}
        assert len(events(home, rollout, "unmarked")) == 1
    finally:
        await end_core(home)


async def test_the_core_goes_and_comes_back(home: Home, tmp_path: Path) -> None:
    home.prepare()
    await begin(home, tmp_path)
    try:
        app = ApolloApp(home, "ana")
        async with app.run_test(size=(120, 40)) as pilot:
            await seen(pilot, lambda: "is next.▏" in text(app))  # so it hears the core
            await end_core(home, signal.SIGKILL)
            await seen(pilot, lambda: "core gone" in text(app))
            await pilot.press("p")
            assert "the core is gone" in footer(app)
            async with core(home):
                await seen(pilot, lambda: "core gone" not in text(app))
                await pilot.press("p")
                await seen(pilot, lambda: "‖ paus" in text(app))
                await pilot.press("q")
    finally:
        await end_core(home)


async def test_a_refusal_is_one_line_until_the_next_key(home: Home, tmp_path: Path) -> None:
    home.prepare()
    await begin(home, tmp_path)
    try:
        app = ApolloApp(home, "ana")
        async with app.run_test(size=(120, 40)) as pilot:
            await seen(pilot, lambda: "wrote line 1" in text(app))
            app.command(lambda client: client.unadvise(app.history.rollouts()[0].id, 99))
            await seen(pilot, lambda: "▲" in footer(app))
            await pilot.press("1")
            assert "▲" not in footer(app)
            await pilot.press("q")
    finally:
        await end_core(home)


async def test_rejecting_right_after_a_pause_takes_the_action_above_it(
    home: Home, tmp_path: Path
) -> None:
    home.prepare()
    rollout = await begin(home, tmp_path)
    try:
        app = ApolloApp(home, "ana")
        async with app.run_test(size=(120, 40)) as pilot:
            await seen(pilot, lambda: "wrote line 2" in text(app))
            await pilot.press("enter", "p")
            await seen(pilot, lambda: "paused after what is in flight" in text(app))
            step = (
                await until(home, rollout, lambda row: row.state == "paused" and not row.in_flight)
            ).step
            await seen(pilot, lambda: f"{step}   bash" in text(app))
            await pilot.press("x")
            await seen(pilot, lambda: bool(events(home, rollout, "marked")))
            assert not app.error
            await pilot.press("q", "q")
        (marked,) = events(home, rollout, "marked")
        assert marked["actions"] == [{"step": step, "ordinal": 1}]
    finally:
        await end_core(home)
