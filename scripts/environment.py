"""The checkout's own environments, made with nothing but Python 3.11 and its venv module: .venv, and
others for what must not be in it.

Each is made once, and again when pyproject.toml or the Python changes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
NO_INDEX = "can pip reach a package index? pip config list shows which"


def prepare(name: str = ".venv", group: str = "dev") -> Path:
    """Make the environment `name` with the project and a dependency group when it is not there or out
    of date; returns its `bin` folder."""
    if sys.version_info < (3, 11):  # noqa: UP036 - it may be any Python that starts this
        sys.exit(f"apollo-tui needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    folder = CHECKOUT / name
    binaries, stamp = folder / "bin", folder / "made-from"
    wanted = _wanted()
    if stamp.exists() and stamp.read_text() == wanted:
        return binaries
    print(f"making {folder} (a minute or two, once)", flush=True)
    ours = ["--clear"] if stamp.exists() else []  # what somebody else made there is kept
    _run([sys.executable, "-m", "venv", *ours, str(folder)], "on Debian: apt install python3-venv")
    pip = [str(binaries / "python"), "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
    _run([*pip, "pip>=25.1"], NO_INDEX)  # the first that knows dependency groups
    wants = f"{CHECKOUT / 'pyproject.toml'}:{group}"
    _run([*pip, "--editable", str(CHECKOUT), "--group", wants], NO_INDEX)
    stamp.write_text(wanted)
    return binaries


def _wanted() -> str:
    project = (CHECKOUT / "pyproject.toml").read_bytes()
    return f"{hashlib.sha256(project).hexdigest()} {sys.version} {CHECKOUT}"


def _run(command: list[str], hint: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if subprocess.run(command, env=environment, check=False).returncode:
        sys.exit(f"could not run {' '.join(command)}; {hint}")
