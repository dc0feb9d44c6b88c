"""The logistic regression, the data, and how a model is judged. Nothing here needs to change."""

import csv
import json
import math

NAMES = ("vibration", "temperature", "current", "load", "speed", "noise", "wear", "age")
SITES = ("harbour", "mill", "mine")
INPUTS = len(NAMES) + len(SITES)


def load(path):
    """Rows of (site, inputs, label): the eight readings, then which site it is as 0 or 1."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            (
                row["site"],
                [float(row[name]) for name in NAMES] + [float(row["site"] == s) for s in SITES],
                int(row["failure"]),
            )
            for row in csv.DictReader(file)
        ]


def score(weights, inputs):
    """Above 0 the model says failure; the probability is 1 / (1 + exp(-score))."""
    return sum(weight * x for weight, x in zip(weights, inputs))


def judge(weights, rows):
    """For each site the geometric mean of the share of failures found and the share of healthy
    readings left in peace, and "mean", the mean of the three."""
    found = {}
    for site in SITES:
        right, total = [0, 0], [0, 0]
        for where, inputs, label in rows:
            if where == site:
                total[label] += 1
                right[label] += (score(weights, inputs) > 0) == bool(label)
        found[site] = math.sqrt(right[0] / total[0] * (right[1] / total[1]))
    found["mean"] = sum(found[site] for site in SITES) / len(SITES)
    return found


def save(weights, path="weights.json"):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"weights": weights}, file)
