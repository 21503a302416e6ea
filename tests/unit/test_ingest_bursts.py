"""Buffered events of a real Faust stream, taken in bursts."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import faust
from faust.types import TP, ConsumerMessage

from streams.ingest.bursts import bursts

PLACE = TP("rows", 0)


def application() -> Any:
    """An application whose flow is on, and which is connected to nothing."""
    app = faust.App("test", broker="kafka://127.0.0.1:9", store="memory://", web_enabled=False)
    app.flow_control.resume()
    return app


def filled(app: Any, generations: list[int]) -> Any:
    """A stream whose buffer holds one event of each generation, at offsets from 0."""
    stream = app.stream(app.channel()).noack()
    for offset, generation in enumerate(generations):
        message = ConsumerMessage(
            *(PLACE.topic, PLACE.partition, offset, 0.0, 0, [], None, b"", None, 0, 0, PLACE),
            generation_id=generation,
        )
        stream.channel.queue.put_nowait(faust.Event(app, None, b"", {}, message))
    return stream


async def taken(app: Any, stream: Any, n: int) -> list[int]:
    """The offsets of the first `n` events."""
    found: list[int] = []
    async with asyncio.timeout(60.0), contextlib.aclosing(bursts(app, stream)) as events:
        async for event in events:
            found.append(event.message.offset)
            if len(found) == n:
                break
    return found


def test_buffered_events_come_in_order_without_a_turn_of_the_loop_for_each() -> None:
    """The loop turns between bursts only."""

    async def run() -> tuple[list[int], int]:
        app = application()
        stream = filled(app, [app.consumer_generation_id] * 100)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counter = asyncio.create_task(count())
        found = await taken(app, stream, 100)
        counter.cancel()
        return found, turns

    found, turns = asyncio.run(run())
    assert found == list(range(100))
    assert turns < 50


def test_an_event_of_an_older_generation_is_passed_over() -> None:
    """It is delivered again, or read from the log."""

    async def run() -> list[int]:
        app = application()
        now = app.consumer_generation_id
        return await taken(app, filled(app, [now, now - 1, now, now - 1, now]), 3)

    assert asyncio.run(run()) == [0, 2, 4]


def test_no_event_is_handed_out_while_a_rebalance_holds_the_flow() -> None:
    """Neither from the burst that runs nor from a new one."""

    async def run() -> tuple[int, bool]:
        app = application()
        stream = filled(app, [app.consumer_generation_id] * 10)
        async with contextlib.aclosing(bursts(app, stream)) as events:
            first = await anext(events)
            app.flow_control.suspend()
            more = asyncio.ensure_future(anext(events))
            for _ in range(100):
                await asyncio.sleep(0)
            handed_out = more.done()
            more.cancel()
            await asyncio.gather(more, return_exceptions=True)
        return first.message.offset, handed_out

    assert asyncio.run(run()) == (0, False)
