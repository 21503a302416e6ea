"""The compiled steps of an exact refresh; `exact_arrays` is their definition in numpy.

Rows lie in blocks of 8 whose masses are added from left to right; the blocks' totals likewise. Of many rows only
the totals are kept: what a draw needs of its block is computed again, which for a million rows is less work than to
write all masses to memory. Every number depends on its rows alone, not on how the chunks of rows were divided over threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from janus_memory.replay.law.power import power

__all__ = ["BLOCK", "CHUNK", "locate", "refresh"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])

BLOCK = 8
# Rows whose masses are still in the nearest cache when their blocks are added.
CHUNK = 2048

_1 = np.uint64(1)
_2 = np.uint64(2)
_8 = np.uint64(BLOCK)
_BELOW = 1.0 - 2.0**-53


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    # A product and a sum in one rounding: a third faster, and here no other code has to have the same bits.
    kernel: _Function = njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")(function)
    return kernel


@_compiled
def _priorities(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    td: F4, violation: F4, reward: F4, lambda_logic: float, lambda_reward: float, floor: float, out: F8
) -> None:
    """Priorities of n rows (E7), their floor included; NaN where a number is none; out float64 [at least n]."""
    for i in range(td.size):
        p = (
            abs(np.float64(td[i]))
            + lambda_logic * np.float64(violation[i])
            + lambda_reward * abs(np.float64(reward[i]))
        )
        # Not max(), which is no vector instruction.
        floored = floor if p < floor else p  # noqa: FURB136
        out[i] = floored if abs(p) < np.inf else np.nan


@_compiled
def _powers(p: F8, alpha: float) -> None:
    """Raise p to alpha in place (E8); 0 and NaN stay. A loop of its own: both fit more vectors."""
    for i in range(p.size):
        p[i] = power(p[i], alpha) if p[i] > 0.0 else p[i]


@_compiled
def refresh(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    td: F4,
    violation: F4,
    reward: F4,
    lambda_logic: float,
    lambda_reward: float,
    floor: float,
    alpha: float,
    totals: F8,
    kept: F8,
    moments: F8,
    start: int,
    stop: int,
) -> None:
    """Sums over the masses p^alpha (E7, E8) of rows start..stop-1; NaN where a row has none.

    Args:
        td: float32 [n].
        violation: float32 [n].
        reward: float32 [n].
        lambda_logic: weight of the violation.
        lambda_reward: weight of |reward|.
        floor: least priority.
        alpha: the exponent.
        totals: float64 [blocks], of the masses.
        kept: float64 [chunks * CHUNK], the masses, 0 beyond row n; or [0], and they are not kept.
        moments: float64 [chunks, 2], the sum of the squares and the least of the positive masses.
        start: first row, whole chunks.
        stop: row before which it ends, whole chunks or n.
    """
    scratch = np.empty(CHUNK)
    for first in range(start, stop, CHUNK):
        n = min(CHUNK, stop - first)
        masses = kept[first : first + CHUNK] if kept.size else scratch
        masses[n:] = 0.0
        last = first + n
        columns = td[first:last], violation[first:last], reward[first:last]
        _priorities(*columns, lambda_logic, lambda_reward, floor, masses)
        _powers(masses[:n], alpha)
        squares = 0.0
        least = np.inf
        for block in range(np.uint64((n + BLOCK - 1) // BLOCK)):
            total = 0.0
            squared = 0.0
            smallest = np.inf
            for c in range(_8):
                mass = masses[_8 * block + c]
                total += mass
                squared += mass * mass
                positive = mass if mass > 0.0 else np.inf
                smallest = positive if positive < smallest else smallest  # noqa: FURB136
            totals[np.uint64(first // BLOCK) + block] = total
            squares += squared
            least = smallest if smallest < least else least  # noqa: FURB136
        moments[first // CHUNK, 0] = squares
        moments[first // CHUNK, 1] = least


@_compiled
def locate(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    td: F4,
    violation: F4,
    reward: F4,
    lambda_logic: float,
    lambda_reward: float,
    floor: float,
    alpha: float,
    totals: F8,
    kept: F8,
    uniforms: F8,
    drawn: NDArray[np.int32],
    probability: F8,
) -> float:
    """Inverse-CDF draws in the order of the rows; the sum of all masses; -1 for a uniform outside [0, 1), 0 for no mass.

    Args:
        td: as the arguments that follow, up to `kept`, that of `refresh`.
        violation: see there.
        reward: see there.
        lambda_logic: see there.
        lambda_reward: see there.
        floor: see there.
        alpha: see there.
        totals: see there.
        kept: see there.
        uniforms: float64 [B].
        drawn: int32 [B], the rows; written.
        probability: float64 [B], P of them; written.
    """
    before = np.empty(totals.size)
    total = 0.0
    for block in range(np.uint64(totals.size)):
        before[block] = total
        total += totals[block]
    target = np.empty(drawn.size)
    for i in range(drawn.size):
        if not 0.0 <= uniforms[i] < 1.0:
            return -1.0
        target[i] = uniforms[i] * total
    if total == 0.0:
        return 0.0
    place = _last_not_above(before, target)
    if kept.size:
        masses = _kept_blocks(kept, place)
    else:
        masses = _blocks(td, violation, reward, lambda_logic, lambda_reward, floor, alpha, place)
    for i in range(drawn.size):
        first = _8 * np.uint64(i)
        t = min(target[i] - before[place[i]], totals[place[i]] * _BELOW)
        running = 0.0
        k = np.uint64(0)
        for c in range(_8):
            # Masses computed again may differ in their last bits: a row without any is passed over.
            k = np.uint64(c) if (running <= t) & (masses[first + c] > 0.0) else k
            running += masses[first + c]
        drawn[i] = _8 * place[i] + k
        probability[i] = masses[first + k] / total
    return total


@_compiled
def _last_not_above(before: F8, target: F8) -> NDArray[np.uint64]:
    """The last entry of a rising column that is at most each target, by bisection for all of them at once."""
    n = np.uint64(before.size)
    place = np.zeros(target.size, np.uint64)
    half = _1
    while half < n:
        half *= _2
    while half > _1:
        half //= _2
        for i in range(target.size):
            at = min(place[i] + half, n - _1)
            place[i] = at if before[at] <= target[i] else place[i]
    return place


@_compiled
def _kept_blocks(kept: F8, place: NDArray[np.uint64]) -> F8:
    """The masses of blocks, one block after another; float64 [BLOCK * n]."""
    masses = np.empty(BLOCK * place.size)
    for i in range(place.size):
        for c in range(_8):
            masses[_8 * np.uint64(i) + c] = kept[_8 * place[i] + c]
    return masses


@_compiled
def _blocks(  # noqa: PLR0917  (as locate)
    td: F4,
    violation: F4,
    reward: F4,
    lambda_logic: float,
    lambda_reward: float,
    floor: float,
    alpha: float,
    place: NDArray[np.uint64],
) -> F8:
    """The same, computed again: the rows of all blocks one after another share vectors."""
    rows = np.zeros((3, BLOCK * place.size), np.float32)
    masses = np.empty(BLOCK * place.size)
    for i in range(place.size):
        first = _8 * place[i]
        for c in range(min(_8, np.uint64(td.size) - first)):
            at = _8 * np.uint64(i) + c
            rows[0, at], rows[1, at], rows[2, at] = td[first + c], violation[first + c], reward[first + c]
    _priorities(rows[0], rows[1], rows[2], lambda_logic, lambda_reward, floor, masses)
    _powers(masses, alpha)
    for i in range(place.size):
        end = min(_8, np.uint64(td.size) - _8 * place[i])
        masses[_8 * np.uint64(i) + end : _8 * np.uint64(i + 1)] = 0.0
    return masses
