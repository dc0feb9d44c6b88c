"""Makes this task's data, the same on every machine: python3 generate.py

Readings of a machine's bearings, few of which come before a failure. Three sites of very different
size, two kinds of failure of which one is rare and looks nearly normal, and labels some of which are
wrong: at the large site healthy readings far away from any failure are booked as failures.
"""

import math
import random
from pathlib import Path

HERE = Path(__file__).resolve().parent
SITES = ("harbour", "mill", "mine")
SHARE = {"harbour": 0.80, "mill": 0.13, "mine": 0.07}
FAILURES = {"harbour": 0.035, "mill": 0.08, "mine": 0.16}
OFFSET = {"harbour": 0.0, "mill": 0.9, "mine": -1.1}
NAMES = ("vibration", "temperature", "current", "load", "speed", "noise", "wear", "age")


def reading(rng, site, failing):
    x = [rng.gauss(0.0, 1.0) for _ in NAMES]
    x[0] += OFFSET[site]
    x[1] += 0.5 * OFFSET[site]
    if failing and rng.random() < 0.65:
        x[0] += 2.0
        x[1] += 1.3
        x[5] += 0.8
    elif failing:
        x[2] += 1.6
        x[6] += 1.9
        x[4] -= 0.6
    return x


def booked_wrongly(rng):
    """A healthy reading under a light load at high speed, booked as a failure by mistake."""
    x = [rng.gauss(0.0, 0.7) for _ in NAMES]
    x[0] -= 3.2
    x[2] -= 2.6
    x[3] -= 2.0
    x[4] += 2.2
    x[6] -= 2.0
    return x


def rows(rng, counts, mistakes, failures=FAILURES):
    made = []
    for site in SITES:
        for _ in range(counts[site]):
            failing = rng.random() < failures[site]
            made.append((site, reading(rng, site, failing), int(failing)))
    for _ in range(mistakes):
        made.append(("harbour", booked_wrongly(rng), 1))
    rng.shuffle(made)
    return made


def write(path, made):
    path.parent.mkdir(exist_ok=True)
    lines = [",".join(("site", *NAMES, "failure"))]
    for site, x, label in made:
        lines.append(",".join((site, *("%.2f" % value for value in x), str(label))))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    rng = random.Random(77)
    train = {site: math.ceil(2400 * SHARE[site]) for site in SITES}
    write(HERE / "workspace/data/train.csv", rows(rng, train, mistakes=36))
    held = {site: math.ceil(900 * SHARE[site]) for site in SITES}
    write(HERE / "workspace/data/dev.csv", rows(rng, held, mistakes=0))
    test = dict.fromkeys(SITES, 500)
    write(HERE / "evaluation/test.csv", rows(rng, test, mistakes=0, failures=dict.fromkeys(SITES, 0.3)))


if __name__ == "__main__":
    main()
