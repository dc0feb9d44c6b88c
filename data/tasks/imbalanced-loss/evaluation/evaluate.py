"""Scores weights.json: how well the model tells failures from healthy readings at each site.

python3 evaluate.py --workspace DIR     the last line is {"score": 0-100, "results": {...}}
"""

import argparse
import json
import math
from pathlib import Path

import model

HERE = Path(__file__).resolve().parent
FLOOR = 0.50  # the mean over the sites that gives 0 points
CEILING = 0.83  # a little more than training on perfect labels reaches: 100 points


class Rejected(Exception):
    """A submission that gets no points, and why."""


def read_weights(path):
    if not path.is_file():
        raise Rejected("there is no weights.json")
    if path.stat().st_size > 100000:
        raise Rejected("weights.json is larger than 100 kB")
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise Rejected("weights.json is not JSON") from None
    values = given.get("weights") if isinstance(given, dict) else None
    if not isinstance(values, list) or len(values) != model.INPUTS:
        raise Rejected('weights.json is not {"weights": [%d numbers]}' % model.INPUTS)
    try:
        weights = [float(value) for value in values if not isinstance(value, (bool, str))]
    except (TypeError, OverflowError):
        raise Rejected("weights.json has a weight that is no number") from None
    if len(weights) != model.INPUTS or not all(math.isfinite(weight) for weight in weights):
        raise Rejected("weights.json has a weight that is no finite number")
    return weights


def evaluate(workspace):
    weights = read_weights(workspace / "weights.json")
    judged = model.judge(weights, model.load(str(HERE / "test.csv")))
    score = 100 * (judged["mean"] - FLOOR) / (CEILING - FLOOR)
    return score, {name: round(value, 4) for name, value in judged.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path, required=True)
    workspace = parser.parse_args().workspace
    try:
        score, results = evaluate(workspace)
    except Rejected as rejected:
        score, results = 0.0, {"reason": str(rejected)}
    print(json.dumps({"score": round(min(100.0, max(0.0, score)), 1), "results": results}))


if __name__ == "__main__":
    main()
