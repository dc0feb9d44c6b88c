"""A recorded home, and the console on it with the time standing still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apollo_tui.paths import Home
from apollo_tui.screens.app import ApolloApp
from apollo_tui.screens.glyphs import UNICODE, Glyphs
from tests.screens.recorded import NOW, record

Console = Callable[[], ApolloApp]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Four rollouts; read only."""
    folder: Path = tmp_path_factory.mktemp("recorded")
    return asyncio.run(record(folder / "home"))


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def console(recorded: Home) -> Console:
    return lambda: still(recorded)


def still(home: Home, *, glyphs: Glyphs = UNICODE, colour: bool = True) -> ApolloApp:
    """The console of a home, at NOW, with nothing answering what it asks for."""
    app = ApolloApp(
        home,
        "ana",
        connect=False,
        clock=lambda: NOW,
        disk=lambda: 212 * 10**9,
        glyphs=glyphs,
        colour=colour,
    )
    app.core, app.core_gone = "", False
    return app
