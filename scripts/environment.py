"""The checkout's own environment: .venv, made with nothing but Python 3.11 and its venv module.

It is made once, and again when pyproject.toml or the Python changes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDER = CHECKOUT / ".venv"
STAMP = FOLDER / "made-from"
NO_INDEX = "can pip reach a package index? pip config list shows which"


def prepare() -> Path:
    """Make the environment when it is not there or out of date; returns its `bin` folder."""
    if sys.version_info < (3, 11):  # noqa: UP036 - it may be any Python that starts this
        sys.exit(f"apollo-tui needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    binaries = FOLDER / "bin"
    wanted = _wanted()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return binaries
    print(f"making {FOLDER} (a minute or two, once)", flush=True)
    ours = ["--clear"] if STAMP.exists() else []  # what somebody else made there is kept
    _run([sys.executable, "-m", "venv", *ours, str(FOLDER)], "on Debian: apt install python3-venv")
    pip = [str(binaries / "python"), "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
    _run([*pip, "pip>=25.1"], NO_INDEX)  # the first that knows dependency groups
    group = f"{CHECKOUT / 'pyproject.toml'}:dev"
    _run([*pip, "--editable", str(CHECKOUT), "--group", group], NO_INDEX)
    STAMP.write_text(wanted)
    return binaries


def _wanted() -> str:
    project = (CHECKOUT / "pyproject.toml").read_bytes()
    return f"{hashlib.sha256(project).hexdigest()} {sys.version} {CHECKOUT}"


def _run(command: list[str], hint: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if subprocess.run(command, env=environment, check=False).returncode:
        sys.exit(f"could not run {' '.join(command)}; {hint}")
