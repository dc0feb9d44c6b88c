"""Scores search.py: how high it ranks the wanted page for hidden queries.

python3 evaluate.py --workspace DIR     the last line is {"score": 0-100, "results": {...}}
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLOOR = 0.15  # the mean reciprocal rank that gives 0 points
CEILING = 1.0  # the one that gives 100
SECONDS = 60
PRINTED_AT_MOST = 1 << 20  # bytes


class Rejected(Exception):
    """A submission that gets no points, and why."""


def load(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def ask(workspace, queries):
    """What search.py prints when it is given the queries, without their answers, in any order."""
    if not (workspace / "search.py").is_file():
        raise Rejected("there is no search.py")
    asked = "".join(json.dumps({"id": q["id"], "text": q["text"]}) + "\n" for q in queries)
    command = [sys.executable, "-B", str(HERE / "guarded.py"), str(workspace / "search.py")]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryFile() as printed:
        try:
            run = subprocess.run(
                command,
                input=asked.encode(),
                stdout=printed,
                cwd=str(workspace),
                env=environment,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise Rejected("search.py took more than %d s" % SECONDS) from None
        if run.returncode:
            raise Rejected("search.py ended with exit code %d" % run.returncode)
        printed.seek(0)
        said = printed.read(PRINTED_AT_MOST + 1)
    if len(said) > PRINTED_AT_MOST:
        raise Rejected("search.py printed more than %d bytes" % PRINTED_AT_MOST)
    return said.decode("utf-8", "replace")


def read_rankings(said):
    """The ranking for each query: ten pages at most, none twice."""
    found = {}
    for number, line in enumerate(said.splitlines(), 1):
        try:
            row = json.loads(line)
            name, ranking = row["id"], row["ranking"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Rejected("line %d of search.py's output is not id and ranking" % number) from None
        pages = isinstance(ranking, list) and all(isinstance(page, str) for page in ranking)
        if not pages or not isinstance(name, str):
            raise Rejected("line %d of search.py's output has no list of page ids" % number)
        found[name] = list(dict.fromkeys(ranking))[:10]
    return found


def evaluate(workspace):
    queries = load(HERE / "queries.jsonl")
    random.Random(1).shuffle(queries)
    found = read_rankings(ask(workspace, queries))
    ranks = []
    for query in queries:
        ranking = found.get(query["id"], [])
        ranks.append(1 / (ranking.index(query["page"]) + 1) if query["page"] in ranking else 0.0)
    mean = sum(ranks) / len(ranks)
    results = {
        "mrr": round(mean, 4),
        "first": round(sum(rank == 1 for rank in ranks) / len(ranks), 4),
        "in_ten": round(sum(rank > 0 for rank in ranks) / len(ranks), 4),
    }
    return 100 * (mean - FLOOR) / (CEILING - FLOOR), results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path, required=True)
    workspace = parser.parse_args().workspace.resolve()
    try:
        score, results = evaluate(workspace)
    except Rejected as rejected:
        score, results = 0.0, {"reason": str(rejected)}
    print(json.dumps({"score": round(min(100.0, max(0.0, score)), 1), "results": results}))


if __name__ == "__main__":
    main()
