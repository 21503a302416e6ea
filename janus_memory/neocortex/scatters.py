"""Scatters of states, by which the background is fitted; plain loops, so that equal rows give equal bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["neighbour_scatter", "scatter"]

F8 = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False)(function)
    return kernel


@_compiled
def scatter(x: F8, mean: F8, out: F8) -> None:
    """Write the mean outer product of x - mean, x [n, d], row by row."""
    n, d = x.shape
    out[:, :] = 0.0
    e = np.empty(d)
    for i in range(n):
        for j in range(d):
            e[j] = x[i, j] - mean[j]
        for a in range(d):
            for b in range(d):
                out[a, b] += e[a] * e[b]
    out /= n


@_compiled
def neighbour_scatter(x: F8, moment: NDArray[np.int64], gap: int, most: int, out: F8) -> int:  # noqa: C901  (one loop: a row, its neighbours, their outer products)
    """Write 1/2 E[(x-x')(x-x')^T] over the `most` nearest x' of each row at least `gap` moments away.

    Ties in distance go to the earlier row. Returns the number of pairs; `out` [d, d] is zero without any.
    """
    n, d = x.shape
    out[:, :] = 0.0
    pairs = 0
    distance = np.empty(most)
    index = np.empty(most, np.int64)
    e = np.empty(d)
    for i in range(n):
        found = 0
        for j in range(n):
            if abs(moment[i] - moment[j]) < gap:
                continue
            total = 0.0
            for m in range(d):
                total += (x[i, m] - x[j, m]) ** 2
            if found == most and total >= distance[most - 1]:
                continue
            at = min(found, most - 1)
            while at > 0 and distance[at - 1] > total:
                distance[at] = distance[at - 1]
                index[at] = index[at - 1]
                at -= 1
            distance[at] = total
            index[at] = j
            found = min(found + 1, most)
        for p in range(found):
            for m in range(d):
                e[m] = x[i, m] - x[index[p], m]
            for a in range(d):
                for b in range(d):
                    out[a, b] += e[a] * e[b]
        pairs += found
    if pairs > 0:
        out *= 0.5 / pairs
    return pairs
