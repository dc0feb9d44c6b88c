"""How long to wait before a model is asked again."""

from __future__ import annotations

import random

from apollo_tui.errors import KeyMissing, ModelError, ModelUnavailable


def backoff(error: ModelError, failures: int) -> float:
    """Seconds until the next try after so many failures before this one: what the API asked for,
    else doubling with jitter."""
    if isinstance(error, ModelUnavailable) and error.retry_after is not None:
        return error.retry_after + random.uniform(0, 1)
    longest = 30.0 if isinstance(error, KeyMissing) else 60.0
    return min(longest, 2.0 ** min(failures, 6)) * random.uniform(0.5, 1.0)
