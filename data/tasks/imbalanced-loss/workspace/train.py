"""Minimises the mean of loss.py over data/train.csv and writes weights.json.

python3 train.py [--epochs 150]
"""

import argparse
import collections

import loss
import model

RATE = 0.2


def descend(rows, epochs):
    """Full-batch gradient descent with momentum, from zero."""
    counts = collections.Counter((site, label) for site, _, label in rows)
    weights = [0.0] * model.INPUTS
    speed = [0.0] * model.INPUTS
    for epoch in range(1, epochs + 1):
        total = 0.0
        gradient = [0.0] * model.INPUTS
        for site, inputs, label in rows:
            value, slope = loss.loss(model.score(weights, inputs), label, site, counts)
            total += value
            if slope:
                for i, x in enumerate(inputs):
                    gradient[i] += slope * x
        for i in range(model.INPUTS):
            speed[i] = 0.8 * speed[i] - RATE * gradient[i] / len(rows)
            weights[i] += speed[i]
        if epoch % 25 == 0 or epoch == epochs:
            print("epoch %4d  loss %.4f" % (epoch, total / len(rows)), flush=True)
    return weights


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=150)
    weights = descend(model.load("data/train.csv"), parser.parse_args().epochs)
    model.save(weights)
    judged = model.judge(weights, model.load("data/dev.csv"))
    print("dev  " + "  ".join("%s %.3f" % item for item in judged.items()))
