"""The sparse code (E5, E6): of a row's units the k strongest survive."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["active_units", "top_k"]


def active_units(rho: float, n_units: int) -> int:
    """K = ceil(rho d_h), at least one and at most all (E6)."""
    return min(max(1, math.ceil(rho * n_units)), n_units)


def top_k(h: NDArray[np.floating[Any]], k: int) -> NDArray[np.float32]:
    """C = TopK(h, k) (E5).

    Args:
        h: activations [n, d_h], finite.
        k: units that survive, 1 <= k <= d_h.

    Returns:
        float32 [n, d_h]; exactly k units of a row are not zero, of equal ones those of lower index; fewer
        only where fewer are positive.
    """
    n_units = h.shape[1]
    weakest = np.partition(h, n_units - k, axis=1)[:, n_units - k, None]
    above = h > weakest
    tied = h == weakest
    room = k - above.sum(axis=1, keepdims=True)
    kept = (above | (tied & (np.cumsum(tied, axis=1) <= room))) & (h > 0)
    return np.where(kept, h, 0).astype(np.float32)
