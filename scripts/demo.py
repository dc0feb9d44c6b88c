"""Run the demo from a checkout: python3 scripts/demo.py [--headless]"""

from __future__ import annotations

import os
import sys

from environment import prepare

program = str(prepare() / "apollo-tui")
os.execv(program, [program, "demo", *sys.argv[1:]])
