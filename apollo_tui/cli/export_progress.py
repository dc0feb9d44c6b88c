"""How an export goes, for whoever waits for it: a person, or a program; and how it is stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator

import click

TELL_EVERY = 0.1  # seconds, at most


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP leave like an error does: what was begun is removed first."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    numbers = [
        one
        for one in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(one) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    except SystemExit:
        click.echo("apollo-tui: stopped; nothing was written", err=True)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Terminal(contextlib.AbstractContextManager["Terminal"]):
    """Progress on one line of the terminal, if there is one."""

    def __init__(self) -> None:
        self._drawn = 0.0

    def will_take(self, size: int, free: int) -> None:
        click.echo(
            f"this takes about {size / 1e6:,.1f} MB; {free / 1e6:,.0f} MB are free", err=True
        )

    def progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._drawn >= TELL_EVERY:
            click.echo(f"\rexporting {done:,} of {total:,} replies\x1b[K", nl=False, err=True)
            self._drawn = now

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            click.echo("\r\x1b[K", nl=False, err=True)


class JsonLines(contextlib.AbstractContextManager["JsonLines"]):
    """Progress for a program: {"bytes", "free"} before a format that grows is written, {"done",
    "total"} while it is, in replies; the command ends with {"export": …}."""

    def __init__(self) -> None:
        self._told = 0.0

    def will_take(self, size: int, free: int) -> None:
        self._tell({"bytes": size, "free": free})

    def progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - self._told >= TELL_EVERY:
            self._tell({"done": done, "total": total})
            self._told = now

    def __exit__(self, *_: object) -> None:
        pass

    def _tell(self, facts: dict[str, int]) -> None:
        print(json.dumps(facts), flush=True)  # noqa: T201
