"""How the screens look, as pictures: a change of them is seen in review."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from apollo_tui.client import Streamed
from apollo_tui.paths import Home
from apollo_tui.screens.app import ApolloApp
from apollo_tui.screens.glyphs import ASCII
from tests.screens.conftest import Console, still


async def streaming(pilot: Pilot[Any]) -> None:
    app = pilot.app
    assert isinstance(app, ApolloApp)
    await pilot.pause()
    app._hear(
        Streamed("r-limo-filter", 413, "thinking", "The loss plateaus near 0.41, so the remaining")
    )
    await pilot.pause(0.2)


async def opened(pilot: Pilot[Any]) -> None:
    await pilot.press("2", "enter")
    await pilot.pause(0.1)


async def advising(pilot: Pilot[Any]) -> None:
    await pilot.press("4", "enter", "a", *"Check the sign.")
    await pilot.pause(0.1)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_home(console: Console, snap_compare: Any, size: tuple[int, int]) -> None:
    assert snap_compare(console(), terminal_size=size, run_before=streaming)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_rollout(console: Console, snap_compare: Any, size: tuple[int, int]) -> None:
    assert snap_compare(console(), terminal_size=size, run_before=opened)


def test_advise(console: Console, snap_compare: Any) -> None:
    assert snap_compare(console(), terminal_size=(120, 40), run_before=advising)


def test_home_by_day(console: Console, snap_compare: Any) -> None:
    app = console()
    app.theme = "apollo-day"
    assert snap_compare(app, terminal_size=(120, 40), run_before=streaming)


def test_home_without_colour_in_ascii(recorded: Home, snap_compare: Any) -> None:
    app = still(recorded, glyphs=ASCII, colour=False)
    assert snap_compare(app, terminal_size=(120, 40), run_before=streaming)
