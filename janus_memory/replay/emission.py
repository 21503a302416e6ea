"""Replaying an episode into a stream: when each row is due (E12), and sending it then.

emissions = schedule(rows, compression=15)
await emit(emissions, producer, clock, on_sent=print)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from janus_memory.replay.compression import compressed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from janus_memory.transition import Transitions

__all__ = ["Clock", "Emission", "Sink", "emit", "schedule"]

_NS = 1_000_000_000


class Sink(Protocol):
    """Where rows go; `streams.producer.JanusProducer` in earnest."""

    async def send(self, rows: Transitions) -> None:
        """Queue rows."""

    async def flush(self) -> None:
        """Wait until all rows sent before are acknowledged."""


class Clock(Protocol):
    """Time as an argument: seconds that only grow, and waiting."""

    def now(self) -> float:
        """Seconds since an arbitrary moment."""

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait."""


@dataclass(frozen=True, slots=True)
class Emission:
    """Rows that are replayed at the same moment: at least one.

    Attributes:
        due_s: seconds after the first row of the episode.
        rows: as they are remembered.
        replayed: the same rows with compressed timestamps.
    """

    due_s: float
    rows: Transitions
    replayed: Transitions


def schedule(rows: Transitions, compression: float) -> list[Emission]:
    """Which rows are replayed when, in the order of time (E12).

    The first row is due at once and keeps its timestamp; rows of one timestamp are due together.

    Args:
        rows: n transitions in any order.
        compression: C, how many times faster than it happened.

    Raises:
        ConfigError: C is not a positive finite number.
        ReplayError: a compressed timestamp does not fit into 64 bits.
    """
    rows = rows.sorted()
    times = compressed(rows.timestamp, compression)
    replayed = dataclasses.replace(rows, timestamp=times)
    bounds = np.flatnonzero(np.diff(times)) + 1
    starts, stops = [0, *bounds.tolist()], [*bounds.tolist(), len(rows)]
    return [
        Emission(
            due_s=(int(times[start]) - int(times[0])) / _NS,
            rows=rows.take(slice(start, stop)),
            replayed=replayed.take(slice(start, stop)),
        )
        for start, stop in zip(starts, stops, strict=True)
        if stop > start
    ]


async def emit(
    emissions: Sequence[Emission], sink: Sink, clock: Clock, on_sent: Callable[[Emission], None]
) -> None:
    """Send each emission when it is due, the first one now; a late one goes at once, so that lateness does not add up.

    Args:
        emissions: in the order of time.
        sink: where to.
        clock: the time.
        on_sent: told of each emission once it is acknowledged; after a cancellation it has seen all that certainly
            arrived, in order.
    """
    start = clock.now()
    for emission in emissions:
        early_s = start + emission.due_s - clock.now()
        if early_s > 0:
            await clock.sleep(early_s)
        await sink.send(emission.replayed)
        await sink.flush()
        on_sent(emission)
