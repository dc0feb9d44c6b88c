from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apollo_tui.config import ModelSettings, Price
from apollo_tui.log.types import Usage
from apollo_tui.models.prices import price_of, token_cost
from apollo_tui.models.share import Share, share_of


def of(model: str, **fields: Any) -> Price | None:
    return price_of(ModelSettings(**({"api": "anthropic", "model": model} | fields)))


def test_dated_names_cost_what_the_model_costs() -> None:
    assert of("claude-sonnet-4-5-20250929") == of("claude-sonnet-4-5") is not None
    assert of("claude-opus-4-5") != of("claude-opus-4-20250514") == of("claude-opus-4-0")
    assert of("gpt-4o-2024-11-20", api="openai") == of("gpt-4o", api="openai") is not None
    assert of("gpt-5-mini", api="openai") != of("gpt-5", api="openai")


def test_an_unknown_model_and_a_server_of_ones_own_have_no_price() -> None:
    assert of("claude-of-tomorrow") is None
    assert of("gpt-4o", api="openai", base_url="http://127.0.0.1:8000/v1") is None
    assert token_cost(None, Usage(input=10, output=10)) is None


def test_the_configured_price_wins() -> None:
    price = Price(input=1, output=2)
    assert of("claude-sonnet-4-5", price=price) == price


def test_cost_of_cached_and_written_tokens() -> None:
    usage = Usage(input=1000, cached=600, cache_written=300, output=50)
    whole = Price(input=10, cached=1, cache_written=12, output=40)
    assert token_cost(whole, usage) == pytest.approx((100 * 10 + 600 + 300 * 12 + 50 * 40) / 1e6)
    plain = Price(input=10, output=40)
    assert token_cost(plain, usage) == pytest.approx((1000 * 10 + 50 * 40) / 1e6)
    assert token_cost(Price(per_hour=2), usage) is None


async def test_calls_at_the_same_time_split_the_hourly_price() -> None:
    now = 0.0
    share = Share(per_hour=3600.0, clock=lambda: now)  # a dollar a second
    now = 50.0  # nobody calls, nobody pays
    async with share.call() as alone:
        now = 60.0
        async with share.call() as beside:
            now = 80.0
            assert beside.dollars() == 10
        now = 85.0
        assert alone.dollars() == 10 + 10 + 5


async def test_no_hourly_price_no_rent() -> None:
    async with Share().call() as call:
        assert call.dollars() is None


async def test_all_rollouts_share_the_slots_of_a_model() -> None:
    settings = ModelSettings(api="openai", model="m", concurrency=2)
    share = share_of("glm", settings)
    assert share_of("glm", settings) is share
    assert share_of("other", settings) is not share
    running = most = 0

    async def call() -> None:
        nonlocal running, most
        async with share.call():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

    await asyncio.gather(*(call() for _ in range(6)))
    assert most == 2
