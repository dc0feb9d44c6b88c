from __future__ import annotations

import asyncio

import pytest

from apollo_tui.core.channel import Channel, Interrupted


async def answer(after: float = 0.0) -> str:
    await asyncio.sleep(after)
    return "done"


async def test_the_gate_holds_while_paused_and_opens_on_resume() -> None:
    channel = Channel()
    await channel.gate()
    channel.pause(now=False)
    waiting = asyncio.create_task(channel.gate())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    channel.resume()
    await asyncio.wait_for(waiting, 1)


async def test_a_pause_lets_a_model_call_end_and_pause_now_cuts_it() -> None:
    channel = Channel()
    channel.pause(now=False)
    assert await channel.model_call(answer(0.01)) == "done"
    channel.resume()
    call = asyncio.create_task(channel.model_call(answer(60)))
    await asyncio.sleep(0.01)
    channel.pause(now=True)
    with pytest.raises(Interrupted) as cut:
        await call
    assert cut.value.why == "pause"


async def test_a_stop_ends_every_wait() -> None:
    channel = Channel(paused=True)
    waits = [
        asyncio.create_task(wait)
        for wait in (
            channel.gate(),
            channel.model_call(answer(60)),
            channel.unless_stopped(answer(60)),
            channel.sleep(60),
        )
    ]
    await asyncio.sleep(0.01)
    channel.stop()
    for result in await asyncio.gather(*waits, return_exceptions=True):
        assert isinstance(result, Interrupted)
        assert result.why == "stop"


async def test_sleep_ends_early_when_poked_and_says_so() -> None:
    channel = Channel()
    assert await channel.sleep(0.01) is False
    sleeping = asyncio.create_task(channel.sleep(60))
    await asyncio.sleep(0.01)
    channel.poke()
    assert await asyncio.wait_for(sleeping, 1) is True


async def test_the_work_s_own_error_comes_through() -> None:
    async def broken() -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await Channel().model_call(broken())


async def test_cancelling_the_wait_cancels_the_work() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    call = asyncio.create_task(Channel().model_call(work()))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert cancelled.is_set()
