"""Hearing, without polling, that a process is gone: it was the last to hold a FIFO open."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class Hangup:
    """While open, sets `changed` when something is written to the FIFO or its last writer is gone.

    Writers that came and went before it was opened are not heard: look at the files after opening
    it. Raises FileNotFoundError when there is no such FIFO.
    """

    def __init__(self, fifo: Path, changed: asyncio.Event | None = None) -> None:
        self.changed = changed or asyncio.Event()
        self._fifo = fifo
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 4096)  # what was meant for whoever listened before
        asyncio.get_running_loop().add_reader(self._fd, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _hear(self) -> None:
        # A FIFO that has hung up stays readable for ever: hear it once.
        asyncio.get_running_loop().remove_reader(self._fd)
        self.changed.set()
