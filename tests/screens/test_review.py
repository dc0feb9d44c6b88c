"""Review's keys on the real screen over a real log; no core answers, so marks stay on their way."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from apollo_tui.filter.run import FilterSettings
from apollo_tui.log.types import AssistantMessage
from apollo_tui.paths import Home
from apollo_tui.screens.app import ApolloApp
from apollo_tui.screens.console import ConsoleScreen
from apollo_tui.screens.glyphs import ASCII
from apollo_tui.screens.help import HelpScreen
from apollo_tui.screens.marks import Mark
from apollo_tui.screens.review import ReviewScreen
from apollo_tui.screens.review_state import ReviewState
from apollo_tui.screens.rollout import RolloutScreen
from apollo_tui.screens.widgets.export_line import ExportLine
from apollo_tui.screens.widgets.mask_view import MaskView
from apollo_tui.screens.widgets.queue import Queue
from apollo_tui.screens.widgets.rows import Rows
from apollo_tui.screens.widgets.transcript import Transcript
from tests.screens.conftest import still
from tests.screens.reviewable import called, home_with, limo


@pytest.fixture(scope="session")
def reviewable(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A rollout to review; read only."""
    return asyncio.run(home_with(tmp_path_factory.mktemp("reviewable") / "home", limo()))


@asynccontextmanager
async def reviewing(
    home: Home, size: tuple[int, int] = (160, 45), *keys: str
) -> AsyncIterator[tuple[Pilot[int], ReviewState]]:
    app = still(home)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await begin(pilot)
        await pilot.press(*keys)
        screen = app.screen
        assert isinstance(screen, ReviewScreen)
        assert screen.state is not None
        yield pilot, screen.state


async def begin(pilot: Pilot[Any]) -> None:
    await pilot.press("m")
    await until(pilot, lambda: isinstance(top(pilot), ReviewScreen) and top(pilot).state)
    await pilot.pause()


def top(pilot: Pilot[Any]) -> Any:
    return pilot.app.screen


async def until(pilot: Pilot[Any], met: Callable[[], Any], seconds: float = 20.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if met():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(text(pilot))


def text(pilot: Pilot[Any]) -> str:
    rows = pilot.app.screen.query(Rows)
    return "\n".join(line.text for row in rows if row.display for line in row.lines)


def footer(pilot: Pilot[Any]) -> str:
    screen = top(pilot)
    return str(screen.footer_line(pilot.app.size.width).text)


def pending(pilot: Pilot[Any]) -> dict[int, str]:
    app = pilot.app
    assert isinstance(app, ApolloApp)
    return {step: marks[-1].kind for (_, step, _), marks in app.marks.pending.items()}


# --- what is shown -----------------------------------------------------------------------------


async def test_the_queue_the_text_and_the_verdict(reviewable: Home) -> None:
    async with reviewing(reviewable, (160, 45), "j") as (pilot, state):
        assert state.key == (9, 1)
        seen = text(pilot)
        for said in (
            "apollo  ›  limo-filter  ›  review    7 of 18",
            "rules + judge glm-4.5",
            "agreement κ −0.33 on 4",
            "✓ 2 accepted    ✗ 3 rejected    ~ 1 unsure    1 reviewed    · 11 unread",
            "export now: 11 kept, 7 of them nobody looked at",
            "second look  4",
            "unread  11",
            "segment 2 of 2",
            "no tokenizer chosen",
            "verdict of 9",
            "hidden until you decide",
            "masked in all",
            "Score the answer, not its tag.",
        ):
            assert said in seen, said
        lines = [line.text for line in pilot.app.screen.query_one(MaskView).lines]
        assert any(line.startswith("▌9 thinking        │ Right: paying") for line in lines)
        assert any(line.startswith(" 8 thinking        ✗ Reward is low") for line in lines)


async def test_hostile_text_does_nothing(reviewable: Home) -> None:
    async with reviewing(reviewable, (160, 45), "G") as (pilot, state):
        assert state.key == (17, 1)
        seen = text(pilot)
        assert "17 thinking" in seen
        assert "A  trap." in seen
        assert all(line.isprintable() for line in seen.split("\n"))


async def test_without_a_judge_or_a_filter_run_the_defaults_hold(home: Home) -> None:
    made = called("plain")
    made.bash("ls", "one")
    made.bash("ls", "one")
    await home_with(home.path, made, FilterSettings())
    async with reviewing(home) as (pilot, _):
        seen = text(pilot)
        assert "rules no judge" in seen
        assert "put aside" not in seen
        assert "repeated" in seen


async def test_an_empty_rollout_says_so(home: Home) -> None:
    await home_with(home.path, called("empty"))
    async with reviewing(home) as (pilot, _):
        assert "No actions yet." in text(pilot)
        keys = ("x", "space", "j", "K", "v", "c", "o", "enter", "u", "ctrl+r", ".", "r")
        await pilot.press(*keys, "ctrl+d", "g", "G", "pagedown", "tab")
        assert isinstance(top(pilot), ReviewScreen)


# --- marking -----------------------------------------------------------------------------------


async def test_each_mark_is_one_key_and_goes_on_to_the_next(reviewable: Home) -> None:
    async with reviewing(reviewable) as (pilot, state):
        for key, step, kind in [
            ("x", 5, "reject"),
            ("c", 9, "accept"),
            ("-", 10, "unsure"),
            ("space", 11, "reviewed"),
            ("R", 12, "reviewed"),
        ]:
            assert state.key == (step, 1)
            await pilot.press(key)
            assert pending(pilot)[step] == kind
        assert state.key == (13, 1)
        seen = text(pilot)
        assert "12 of 18" in seen
        assert "✗ 4 rejected" in seen
        assert "just now  3" in seen
        assert "3 reviewed" in seen


async def test_overruling_is_seen_in_the_mask_at_once(reviewable: Home) -> None:
    async with reviewing(reviewable, (160, 45), "J", "J") as (pilot, state):
        assert state.key == (13, 1)
        view = pilot.app.screen.query_one(MaskView)

        def gutter() -> str:
            return next(line.text for line in view.lines if line.text[1:].startswith("13 g"))[19]

        assert gutter() == "✗"
        await pilot.press("c")
        assert gutter() == "┃"
        assert "trains 8" in text(pilot)
        await pilot.press("u")
        assert (gutter(), state.key) == ("✗", (13, 1))
        await pilot.press("ctrl+r")
        assert gutter() == "┃"


async def test_repeat_reason_and_undo(reviewable: Home) -> None:
    async with reviewing(reviewable) as (pilot, state):
        app = pilot.app
        assert isinstance(app, ApolloApp)
        await pilot.press("x", "r", *"drift: it leaves the task", "enter")
        assert app.marks.last is not None
        assert app.marks.last.now == Mark("reject", "drift", "it leaves the task")
        assert "last reason  drift" in text(pilot)
        await pilot.press(".")
        assert app.marks.last.now == Mark("reject", "drift", "it leaves the task")
        assert app.marks.last.places == ((9, 1),)
        await pilot.press("u")
        assert state.key == (9, 1)
        assert not state.read((9, 1))
        await pilot.press("u", "u")
        assert "nothing to undo" in footer(pilot)


async def test_undo_restores_my_mark_not_anothers(reviewable: Home) -> None:
    async with reviewing(reviewable) as (pilot, state):
        state.go((7, 1), "second")
        await pilot.press("-")
        assert pending(pilot) == {7: "unsure"}
        await pilot.press("u")
        assert pending(pilot)[7] == "reject"
        mine = next(mark for mark in state.marks((7, 1)) if mark.annotator == "ana")
        assert (mine.mark, mine.code) == ("reject", "impatient")


async def test_a_range_is_asked_about_first(reviewable: Home) -> None:
    async with reviewing(reviewable, (160, 45), "v", "j", "j") as (pilot, state):
        await pilot.press("x")
        assert "✗ reject 5–10?" in text(pilot)
        assert "3 actions" in text(pilot)
        assert not pending(pilot)
        await pilot.press("escape")
        assert state.range_from is None
        await pilot.press("k", "k", "v", "j", "space", "enter")
        assert pending(pilot) == {5: "reviewed", 9: "reviewed"}
        assert isinstance(top(pilot), ReviewScreen)
        assert state.range_from is None
        assert state.key == (10, 1)


async def test_nothing_can_be_marked_without_a_core(reviewable: Home) -> None:
    async with reviewing(reviewable) as (pilot, _):
        app = pilot.app
        assert isinstance(app, ApolloApp)
        app.core_gone = True
        for key in "x", "c", "-", "space", ".", "E":
            await pilot.press(key)
            assert not pending(pilot)
        assert "the core is gone" in footer(pilot)
        assert not pilot.app.screen.query_one(ExportLine).display


async def test_a_refused_mark_is_shown_no_more(reviewable: Home) -> None:
    from apollo_tui.screens.marks import Request

    async with reviewing(reviewable) as (pilot, state):
        app = pilot.app
        assert isinstance(app, ApolloApp)
        await pilot.press("x")
        assert state.read((5, 1))
        app.marks.refused(Request("made", ((5, 1),), Mark("reject")))
        app._marks_changed()
        assert not state.read((5, 1))
        assert state.tally.marks["reject"] == 3


async def test_the_same_mark_twice_is_one_act(reviewable: Home) -> None:
    async with reviewing(reviewable) as (pilot, state):
        app = pilot.app
        assert isinstance(app, ApolloApp)
        await pilot.press("x", "r", *"drift", "enter")
        state.go((5, 1), "recent")
        await pilot.press(".")
        assert len(app.marks.done) == 1
        assert "it is marked so already" in footer(pilot)
        state.go((5, 1), "recent")
        await pilot.press("c")
        assert len(app.marks.done) == 2


async def test_a_range_says_how_many_are_decided_already(reviewable: Home) -> None:
    async with reviewing(reviewable, (160, 45), "x", "c") as (pilot, state):
        state.go((5, 1), "recent")
        await pilot.press("v", "j", "j", "x")
        assert "3 actions, 2 already decided" in text(pilot)


async def test_the_last_act_is_said_with_its_reason_until_it_is_old(reviewable: Home) -> None:
    async with reviewing(reviewable) as (pilot, _):
        await pilot.press("x", "r", *"drift", "enter")
        assert "✗ rejected 5 bash… · drift   u undo" in footer(pilot)
        assert "mask  drift" in text(pilot)
        await pilot.press("j", "j", "j")
        assert "rejected 5" in footer(pilot)
        await pilot.press("j")
        assert "rejected 5" not in footer(pilot)
        await pilot.press("u")
        assert "undone: rejected 5 bash   ctrl+r redo" in footer(pilot)
        await pilot.press("x", "enter")
        await pilot.pause()
        assert "rejected" not in footer(pilot)


async def test_in_80_columns_the_act_is_short_and_the_way_to_the_text_stays(
    reviewable: Home,
) -> None:
    async with reviewing(reviewable, (80, 24), "x") as (pilot, _):
        said = footer(pilot)
        assert "✗5… u undo" in said
        assert "tab text" in said and "? help" in said and "q back" in said


# --- moving ------------------------------------------------------------------------------------


async def test_moving_along_the_queue(reviewable: Home) -> None:
    async with reviewing(reviewable) as (pilot, state):
        for key, step in [
            ("j", 9),
            ("down", 10),
            ("k", 9),
            ("up", 5),
            ("J", 9),
            ("K", 5),
            ("G", 17),
            ("g", 6),
            ("pagedown", 17),
            ("pageup", 6),
            ("end", 17),
        ]:
            await pilot.press(key)
            assert state.key is not None
            assert state.key[0] == step, key


async def test_the_order_is_said(reviewable: Home) -> None:
    async with reviewing(reviewable) as (pilot, state):
        for said, first in [("by rule", 5), ("judge against rules", 15), ("drawn at random", 0)]:
            await pilot.press("o")
            assert said in text(pilot)
            assert state.key is not None
            assert first in (0, state.key[0])
        await pilot.press("o")
        assert "as it happened" in text(pilot)


async def test_what_needs_you_is_one_key_away(reviewable: Home) -> None:
    async with reviewing(reviewable, (160, 45), "!") as (pilot, _):
        assert "nothing needs you" in footer(pilot)


async def test_the_text_scrolls_by_itself(reviewable: Home) -> None:
    async with reviewing(reviewable, (160, 45), "j") as (pilot, _):
        view = pilot.app.screen.query_one(MaskView)
        before = list(view.lines)
        await pilot.press("ctrl+u", "ctrl+u")
        assert view.lines != before
        assert any("Choose at most 800" in line.text for line in view.lines)
        await pilot.press("ctrl+d", "ctrl+d", "ctrl+d")
        assert any("6 passed" in line.text for line in view.lines)


async def test_enter_opens_the_rollout_there_and_m_comes_back(reviewable: Home) -> None:
    app = still(reviewable)
    async with app.run_test(size=(160, 45)) as pilot:
        await pilot.pause()
        await begin(pilot)
        await pilot.press("j", "j", "enter")
        await pilot.pause()
        assert isinstance(app.screen, RolloutScreen)
        transcript = app.screen.query_one(Transcript)
        entry = transcript.entry(transcript.state.cursor)
        assert entry is not None
        assert (entry.kind, entry.step) == ("action", 10)
        await pilot.press("j", "m")
        await pilot.pause()
        review = app.screen
        assert isinstance(review, ReviewScreen)
        assert review.state is not None
        assert review.state.key == (11, 1)
        await pilot.press("q")
        assert isinstance(app.screen, ConsoleScreen)


async def test_m_in_a_rollout_opens_review_at_its_action(reviewable: Home) -> None:
    app = still(reviewable)
    async with app.run_test(size=(160, 45)) as pilot:
        await pilot.pause()
        await pilot.press("enter")
        transcript = app.screen.query_one(Transcript)
        transcript.show_action(8, 1)
        await begin(pilot)
        review = app.screen
        assert isinstance(review, ReviewScreen)
        assert review.state is not None
        assert review.state.key == (8, 1)  # long decided: among what was decided
        assert "▌   8 ✗ edit_file" in text(pilot)
        await pilot.press("escape")
        assert isinstance(app.screen, RolloutScreen)


async def test_the_mouse_chooses_a_row(reviewable: Home) -> None:
    async with reviewing(reviewable) as (pilot, state):
        queue = pilot.app.screen.query_one(Queue)
        y = next(y for y, line in enumerate(queue.lines) if "web_search" in line.text)
        await pilot.click(Queue, offset=(12, y))
        assert state.key == (15, 1)
        queue.post_message(Queue.Scrolled(-3))
        await pilot.pause()
        assert state.key != (15, 1)


async def test_a_narrow_terminal_has_the_queue_or_the_text(reviewable: Home) -> None:
    async with reviewing(reviewable, (80, 24), "j") as (pilot, state):
        assert "Right: paying" not in text(pilot)
        assert "pytest -q tests/test_reward.py" in text(pilot)
        await pilot.press("tab")
        await pilot.pause()
        assert "Right: paying" in text(pilot)
        assert "as it happened" not in text(pilot)
        await pilot.press("x")
        assert state.key == (10, 1)
        await pilot.press("pagedown", "pageup", "tab")
        await pilot.pause()
        assert "as it happened" in text(pilot)
        await pilot.press("x", "r")
        assert "THE AGENT NEVER SEES THIS" in text(pilot)


async def test_help_has_every_key(reviewable: Home) -> None:
    app = still(reviewable)
    async with app.run_test(size=(160, 60)) as pilot:
        await pilot.pause()
        await begin(pilot)
        await pilot.press("?")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        seen = text(pilot)
        for said in (
            "read, nothing to say",
            "order of the unread",
            "export",
            "open at this step",
            "repeat mark",
            "redo",
        ):
            assert said in seen, said


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (59, 40), (80, 10), (109, 15), (300, 90)])
async def test_no_size_is_a_traceback(reviewable: Home, size: tuple[int, int]) -> None:
    app = still(reviewable)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await begin(pilot)
        await pilot.press("j", "x", "tab", "c", "v", "j", "x", "enter", "o", "r", "escape")
        await pilot.press("E", "escape", "tab", "enter", "q", "q")
    assert app._exception is None


# --- settings ----------------------------------------------------------------------------------


def tokenizer_folder(path: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    path.mkdir()
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path / "tokenizer.json"))
    return path


async def test_tokens_are_counted_with_the_chosen_tokenizer(home: Home, tmp_path: Path) -> None:
    made = called("counted")
    made.step(("bash", {"command": "ls"}), thinking="one two three", text="four")
    made.step(("bash", {"command": "pwd"}), thinking="five")
    await home_with(home.path, made)
    folder = tokenizer_folder(tmp_path / "words")
    home.config.write_text(f'[review]\ntokenizer = "{folder}"\n')
    async with reviewing(home) as (pilot, state):
        await until(pilot, lambda: "tokens" in text(pilot) and state.has_tokens(0))
        from apollo_tui.filter.tokenizer import load_tokenizer

        count = load_tokenizer(folder).count
        first = count("one two threefour") + count('bash{"command": "ls"}')
        second = count("five") + count('bash{"command": "pwd"}')
        await until(pilot, lambda: f"trains {first + second}  ✗ masked 0 tokens" in text(pilot))
        await pilot.press("x")
        assert f"trains {second}  ✗ masked {first} tokens" in text(pilot)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('[review]\ntokenizer = "/nowhere/at/all"\n', "review.tokenizer: no folder /nowhere"),
        ("[review]\nhide_judge = 3\n", "config.toml line 2: review.hide_judge must be a boolean"),
        ('[review]\ncodes = ["two words"]\n', "review.codes"),
    ],
)
async def test_a_wrong_setting_is_said_and_review_goes_on(
    home: Home, config: str, said: str
) -> None:
    await home_with(home.path, limo())
    home.config.write_text(config)
    async with reviewing(home, (200, 45)) as (pilot, state):
        assert said in footer(pilot)
        assert "trains 4  ✗ masked 1 action  no tokenizer" in text(pilot)
        await pilot.press("x")
        assert state.read((5, 1))


async def test_own_codes_and_an_open_judge(home: Home) -> None:
    await home_with(home.path, limo())
    home.config.write_text('[review]\nhide_judge = false\ncodes = ["impatient", "off_task"]\n')
    async with reviewing(home, (160, 45), "j") as (pilot, _):
        app = pilot.app
        assert isinstance(app, ApolloApp)
        assert "turns back to the task" in text(pilot)
        await pilot.press("x", "r")
        assert "impatient, off_task" in text(pilot)
        await pilot.press(*"off_task it goes elsewhere", "enter")
        assert app.marks.last is not None
        assert app.marks.last.now == Mark("reject", "off_task", "it goes elsewhere")


# --- bad input ---------------------------------------------------------------------------------


def damage(home: Home, ref: str, data: bytes | None) -> None:
    with sqlite3.connect(home.database) as database:
        if data is None:
            database.execute("DELETE FROM texts WHERE hash = ?", (ref,))
        else:
            database.execute("UPDATE texts SET data = ? WHERE hash = ?", (data, ref))
    database.close()


async def test_a_missing_text_is_said_where_it_would_stand(home: Home) -> None:
    made = called("damaged")
    made.bash("ls", "one", thinking="First.")
    ref = made.keep(
        AssistantMessage.model_validate_json(made.sent[0]).model_dump_json()
    )  # the reply that is sent back with the next request
    made.bash("pwd", "two", thinking="Second.")
    await home_with(home.path, made, FilterSettings())
    damage(home, ref, None)
    async with reviewing(home) as (pilot, state):
        assert "damaged" in text(pilot)
        assert ref[:8] in text(pilot)
        assert "Second." in text(pilot)
        await pilot.press("x")
        assert state.read((1, 1))


async def test_a_configuration_that_is_not_understood_is_said(home: Home) -> None:
    await home_with(home.path, limo())
    with sqlite3.connect(home.database) as database:
        database.execute("UPDATE filter_runs SET configuration = '{\"rulez\": 1}'")
    database.close()
    app = still(home)
    async with app.run_test(size=(200, 45)) as pilot:
        await pilot.pause()
        await pilot.press("m")
        await until(pilot, lambda: "is not understood" in text(pilot))
        assert "rulez" in text(pilot)
        await pilot.press("x", "j", "o")
        assert "still being read" in footer(pilot) or "not understood" in text(pilot)
        await pilot.press("q")
        assert isinstance(app.screen, ConsoleScreen)


async def test_what_to_export_is_asked_and_checked(reviewable: Home) -> None:
    async with reviewing(reviewable, (160, 45), "E") as (pilot, _):
        line = pilot.app.screen.query_one(ExportLine)
        assert line.display
        entered = line.query_one(Input)
        assert entered.value == f"chat {reviewable.path}/exports/limo-filter"
        await until(pilot, lambda: "forms: chat, turns, tokens, preferences, atif" in text(pilot))
        entered.value = "chat"
        await pilot.press("enter")
        await pilot.pause()
        assert "▲ write a form and a folder" in text(pilot)
        assert line.display
        await pilot.press("x")
        assert entered.value == "chatx"
        assert not pending(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert not line.display
        assert isinstance(top(pilot), ReviewScreen)


def test_the_console_starts_without_the_filter() -> None:
    code = (
        "import sys; import apollo_tui.screens.app, apollo_tui.screens.console; "
        "import apollo_tui.screens.rollout, apollo_tui.screens.review; "
        "print(*sorted(name for name in sys.modules if name.startswith('apollo_tui.filter') "
        "or name in ('pydantic', 'tokenizers', 'apollo_tui.log.events')))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == []


# --- pictures ----------------------------------------------------------------------------------


async def midway(pilot: Pilot[Any]) -> None:
    """Two marked with reasons, the cursor on an action that the judge has seen."""
    await begin(pilot)
    await pilot.press("c", "j", "-", "k", "k")
    await until(pilot, lambda: top(pilot).state.key is not None)
    await pilot.pause(0.1)


async def in_the_text(pilot: Pilot[Any]) -> None:
    await begin(pilot)
    await pilot.press("j", "tab")
    await pilot.pause(0.2)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (160, 45)])
def test_review(reviewable: Home, snap_compare: Any, size: tuple[int, int]) -> None:
    assert snap_compare(still(reviewable), terminal_size=size, run_before=midway)


def test_review_text_of_a_narrow_terminal(reviewable: Home, snap_compare: Any) -> None:
    assert snap_compare(still(reviewable), terminal_size=(80, 24), run_before=in_the_text)


def test_review_by_day(reviewable: Home, snap_compare: Any) -> None:
    app = still(reviewable)
    app.theme = "apollo-day"
    assert snap_compare(app, terminal_size=(120, 40), run_before=midway)


def test_review_without_colour_in_ascii(reviewable: Home, snap_compare: Any) -> None:
    app = still(reviewable, glyphs=ASCII, colour=False)
    assert snap_compare(app, terminal_size=(120, 40), run_before=midway)
