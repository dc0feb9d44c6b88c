"""Calling the program as a person does: a process of its own, with what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ran:
    """What a call printed; the seconds it took; its peak memory in MiB."""

    said: str
    seconds: float
    peak_mb: float


def apollo(home: Path, *arguments: str) -> Ran:
    """Run `apollo-tui` on a home. Raises RuntimeError with its complaint."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as complaint:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "apollo_tui", "--home", str(home), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=complaint,
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        complaint.seek(0)
        if process.returncode:
            said = complaint.read().decode().strip()
            raise RuntimeError(f"apollo-tui {' '.join(arguments)}: {said}")
        return Ran(out.read().decode(), seconds, used.ru_maxrss / 1024)
