"""The compiled steps of an exact refresh; `exact_arrays` is their definition in numpy.

Rows lie in blocks of 16 whose masses are added from left to right; the blocks' totals likewise. Every number
depends on its rows alone, not on how the blocks were divided over threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from janus_memory.replay.law.power import power

__all__ = ["locate", "refresh"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])

_1 = np.uint64(1)
_2 = np.uint64(2)
_16 = np.uint64(16)
_BELOW = 1.0 - 2.0**-53
# Rows whose masses are still in the nearest cache when their blocks are added.
_CHUNK = 2048


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return kernel


@_compiled
def refresh(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    td: F4,
    violation: F4,
    reward: F4,
    lambda_logic: float,
    lambda_reward: float,
    floor: float,
    alpha: float,
    masses: F8,
    totals: F8,
    start: int,
    stop: int,
) -> None:
    """Masses p^alpha (E7, E8) of rows start..stop-1 and the totals of their blocks; NaN for a row without one.

    Args:
        td: float32 [n].
        violation: float32 [n].
        reward: float32 [n].
        lambda_logic: weight of the violation.
        lambda_reward: weight of |reward|.
        floor: least priority.
        alpha: the exponent.
        masses: float64 [16 * blocks], 0 beyond row n.
        totals: float64 [blocks].
        start: first row, whole blocks.
        stop: row before which it ends, whole blocks or n.
    """
    for first in range(start, stop, _CHUNK):
        last = min(first + _CHUNK, stop)
        for i in range(np.uint64(first), np.uint64(last)):
            p = (
                abs(np.float64(td[i]))
                + lambda_logic * np.float64(violation[i])
                + lambda_reward * abs(np.float64(reward[i]))
            )
            # Not max(), which is no vector instruction.
            floored = floor if p < floor else p  # noqa: FURB136
            mass = power(floored, alpha) if floored > 0.0 else 0.0
            masses[i] = mass if abs(p) < np.inf else np.nan
        for block in range(np.uint64(first // 16), np.uint64((last + 15) // 16)):
            total = 0.0
            for c in range(_16):
                total += masses[_16 * block + c]
            totals[block] = total


@_compiled
def locate(uniforms: F8, masses: F8, totals: F8, drawn: NDArray[np.int32], probability: F8) -> float:
    """Inverse-CDF draws in the order of the rows; the sum of all masses; -1 for a uniform outside [0, 1), 0 for no mass.

    Args:
        uniforms: float64 [B].
        masses: float64 [16 * blocks].
        totals: float64 [blocks].
        drawn: int32 [B], the rows; written.
        probability: float64 [B], P of them; written.
    """
    n = np.uint64(totals.size)
    before = np.empty(totals.size)
    total = 0.0
    for block in range(n):
        before[block] = total
        total += totals[block]
    if total == 0.0:
        return 0.0
    place = np.zeros(drawn.size, np.uint64)
    target = np.empty(drawn.size)
    for i in range(drawn.size):
        if not 0.0 <= uniforms[i] < 1.0:
            return -1.0
        target[i] = uniforms[i] * total
    half = _1
    while half < n:
        half *= _2
    while half > _1:
        half //= _2
        for i in range(drawn.size):
            at = min(place[i] + half, n - _1)
            place[i] = at if before[at] <= target[i] else place[i]
    for i in range(drawn.size):
        block = place[i]
        t = min(target[i] - before[block], totals[block] * _BELOW)
        running = 0.0
        k = np.uint64(0)
        for c in range(_16):
            k = np.uint64(c) if running <= t else k
            running += masses[_16 * block + c]
        drawn[i] = _16 * block + k
        probability[i] = masses[_16 * block + k] / total
    return total
