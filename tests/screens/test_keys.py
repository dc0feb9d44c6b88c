"""The keys, on the real screens over a real log; no core answers, so what is sent stays pending."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot

from apollo_tui.client import CoreBack, CoreGone, Streamed
from apollo_tui.paths import Home
from apollo_tui.screens.app import ApolloApp, farewell
from apollo_tui.screens.console import ConsoleScreen
from apollo_tui.screens.glyphs import ASCII
from apollo_tui.screens.help import HelpScreen
from apollo_tui.screens.marks import Mark
from apollo_tui.screens.rollout import RolloutScreen
from apollo_tui.screens.themes import THEMES
from apollo_tui.screens.widgets.rows import Rows
from apollo_tui.screens.widgets.text_box import Area, TextBox
from apollo_tui.screens.widgets.transcript import Transcript
from tests.screens.conftest import Console


@asynccontextmanager
async def shown(app: ApolloApp, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[int]]:
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield pilot


def text(app: ApolloApp) -> str:
    """What stands on the screen, widget by widget."""
    rows = app.screen.query(Rows)
    return "\n".join(line.text for row in rows if row.display for line in row.lines)


def footer(app: ApolloApp) -> str:
    screen = app.screen
    assert isinstance(screen, ConsoleScreen | RolloutScreen)
    return screen.footer_line(app.size.width).text


async def test_home_shows_every_rollout_and_what_needs_you(console: Console) -> None:
    app = console()
    async with shown(app):
        seen = text(app)
        for name in ("limo-filter", "dapo-loss", "deep-research", "tamil-medical"):
            assert name in seen
        assert "! 1 needs you" in seen
        assert "asks you a question" in seen
        assert "not isolated" in seen
        assert "exit 1" in seen


async def test_panes_are_chosen_by_number_and_by_neighbour(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        screen = app.screen
        assert isinstance(screen, ConsoleScreen)
        for key, name in [
            ("3", "deep-research"),
            ("l", "dapo-loss"),
            ("k", "limo-filter"),
            ("h", "tamil-medical"),
            ("G", "dapo-loss"),
            ("!", "deep-research"),
            ("!", "dapo-loss"),
        ]:
            await pilot.press(key)
            assert screen.rollout is not None
            assert screen.rollout.name == name, key


async def test_reject_takes_the_visible_row_and_undo_takes_it_back(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        await pilot.press("2", "x")
        assert "✗ rejected 412 edit_file" in footer(app)
        assert "u undo" in footer(app)
        assert "412 ✗ edit_file" in text(app)
        await pilot.press("u")
        assert "412 ✗ edit_file" not in text(app)
        await pilot.press("ctrl+r")
        assert "412 ✗ edit_file" in text(app)
        await pilot.press("4", ".")
        assert "86 ✗ bash" in text(app)


async def test_a_reason_is_asked_for_and_the_agent_never_sees_it(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        await pilot.press("2", "c", "r")
        assert "THE AGENT NEVER SEES THIS" in text(app)
        await pilot.press(*"good: it tests first", "enter")
        assert not app.screen.query(TextBox)
        assert app.marks.last is not None
        assert app.marks.last.now == Mark("accept", "good", "it tests first")


async def test_a_draft_survives_closing_the_box(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        await pilot.press("1", "a")
        assert "THE AGENT WILL READ THIS" in text(app)
        await pilot.press(*"Wait", "ctrl+j", *"for it", "escape")
        assert not app.screen.query(TextBox)
        await pilot.press("a")
        assert app.screen.query_one(Area).text == "Wait\nfor it"
        await pilot.press("q")
        assert app.screen.query_one(Area).text == "Wait\nfor itq"


async def test_keys_say_why_when_the_core_is_gone(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        app._hear(CoreGone("it was killed"))
        await pilot.pause(0.15)
        assert "▲ core gone 14:00, reading history" in text(app)
        for key in "p", "x", "a", "u":
            await pilot.press(key)
            assert "the core is gone" in footer(app), key
        await pilot.press("3")
        assert "the core is gone" not in footer(app)
        app._hear(CoreBack())
        await pilot.pause(0.15)
        assert "● core back" in text(app)
        await pilot.press("x")
        assert "rejected" in footer(app)


async def test_nothing_to_undo_is_said_until_the_next_key(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        await pilot.press("u")
        assert "nothing to undo" in footer(app)
        await pilot.press("j")
        assert "nothing to undo" not in footer(app)


async def test_a_streamed_reply_is_seen_and_becomes_history(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        app._hear(Streamed("r-limo-filter", 413, "thinking", "The loss plateaus\x1b[2J near"))
        await pilot.pause(0.15)
        assert " 413   The loss plateaus near▏" in text(app)
        await pilot.press("2", "enter")
        assert "The loss plateaus near▏" in text(app)
        app._hear(Streamed("r-limo-filter", 412, "thinking", "of a step that is in the log"))
        app.read(None)
        assert "in the log▏" not in text(app)


async def test_the_rollout_screen_and_its_details(console: Console) -> None:
    app = console()
    async with shown(app, (160, 45)) as pilot:
        await pilot.press("2", "enter")
        assert isinstance(app.screen, RolloutScreen)
        seen = text(app)
        assert "apollo  ›  limo-filter" in seen
        assert 'extra = read_jsonl("data/extra_aime.jsonl")' in seen
        assert "Syntax check passed." in seen
        await pilot.press("k")
        assert "gpu_train 60s" in text(app)
        await pilot.press("K")
        assert "accepted" in text(app)
        await pilot.press("tab")
        assert "working time" in text(app)
        await pilot.press("tab")
        assert "delivered at step 408" in text(app)
        await pilot.press("q")
        assert isinstance(app.screen, ConsoleScreen)


async def test_a_range_is_marked_after_a_question(console: Console) -> None:
    app = console()
    async with shown(app, (160, 45)) as pilot:
        await pilot.press("2", "enter", "v", "k", "k", "x")
        assert "✗ reject 410–412?" in text(app)
        assert not app.marks.pending
        await pilot.press("escape", "v", "k", "x", "enter")
        assert sorted(app.marks.pending) == [
            ("r-limo-filter", 409, 1),
            ("r-limo-filter", 410, 1),
        ]
        assert "rejected 409–410" in footer(app)
        await pilot.press("v", "c", "a")
        assert app.screen.query_one(Area).text == "About step 409: "


async def test_thinking_opens_in_full(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        await pilot.press("2", "enter", "K", "K", "K", "K")
        transcript = app.screen.query_one(Transcript)
        assert "406 ✗" in next(line.text for line in transcript.lines if line.spans[1].ground)

        def whole() -> bool:
            return any("fraction of the time" in line.text for line in transcript.lines)

        assert not whole()
        await pilot.press("enter")
        assert whole()
        await pilot.press("enter")
        assert not whole()


async def test_a_narrow_rollout_has_its_details_on_a_sheet(console: Console) -> None:
    app = console()
    async with shown(app, (80, 24)) as pilot:
        await pilot.press("2", "enter")
        assert "observation" not in text(app)
        await pilot.press("tab")
        await pilot.pause()
        assert "observation" in text(app)
        await pilot.press("q")
        assert isinstance(app.screen, RolloutScreen)
        await pilot.press("q")
        assert isinstance(app.screen, ConsoleScreen)


async def test_help_lists_what_is_bound(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        await pilot.press("?")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        seen = text(app)
        for said in ("advise", "pause now", "reject", "detach", "redo"):
            assert said in seen
        await pilot.press("escape")
        await pilot.press("enter", "?")
        await pilot.pause()
        assert "next landmark" in text(app)


async def test_no_label_of_the_palette_runs_into_its_key(console: Console) -> None:
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        labels = [command.title for command in app.get_system_commands(app.screen)]
        assert "theme: apollo-day" in labels
        keyed = [label for label in labels if "  " in label]
        assert len(keyed) > 20
        starts = {len(label) - len(label.split("  ")[-1].lstrip()) for label in keyed}
        assert len(starts) == 1, labels
        app.glyphs = ASCII
        assert all(command.title.isascii() for command in app.get_system_commands(app.screen))


async def test_the_palette_has_every_action_and_the_other_theme(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert any(title.startswith("pause now") for title in titles)
        await pilot.press(":")
        await pilot.pause(0.1)
        await pilot.press(*"apollo-day")
        await pilot.pause(0.3)
        await pilot.press("enter")
        await pilot.pause(0.1)
        assert app.theme == "apollo-day"
        assert app.palette.style("text").color is not None
        assert app.palette.style("text").color.name == "#22252c"  # type: ignore[union-attr]


async def test_q_detaches_and_says_what_goes_on(console: Console) -> None:
    app = console()
    async with shown(app) as pilot:
        await pilot.press("q")
    assert app.return_code == 0
    assert farewell(3) == "detached; 3 rollouts go on. apollo-tui brings you back"


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (59, 40), (80, 10), (300, 90)])
async def test_no_size_is_a_traceback(console: Console, size: tuple[int, int]) -> None:
    app = console()
    async with shown(app, size) as pilot:
        await pilot.press("2", "x", "enter", "k", "tab", "tab", "v", "x", "escape", "escape")
        await pilot.press("q", "?", "escape", "a", "escape")
    assert app._exception is None


async def test_a_small_terminal_lists_the_rollouts(console: Console) -> None:
    app = console()
    async with shown(app, (20, 5)):
        assert "80×24 shows more" in text(app)
        assert "limo-filter" in text(app)


async def test_a_new_home_says_how_to_begin(home: Home) -> None:
    home.prepare()
    app = ApolloApp(home, "ana", connect=False)
    async with shown(app) as pilot:
        assert "No rollouts yet." in text(app)
        await pilot.press("enter", "x", "p", "a", "j", "!", "u")
    assert app.return_code is None


async def test_the_screen_is_there_before_a_core_is(home: Home) -> None:
    home.prepare()
    app = ApolloApp(home, "ana", connect=False)
    before = time.monotonic()
    async with shown(app):
        assert time.monotonic() - before < 5
        assert "no core, reading history" in text(app)


def test_the_themes_are_the_drawn_ones() -> None:
    night, day = THEMES
    assert (night.background, night.accent, night.error) == ("#14161a", "#9db5f5", "#ef7b85")
    assert (day.background, day.accent, day.error) == ("#fbfaf7", "#3656c4", "#bd2b3c")
    for theme in THEMES:
        assert {"text", "dim", "faint", "line", "select", "attention", "masked"} <= set(
            theme.variables
        )
