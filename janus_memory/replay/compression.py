"""Compressed time: what took a day in the market is replayed in minutes (E12, SPEC section 3).

A row that happened t - t0 after the origin is replayed (t - t0) / C after it, so every interval between two rows
shrinks by the same factor: dt_replay = dt / C. Hippocampal replay runs some 10 to 20 times faster than what it
repeats; `replay.compression` is 15. C below 1 is slow motion and is allowed here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import ConfigError, ReplayError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_compression", "compressed"]

_INT64_MAX = 2**63 - 1


def compressed(
    timestamps: NDArray[np.int64], compression: float, origin_ns: int | None = None
) -> NDArray[np.int64]:
    """When each row is replayed: t0 + (t - t0) / C, to the nearest nanosecond (E12).

    Later rows are never replayed before earlier ones and equal timestamps stay equal. Intervals are divided in
    float64: exact for rows within 104 days (2^53 ns) of the origin, beyond it within 2^-53 of the interval.

    Args:
        timestamps: int64 [n], UTC nanoseconds, in any order.
        compression: C, how many times faster than it happened; above 0 and finite.
        origin_ns: t0, the time that stays where it is; the earliest of `timestamps` if None.

    Returns:
        int64 [n], UTC nanoseconds, in the order given.

    Raises:
        ConfigError: C is not a positive finite number.
        ReplayError: a row lies so far from the origin that its time does not fit into 64 bits.
    """
    check_compression(compression)
    if not len(timestamps):
        return np.zeros(0, np.int64)
    first, last = int(timestamps.min()), int(timestamps.max())
    origin = first if origin_ns is None else origin_ns
    farthest = max(abs(first - origin), abs(last - origin))
    # In floats, where a tiny C gives inf: it is compared before anything can wrap around.
    if farthest > _INT64_MAX or abs(origin) + farthest / compression >= 2.0**63:
        raise ReplayError(
            f"timestamps {first} to {last} cannot be replayed from {origin} at C = {compression:g}: they do not fit "
            "into 64 bits of nanoseconds; nothing was replayed; choose an origin among the rows, or a larger C"
        )
    since = (timestamps - origin) / compression
    replayed: NDArray[np.int64] = origin + np.rint(since).astype(np.int64)
    return replayed


def check_compression(compression: float) -> None:
    """Refuse what time cannot be divided by.

    Raises:
        ConfigError: C is not a positive finite number.
    """
    if not (compression > 0 and math.isfinite(compression)):
        raise ConfigError(
            f"compression {compression!r} is not a positive number; nothing was replayed; C says how many times "
            "faster than it happened, for example 15"
        )
