"""Runs search.py as a program that may not look into the evaluation's folder nor start others.

python3 guarded.py SEARCH_PY

Not a wall against an attacker, but no search comes upon the answers by accident or by habit.
"""

import os
import runpy
import sys

FORBIDDEN = os.path.dirname(os.path.realpath(__file__))
STARTS_OTHERS = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "ctypes.")


def refuse(event, arguments):
    if event.startswith(STARTS_OTHERS):
        raise PermissionError("search.py may not start other programs: " + event)
    if event in ("open", "os.listdir", "os.scandir", "os.chdir"):
        path = arguments[0] if arguments else "."
        if isinstance(path, (str, bytes)):
            real = os.path.realpath(os.fsdecode(path))
            if real == FORBIDDEN or real.startswith(FORBIDDEN + os.sep):
                raise PermissionError("search.py may not read " + real)


if __name__ == "__main__":
    program = os.path.abspath(sys.argv[1])
    sys.argv = [program]
    sys.path[0] = os.path.dirname(program)
    sys.addaudithook(refuse)
    runpy.run_path(program, run_name="__main__")
