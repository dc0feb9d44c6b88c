"""Scores kept.txt: trains the classifier on the kept messages, tests it on hidden ones.

python3 evaluate.py --workspace DIR     the last line is {"score": 0-100, "results": {...}}
"""

import argparse
import hashlib
import json
from pathlib import Path

import classifier

HERE = Path(__file__).resolve().parent
KEEPING_ALL = 0.54  # a little less than what keeping everything reaches: 0 points
PERFECT = 0.86  # the accuracy of keeping exactly what is labelled rightly: 100 points
FEWEST = 40


class Rejected(Exception):
    """A submission that gets no points, and why."""


def kept_rows(workspace):
    data = workspace / "data" / "train.jsonl"
    expected = (HERE / "train.sha256").read_text(encoding="utf-8").strip()
    if not data.is_file() or hashlib.sha256(data.read_bytes()).hexdigest() != expected:
        raise Rejected("data/train.jsonl is not as it was given")
    rows = {row["id"]: row for row in classifier.load(str(data))}
    kept = workspace / "kept.txt"
    if not kept.is_file():
        raise Rejected("there is no kept.txt")
    if kept.stat().st_size > 1000000:
        raise Rejected("kept.txt is larger than 1 MB")
    try:
        named = kept.read_text(encoding="utf-8").split()
    except UnicodeDecodeError:
        raise Rejected("kept.txt is not UTF-8 text") from None
    strangers = [name for name in named if name not in rows]
    if strangers:
        raise Rejected("kept.txt names what is not in train.jsonl: %.40r" % strangers[0])
    wanted = set(named)
    if len(wanted) < FEWEST:
        raise Rejected("kept.txt keeps %d messages; at least %d are needed" % (len(wanted), FEWEST))
    return [row for name, row in rows.items() if name in wanted]


def evaluate(workspace):
    rows = kept_rows(workspace)
    test = classifier.load(str(HERE / "test.jsonl"))
    accuracy = classifier.accuracy(classifier.train(rows), test)
    score = 100 * (accuracy - KEEPING_ALL) / (PERFECT - KEEPING_ALL)
    return score, {"test_accuracy": round(accuracy, 4), "kept": len(rows)}


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
