"""Runs search.py on dev_queries.jsonl and prints what it scores: python3 check.py [--misses]"""

import json
import subprocess
import sys


def reciprocal_rank(ranking, page):
    return 1 / (ranking.index(page) + 1) if page in ranking else 0.0


if __name__ == "__main__":
    with open("dev_queries.jsonl", encoding="utf-8") as file:
        queries = [json.loads(line) for line in file]
    asked = "".join(json.dumps({"id": q["id"], "text": q["text"]}) + "\n" for q in queries)
    run = subprocess.run([sys.executable, "search.py"], input=asked, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit("search.py ended with %d" % run.returncode)
    found = {row["id"]: row["ranking"][:10] for row in map(json.loads, run.stdout.splitlines())}
    ranks = {q["id"]: reciprocal_rank(found.get(q["id"], []), q["page"]) for q in queries}
    if "--misses" in sys.argv:
        for q in queries:
            if ranks[q["id"]] < 1:
                print("%.2f  %-48s wants %s, got %s" % (ranks[q["id"]], q["text"], q["page"], found[q["id"]][:3]))
    first = sum(rank == 1 for rank in ranks.values()) / len(queries)
    print("dev  MRR@10 %.3f  first %.3f" % (sum(ranks.values()) / len(queries), first))
