"""What every command has: the home, who is asking, and the ways to read and to ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from apollo_tui.errors import ApolloError, HomeError, UsageError
from apollo_tui.paths import Home, find_home

if TYPE_CHECKING:
    from apollo_tui.client import Client
    from apollo_tui.log.read import History, RolloutRow

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Context:
    home: Home
    annotator: str | None

    @contextlib.contextmanager
    def history(self) -> Iterator[History]:
        from apollo_tui.log.read import History

        if self.home.path.exists() and not self.home.path.is_dir():
            raise HomeError(f"the home {self.home.path} is no folder; choose another with --home")
        history = History(self.home.database)
        try:
            yield history
        finally:
            history.close()

    def say_when_no_core_runs(self, rows: Iterable[RolloutRow]) -> None:
        """Rollouts that had not ended stand still until a core takes them up again."""
        from apollo_tui.client import core_pid
        from apollo_tui.log.states import FINAL_STATES

        if core_pid(self.home) is None and any(row.state not in FINAL_STATES for row in rows):
            said = "no core runs, so they stand still; they go on with: apollo-tui core start"
            click.echo(said, err=True)

    def find(self, given: str) -> RolloutRow:
        """A rollout by name, unique prefix or id."""
        with self.history() as history:
            return history.find(given)

    def ask(self, question: Callable[[Client], Awaitable[T]], *, start: bool = True) -> T:
        """Talk to the core; starts one when none runs, unless told not to."""

        async def talk() -> T:
            from apollo_tui.client import Client

            async with await Client.connect(
                self.home, start=start, annotator=self.annotator
            ) as client:
                return await question(client)

        return asyncio.run(talk())

    def need_terminal(self, instead: str) -> None:
        """Raises UsageError where the console cannot be drawn; `instead` is what one could do."""
        if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
            raise UsageError(f"the console needs a terminal; {instead}")

    def open_console(self) -> int:
        self.need_terminal("apollo-tui --help shows what does not")
        self.home.prepare()
        from apollo_tui.screens.app import run_console

        return run_console(self.home, self.annotator)


pass_context = click.make_pass_decorator(Context)


def rollout_argument(*, required: bool = True) -> Callable[[F], F]:
    """ROLLOUT: a name, a unique prefix of it, or an id; the shell completes names."""
    return click.argument("rollout", required=required, shell_complete=_complete_name)


def _complete_name(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    home = find_home(context.find_root().params.get("home"))
    try:
        with Context(home, None).history() as history:
            return [row.name for row in history.rollouts() if row.name.startswith(begun)]
    except ApolloError:  # whoever presses tab wants names, or nothing
        return []


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=None))


def iso(at: int | None) -> str | None:
    """A time of the log (UTC µs) as ISO 8601."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="milliseconds")


def local(at: int | None) -> str:
    """A time of the log as a person at this machine reads it."""
    if at is None:
        return ""
    return datetime.fromtimestamp(at / 1e6, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(rows: list[list[str]], *, right: frozenset[int] = frozenset()) -> None:
    """Print rows as columns, the first one as their heads; columns in `right` are right-aligned."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 else line)
