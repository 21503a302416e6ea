"""Publishing simulated sessions at a chosen speed: an open event, frames in market time, a close event."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Protocol

from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from janus_memory.simulate.sessions import Session
    from janus_memory.simulate.trading import Market

__all__ = ["FRAME_BARS", "Sink", "frames", "publish_session"]

FRAME_BARS = 6


class Sink(Protocol):
    """Where a trading system's output goes; `streams.producer.JanusProducer` in earnest."""

    async def open_market(self, session_id: str, at: int) -> None:
        """Announce that a session opened at market time `at`."""

    async def send(self, rows: Transitions) -> None:
        """Send rows, one frame for each episode among them."""

    async def close_market(self, session_id: str, at: int) -> None:
        """Announce the close at market time `at`, once all rows sent before are acknowledged."""


def frames(episodes: Sequence[Transitions], frame_bars: int) -> Iterator[tuple[int, Transitions]]:
    """Cut one day's episodes (equally long) into frames in market time.

    Yields:
        The bars passed and the rows due after them, episode by episode. A row's next action is there
        if the next row is too; for a frame's last row the memory fills it in.
    """
    n = len(episodes[0])
    for start in range(0, n, frame_bars):
        stop = min(start + frame_bars, n)
        yield stop - start, Transitions.concatenate([_frame(rows, start, stop) for rows in episodes])


async def publish_session(
    market: Market,
    session: Session,
    sink: Sink,
    *,
    bars_per_second: float | None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    frame_bars: int = FRAME_BARS,
    on_bars: Callable[[int], None] = lambda _: None,
) -> int:
    """Send one session's open event, rows and close event.

    Args:
        market: the simulated market.
        session: which of its sessions.
        sink: where to.
        bars_per_second: pace; None for as fast as the sink takes it.
        sleep: how to wait, given seconds.
        frame_bars: bars that one frame of one agent spans.
        on_bars: told how many bars have just been sent.

    Returns:
        The number of transitions sent.
    """
    sent = 0
    await sink.open_market(session.session_id, session.opens_at)
    for day in market.episodes(session):
        for n_bars, due in frames(day, frame_bars):
            if bars_per_second is not None:
                await sleep(n_bars / bars_per_second)
            await sink.send(due)
            sent += len(due)
            on_bars(n_bars)
    await sink.close_market(session.session_id, session.closes_at)
    return sent


def _frame(rows: Transitions, start: int, stop: int) -> Transitions:
    part = rows.take(slice(start, stop))
    next_action = part.next_action.copy()
    next_action[:-1] = part.action[1:]
    return dataclasses.replace(part, next_action=next_action)
