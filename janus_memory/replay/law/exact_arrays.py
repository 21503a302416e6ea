"""The steps of an exact refresh in plain numpy, for machines without a compiler: their definition.

The draws are those of `exact_kernels`, unless a uniform lies within rounding of a boundary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.replay.law.laws import powers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F4 = NDArray[np.float32]
    F8 = NDArray[np.float64]

__all__ = ["locate", "refresh"]

_BELOW = 1.0 - 2.0**-53


def refresh(  # noqa: PLR0917  (the kernel's arguments)
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
    """As `exact_kernels.refresh`."""
    td8, violation8, reward8 = (column[start:stop].astype(np.float64) for column in (td, violation, reward))
    p = np.abs(td8) + lambda_logic * violation8 + lambda_reward * np.abs(reward8)
    floored = np.where(np.isfinite(p), np.maximum(p, floor), 0.0)
    masses[start:stop] = np.where(np.isfinite(p), powers(floored, alpha), np.nan)
    blocks = slice(start // 16, -(-stop // 16))
    totals[blocks] = np.cumsum(masses.reshape(-1, 16)[blocks], axis=1)[:, -1]


def locate(uniforms: F8, masses: F8, totals: F8, drawn: NDArray[np.int32], probability: F8) -> float:
    """As `exact_kernels.locate`."""
    if not ((uniforms >= 0) & (uniforms < 1)).all():
        return -1.0
    running = np.concatenate([[0.0], np.cumsum(totals)])
    total = running[-1]
    if total == 0:
        return 0.0
    target = uniforms * total
    block = np.searchsorted(running[:-1], target, side="right") - 1
    target = np.minimum(target - running[block], totals[block] * _BELOW)
    inside = np.cumsum(masses.reshape(-1, 16)[block], axis=1)[:, :-1]
    drawn[:] = 16 * block + (inside <= target[:, None]).sum(axis=1)
    probability[:] = masses[drawn] / total
    return float(total)
