"""Two sides measured in turn, in one process, so that what disturbs the machine disturbs both."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["in_turn", "per_second"]


def in_turn(
    ours: Callable[[], object], peer: Callable[[], object] | None, *, repetitions: int, calls: int
) -> tuple[list[float], list[float]]:
    """Seconds a call of either side, one figure for each repetition of `calls` calls.

    Both are called before the clock starts, for compilation and caches: half a repetition, at least once. A peer
    that is None has no figures.
    """
    sides = [ours] if peer is None else [peer, ours]
    for side in sides:
        _seconds(side, max(1, calls // 2))
    turns = [[_seconds(side, calls) for side in sides] for _ in range(repetitions)]
    return [turn[-1] for turn in turns], [turn[0] for turn in turns if peer is not None]


def per_second(seconds: Sequence[float]) -> list[float]:
    """Calls a second."""
    return [1 / s for s in seconds]


def _seconds(side: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        side()
    return (time.perf_counter() - start) / calls
