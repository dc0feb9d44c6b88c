"""The proof that real libraries read our exports: python3 scripts/proof.py

Its environment is .venv-proof, with torch, TRL, datasets, atif and inspect_ai, so that nobody needs
these for anything else. Nothing is asked of a network. With arguments, pytest gets them:
python3 scripts/proof.py tests/proof/test_trl.py -k tokens
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from environment import CHECKOUT, prepare

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
WARNINGS = ["-W", "ignore"]  # warnings of other people's libraries are not ours to fix


def main(arguments: list[str]) -> int:
    binaries = prepare(".venv-proof", "proof")
    with tempfile.TemporaryDirectory() as caches:
        environment = os.environ | OFFLINE | {"HF_HOME": caches, "XDG_DATA_HOME": caches}
        command = [str(binaries / "pytest"), *WARNINGS, *(arguments or ["tests/proof"])]
        return subprocess.run(command, cwd=CHECKOUT, env=environment, check=False).returncode


sys.exit(main(sys.argv[1:]))
