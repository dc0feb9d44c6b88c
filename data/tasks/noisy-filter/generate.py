"""Makes this task's data, the same on every machine: python3 generate.py

Help-desk messages of a computing centre, in four classes. The training labels come from six sources
of very different worth; the trusted and the test labels are true.
"""

import hashlib
import json
import random
from pathlib import Path

HERE = Path(__file__).resolve().parent
LABELS = ("accounts", "jobs", "network", "storage")
THINGS = {
    "accounts": "password|token|group membership|login|certificate|badge|licence seat|ssh key"
    "|role|invitation|user name|second factor|guest account|signature|profile|permission",
    "jobs": "queue|array job|scheduler|batch script|reservation|priority|walltime|core count"
    "|job dependency|GPU node|checkpoint|partition|preemption|submission|worker|time slice",
    "network": "switch port|cable|uplink|DNS name|VPN tunnel|firewall rule|proxy|gateway"
    "|packet rate|link|address|router|wireless cell|latency|bandwidth|certificate of the proxy",
    "storage": "scratch folder|quota|snapshot|disk|archive|backup|tape|inode count|mount point"
    "|parity set|volume|file share|bucket|cache drive|deleted folder|group directory",
}
TROUBLES = {
    "accounts": "has expired|is refused|was locked|cannot be renewed|shows the wrong name"
    "|was never approved|is not accepted|needs a new owner",
    "jobs": "has been pending since Monday|was killed at night|hangs at the start|waits for ever"
    "|was requeued twice|does not start|stops at half time|is lower than promised",
    "network": "drops every hour|times out|flaps|cannot be reached|resolves wrongly"
    "|is slower than before|loses packets|does not answer",
    "storage": "is full|vanished|became read-only|restores slowly|cannot be written"
    "|fills up too fast|shows old contents|is not mounted",
}
SHARED = (
    "is broken again|gives an error|does not work|is strange today|needs your help"
    "|stopped working|is not what I ordered"
)
OPENINGS = (
    "Hello, |Hi all, |Good morning: |Since the update |Again, |Please help: |Urgent: |Question: "
    "|For our project |In the lab |As of today |||"
)
ENDINGS = (
    "Thanks.|Can you look?|It is urgent.|No hurry.|The deadline is Friday.|I tried twice."
    "|My colleague sees it too.|It worked last week.|Room 214.|See the screenshot.||"
)
# What share of a source's labels is right, and what its wrong labels are.
SOURCES = {
    "anna": (0.96, "random"),
    "bert": (0.90, "random"),
    "crowd": (0.62, "random"),
    "dora": (0.12, "next"),
    "intern": (0.40, "jobs"),
    "script": (0.25, "storage"),
}
SHARES = (("anna", 18), ("bert", 17), ("crowd", 25), ("dora", 14), ("intern", 14), ("script", 12))


def pick(rng, texts):
    return rng.choice(texts.split("|"))


def message(rng, label):
    thing, trouble = pick(rng, THINGS[label]), pick(rng, TROUBLES[label])
    if rng.random() < 0.4:
        trouble = pick(rng, SHARED)
    if rng.random() < 0.10:
        thing = pick(rng, "thing|system|machine|service|tool")
    text = pick(rng, OPENINGS) + "the " + thing + " " + trouble
    if rng.random() < 0.45:
        other = rng.choice([name for name in LABELS if name != label])
        text += pick(rng, ", although the | and not the |, while the ") + pick(rng, THINGS[other])
        text += pick(rng, " is fine| works| is new| was checked")
    text = text + ". " + pick(rng, ENDINGS)
    return (text[0].upper() + text[1:]).strip()


def given_label(rng, label, source):
    right, wrong = SOURCES[source]
    if rng.random() < right:
        return label
    if wrong == "random":
        return rng.choice([name for name in LABELS if name != label])
    return LABELS[(LABELS.index(label) + 1) % 4] if wrong == "next" else wrong


def rows(rng, count):
    for number in range(count):
        label = LABELS[number % 4]
        yield message(rng, label), label


def write(path, values):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def main():
    rng = random.Random(20260401)
    sources = [name for name, share in SHARES for _ in range(share)]
    train = []
    for text, label in rows(rng, 1400):
        source = rng.choice(sources)
        train.append({"text": text, "label": given_label(rng, label, source), "source": source})
    rng.shuffle(train)
    train = [{"id": f"m{number:04}", **row} for number, row in enumerate(train, 1)]
    write(HERE / "workspace/data/train.jsonl", train)
    given = (HERE / "workspace/data/train.jsonl").read_bytes()
    digest = hashlib.sha256(given).hexdigest()
    (HERE / "evaluation/train.sha256").write_text(digest + "\n", encoding="utf-8")
    trusted = [{"text": text, "label": label} for text, label in rows(rng, 80)]
    write(HERE / "workspace/data/trusted.jsonl", trusted)
    test = [{"text": text, "label": label} for text, label in rows(rng, 600)]
    write(HERE / "evaluation/test.jsonl", test)


if __name__ == "__main__":
    main()
