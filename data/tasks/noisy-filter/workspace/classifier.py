"""The classifier that is trained on what you keep. The evaluation has its own copy: changing this
one changes nothing there.

    python3 classifier.py            trains on kept.txt, tests on data/trusted.jsonl
"""

import json
import math
import random
import re

LABELS = ("accounts", "jobs", "network", "storage")
EPOCHS = 8
RATE = 0.5


def words(text):
    """The words of a message and its pairs of neighbours, each once."""
    found = re.findall(r"[a-z]+", text.lower())
    return sorted(set(found) | {a + " " + b for a, b in zip(found, found[1:])})


def probabilities(weights, features):
    scores = [sum(weights[label].get(word, 0.0) for word in features) for label in LABELS]
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def train(rows, epochs=EPOCHS):
    """Softmax regression by stochastic gradient descent; rows have a text and a label."""
    weights = {label: {} for label in LABELS}
    examples = [(words(row["text"]), row["label"]) for row in rows]
    order = random.Random(0)
    for _ in range(epochs):
        order.shuffle(examples)
        for features, truth in examples:
            rate = RATE / math.sqrt(len(features))
            for label, p in zip(LABELS, probabilities(weights, features)):
                step = rate * ((label == truth) - p)
                known = weights[label]
                for word in features:
                    known[word] = known.get(word, 0.0) + step
    return weights


def predict(weights, text):
    """(the label, its probability)"""
    found = probabilities(weights, words(text))
    best = max(range(len(LABELS)), key=lambda index: found[index])
    return LABELS[best], found[best]


def accuracy(weights, rows):
    return sum(predict(weights, row["text"])[0] == row["label"] for row in rows) / len(rows)


def load(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    with open("kept.txt", encoding="utf-8") as file:
        kept = set(file.read().split())
    chosen = [row for row in load("data/train.jsonl") if row["id"] in kept]
    model = train(chosen)
    print("kept %d, accuracy on trusted.jsonl %.3f" % (len(chosen), accuracy(model, load("data/trusted.jsonl"))))
