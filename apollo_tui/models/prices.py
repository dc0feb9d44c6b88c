"""What a model call costs. A model whose price nobody knows costs None, never 0."""

from __future__ import annotations

import re

from apollo_tui.config import ModelSettings, Price
from apollo_tui.log.types import Usage

KNOWN_AS_OF = "2026-03"
"""When the prices below were looked up; the configuration's `price` overrides them."""


def _claude(input_price: float, output: float) -> Price:
    """Anthropic reads its cache at a tenth of the input price and writes it at five quarters."""
    return Price(
        input=input_price,
        cached=input_price / 10,
        cache_written=input_price * 1.25,
        output=output,
    )


def _gpt(input_price: float, cached: float, output: float) -> Price:
    return Price(input=input_price, cached=cached, output=output)


_KNOWN: dict[str, dict[str, Price]] = {
    "anthropic": {
        "claude-opus-4-6": _claude(5, 25),
        "claude-opus-4-5": _claude(5, 25),
        "claude-opus-4-1": _claude(15, 75),
        "claude-opus-4": _claude(15, 75),
        "claude-sonnet-4-6": _claude(3, 15),
        "claude-sonnet-4-5": _claude(3, 15),
        "claude-sonnet-4": _claude(3, 15),
        "claude-haiku-4-5": _claude(1, 5),
        "claude-3-5-haiku": _claude(0.8, 4),
    },
    "openai": {
        "gpt-5.4": _gpt(2.5, 0.25, 15),
        "gpt-5.4-mini": _gpt(0.75, 0.075, 4.5),
        "gpt-5.2": _gpt(1.75, 0.175, 14),
        "gpt-5.1": _gpt(1.25, 0.125, 10),
        "gpt-5": _gpt(1.25, 0.125, 10),
        "gpt-5-mini": _gpt(0.25, 0.025, 2),
        "gpt-5-nano": _gpt(0.05, 0.005, 0.4),
        "gpt-4.1": _gpt(2, 0.5, 8),
        "gpt-4.1-mini": _gpt(0.4, 0.1, 1.6),
        "gpt-4.1-nano": _gpt(0.1, 0.025, 0.4),
        "gpt-4o": _gpt(2.5, 1.25, 10),
        "gpt-4o-mini": _gpt(0.15, 0.075, 0.6),
        "o3": _gpt(2, 0.5, 8),
        "o4-mini": _gpt(1.1, 0.275, 4.4),
    },
}


def price_of(settings: ModelSettings) -> Price | None:
    """The configured price; else a well-known model's at its official address; else None."""
    if settings.price is not None:
        return settings.price
    if settings.base_url is not None:
        return None
    name = re.sub(r"(-\d{4}-?\d{2}-?\d{2}|-latest|-0)$", "", settings.model)
    return _KNOWN[settings.api].get(name)


def token_cost(price: Price | None, usage: Usage) -> float | None:
    """Dollars for the tokens of a call; None when the price is unknown or not by tokens."""
    if price is None or price.input is None or price.output is None:
        return None
    cached = price.input if price.cached is None else price.cached
    written = price.input if price.cache_written is None else price.cache_written
    plain = max(0, usage.input - usage.cached - usage.cache_written)
    dollars = (
        plain * price.input
        + usage.cached * cached
        + usage.cache_written * written
        + usage.output * price.output
    )
    return dollars / 1_000_000
