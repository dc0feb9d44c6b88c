"""Review and a real core: marks become durable, verdicts follow, an export is written or cancelled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from apollo_tui.errors import ExportError, UsageError
from apollo_tui.log.store import Log
from apollo_tui.paths import Home
from apollo_tui.screens.app import ApolloApp
from apollo_tui.screens.console import ConsoleScreen
from apollo_tui.screens.exporting import Exporting, Wanted, read_wanted
from apollo_tui.screens.review import ReviewScreen
from apollo_tui.screens.review_state import ReviewState
from apollo_tui.screens.widgets.export_line import ExportLine
from tests.running import core, events
from tests.screens.reviewable import called, home_with, limo
from tests.screens.test_review import footer, text, until


@asynccontextmanager
async def reviewing_with_core(home: Home) -> AsyncIterator[tuple[Pilot[int], ReviewState]]:
    async with core(home):
        app = ApolloApp(home, "ana")
        async with app.run_test(size=(160, 45)) as pilot:
            await until(pilot, lambda: app._link.client.connected)
            await pilot.press("m")
            screen = app.screen
            assert isinstance(screen, ReviewScreen)
            await until(pilot, lambda: screen.state)
            assert screen.state is not None
            yield pilot, screen.state


async def export(pilot: Pilot[int], wanted: str) -> None:
    """Ask for an export; returns before it has begun."""
    await pilot.press("E")
    entered = pilot.app.screen.query_one(Input)
    entered.value = wanted
    await entered.action_submit()


def refused(pilot: Pilot[int], said: str) -> bool:
    return "▲" in text(pilot) and said in text(pilot)


async def test_marks_are_durable_and_the_board_follows(home: Home) -> None:
    await home_with(home.path, limo())
    async with reviewing_with_core(home) as (pilot, state):
        app = pilot.app
        assert isinstance(app, ApolloApp)
        before = len(events(home, "made", "marked"))
        first = state.board
        await pilot.press("x", "r", *"drift it leaves the task", "enter", "c", "space", "-", "u")
        await until(pilot, lambda: not app.marks.pending)
        await until(pilot, lambda: state.board is not first and not state.own)
        told = events(home, "made", "marked")[before:]
        said = [(one["actions"][0]["step"], one["mark"], one["code"]) for one in told]
        assert said == [
            (5, "reject", None),
            (5, "reject", None),
            (9, "accept", None),
            (10, "reviewed", None),
            (11, "unsure", None),
        ]
        assert {one["by"] for one in told} == {"ana"}
        assert told[1]["note"] == "drift it leaves the task"
        assert events(home, "made", "unmarked")[-1]["actions"] == [{"step": 11, "ordinal": 1}]
        assert state.board.marks[(5, 1)][-1].mark == "reject"
        assert state.tally.marks["reject"] == 4
        assert not app.error


async def test_another_annotators_mark_arrives(home: Home) -> None:
    await home_with(home.path, limo())
    async with reviewing_with_core(home) as (pilot, state), core(home) as client:
        client.annotator = "ben"
        await client.mark("made", [(9, 1)], "reject")
        await until(pilot, lambda: state.read((9, 1)))
        assert state.verdict((9, 1)).by == "human"
        assert state.shown((9, 1)).by == "default"  # it is still ana's to decide, unseen
        state.go((9, 1))
        await pilot.press("j", "k")
        assert state.key == (9, 1)
        assert "not decided; others: hidden" in text(pilot)
        assert "human    mask" not in text(pilot)
        await pilot.press("c")
        await until(pilot, lambda: not state.own)
        assert state.differs((9, 1)) == "ben"
        state.go((9, 1), "second")
        await pilot.press("k", "j")
        assert "▸ human    mask  ben  you: accept" in text(pilot)  # ben's rejection counts


async def test_an_export_is_written_and_said(home: Home, tmp_path: Path) -> None:
    await home_with(home.path, limo())
    folder = tmp_path / "chat of limo"
    async with reviewing_with_core(home) as (pilot, _):
        await export(pilot, f"chat '{folder}'")
        await until(pilot, lambda: "exporting" in footer(pilot))
        assert "esc cancels" in footer(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ReviewScreen)
        screen.action_back()  # at once: a key would take its time
        assert "an export is being written" in footer(pilot)
        await until(pilot, lambda: "exported" in footer(pilot), 60)
        assert "2 rows, 11 kept, 7 of them nobody looked at, to" in footer(pilot)
        assert not pilot.app.screen.query_one(ExportLine).display
    rows = [json.loads(line) for line in (folder / "chat.jsonl").read_text().splitlines()]
    assert [row["meta"]["segment"] for row in rows] == [1, 2]
    assert events(home, None, "exported")[-1]["by"] == "ana"


async def test_what_an_export_refuses_can_be_put_right(home: Home, tmp_path: Path) -> None:
    await home_with(home.path, limo())
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("keep me")
    async with reviewing_with_core(home) as (pilot, state):
        line = pilot.app.screen.query_one(ExportLine)
        unread, key = state.tally.marks[""], state.key
        for wanted, said in (
            (f"chat {tmp_path / 'there'}", "there"),
            (f"poems {tmp_path / 'new'}", "poems"),
        ):
            line.ask("limo-filter")
            line.query_one(Input).value = wanted
            await pilot.press("enter")
            # From here on until it is refused, and after: what is typed is text.
            await pilot.press("x", "c", "u", "ctrl+r", "down")
            await until(pilot, partial(refused, pilot, said), 60)
            await pilot.press("x", "space", "-")
            assert line.display
            assert line.query_one(Input).value == wanted + "xcux -"
            assert not line.running
        assert (state.tally.marks[""], state.key) == (unread, key)
        assert not events(home, "made", "marked")[8:]
        line.query_one(Input).value = f"chat {tmp_path / 'new'}"
        await pilot.press("enter")
        await until(pilot, lambda: "exported" in footer(pilot), 60)
        assert not line.display
    assert (tmp_path / "there" / "mine.txt").read_text() == "keep me"
    assert (tmp_path / "new" / "chat.jsonl").exists()


async def test_who_writes_on_while_an_export_begins_marks_nothing(
    home: Home, tmp_path: Path
) -> None:
    await home_with(home.path, limo())
    async with reviewing_with_core(home) as (pilot, state):
        unread = state.tally.marks[""]
        await export(pilot, f"chat {tmp_path / 'new'}")
        await pilot.press("x")
        await until(pilot, lambda: "exported" in footer(pilot), 60)
        line = pilot.app.screen.query_one(ExportLine)
        assert line.display
        await pilot.press("x", "c", "escape")
        assert not line.display
        assert state.tally.marks[""] == unread
    assert (tmp_path / "new" / "chat.jsonl").exists()


async def test_a_cancelled_export_leaves_nothing(home: Home, tmp_path: Path) -> None:
    made = called("long")
    for n in range(400):
        made.bash(f"pytest tests/test_{n}.py", f"{n} passed " * 40, thinking=f"Test {n} " * 50)
    await home_with(home.path, made)
    async with reviewing_with_core(home) as (pilot, _):
        await export(pilot, f"turns {tmp_path / 'turns'}")
        await until(pilot, lambda: "exporting" in footer(pilot))
        screen = pilot.app.screen
        assert isinstance(screen, ReviewScreen)
        screen.action_cancel()
        await until(pilot, lambda: "export cancelled" in footer(pilot), 60)
        assert "exporting" not in footer(pilot)
        assert isinstance(pilot.app.screen, ReviewScreen)
    assert list(tmp_path.glob("*turns*")) == []


async def test_an_export_cancelled_while_it_is_being_started_writes_nothing(
    home: Home, tmp_path: Path
) -> None:
    await home_with(home.path, limo())
    exporting = Exporting(home, "ana", "made", Wanted("chat", tmp_path / "out"), lambda *_: None)
    async with core(home):
        running = asyncio.create_task(exporting.run())
        await asyncio.sleep(0)
        assert exporting.pid is None  # begun, and there is no process yet
        exporting.cancel()
        assert await running is None
    assert list(tmp_path.glob("*out*")) == []


async def test_the_process_of_an_export_ends_with_it(home: Home, tmp_path: Path) -> None:
    await home_with(home.path, limo())
    exporting = Exporting(home, "ana", "made", Wanted("chat", tmp_path / "out"), lambda *_: None)
    async with core(home):
        running = asyncio.create_task(exporting.run())
        while exporting.pid is None:
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(ProcessLookupError):
            os.kill(exporting.pid, 0)


async def test_an_export_that_was_killed_is_said(home: Home, tmp_path: Path) -> None:
    await home_with(home.path, limo())
    exporting = Exporting(home, "ana", "made", Wanted("chat", tmp_path / "out"), lambda *_: None)
    async with core(home):
        running = asyncio.create_task(exporting.run())
        while exporting.pid is None:
            await asyncio.sleep(0.01)
        os.kill(exporting.pid, signal.SIGKILL)
        with pytest.raises(ExportError, match=r"killed|code -9"):
            await running


async def test_a_rollout_still_being_read_can_be_left(home: Home) -> None:
    made = called("big")
    for n in range(6000):
        made.bash(f"ls {n}", "one")
    home.prepare()
    log = await Log.open(home.database)
    await log.append(*made.events, texts=made.texts.values())
    await log.close()
    app = ApolloApp(home, "ana", connect=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        home_screen = app.screen
        assert isinstance(home_screen, ConsoleScreen)
        home_screen.action_review()
        screen = app.screen
        assert isinstance(screen, ReviewScreen)
        while not screen._ready:
            await asyncio.sleep(0.001)
        screen._say_reading()
        assert screen._said == "reading 6,000 actions"
        app.core_gone = False
        screen.action_mark("reject")
        assert "still being read" in app.error
        assert not app.marks.pending
        for act in (screen.action_order, screen.action_range, screen.action_confirm):
            act()
        assert screen.state is None
        await pilot.press("q")
        await pilot.pause()
        assert not isinstance(app.screen, ReviewScreen)
    assert app._exception is None


@pytest.mark.parametrize("written", ["", "chat", "--format chat", "chat --out", "chat 'open"])
def test_what_cannot_be_exported_is_told_how_to_write(written: str) -> None:
    with pytest.raises(UsageError):
        read_wanted(written)


def test_options_of_the_command_may_follow() -> None:
    wanted = read_wanted("tokens 'my folder' --tokenizer glm --reviewed-only")
    assert wanted == Wanted("tokens", Path("my folder"), ("--tokenizer", "glm", "--reviewed-only"))
