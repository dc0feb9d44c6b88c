"""python -m benchmarks NAME [--small] [--json FILE]

Prints a table, then one line that says what is met and what is not. Exits 0 only when every goal that
was measured is met, 3 when one is not.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from benchmarks.report import Report

BENCHMARKS = {
    "filter": "goal 12: the filter and its exports, on a log of 100,000 actions",
    "mask-effect": "a tiny model does not learn what the mask covers (needs torch)",
}

NOT_MET = 3


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        epilog="\n".join(f"{name:<14}{what}" for name, what in BENCHMARKS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    given = parser.parse_args(arguments)
    module = importlib.import_module(f"benchmarks.{given.name.replace('-', '_')}")
    report: Report = module.measure(small=given.small)
    print(report.table())
    print(report.verdict())
    if given.json is not None:
        given.json.write_text(json.dumps(report.facts(given.name, given.small), indent=2) + "\n")
    return 0 if report.all_met else NOT_MET


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
