"""Every check there is, from a checkout: python3 scripts/test.py

With arguments, only pytest runs, with them: python3 scripts/test.py tests/log -k marks
"""

from __future__ import annotations

import subprocess
import sys
import time

from environment import CHECKOUT, prepare

CHECKS = (
    ("lint", ["ruff", "check", "."]),
    ("format", ["ruff", "format", "--check", "."]),
    ("types", ["mypy"]),
    ("import contracts", ["lint-imports"]),
    ("tests", ["pytest"]),
)


def main(arguments: list[str]) -> int:
    binaries = prepare()
    checks = (("tests", ["pytest", *arguments]),) if arguments else CHECKS
    failed = []
    for name, command in checks:
        print(f"\n--- {name}", flush=True)
        began = time.monotonic()
        done = subprocess.run([binaries / command[0], *command[1:]], cwd=CHECKOUT, check=False)
        print(f"--- {name}: {time.monotonic() - began:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


sys.exit(main(sys.argv[1:]))
