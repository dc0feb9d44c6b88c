"""The loss that train.py minimises. Design a better one."""

import math


def loss(score, label, site, counts):
    """The loss of one reading, and its slope with respect to the score.

    score   of the model, above 0 it says failure
    label   1 failure, 0 healthy
    site    harbour, mill or mine
    counts  {(site, label): how many training readings there are}
    """
    p = 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))
    value = -math.log(p if label else 1 - p)
    return value, p - label
