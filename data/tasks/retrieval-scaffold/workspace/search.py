"""Finds pages of the handbook. Reads one query a line as JSON, {"id": ..., "text": ...}, and prints for
each one line {"id": ..., "ranking": [ids of pages, the best first, at most 10]}.
"""

import json
import sys


def load(path="corpus.jsonl"):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def rank(text, pages):
    """Pages that contain the query as it stands."""
    return [page["id"] for page in pages if text in (page["title"] + " " + page["text"]).lower()]


if __name__ == "__main__":
    pages = load()
    for line in sys.stdin:
        query = json.loads(line)
        print(json.dumps({"id": query["id"], "ranking": rank(query["text"], pages)[:10]}))
