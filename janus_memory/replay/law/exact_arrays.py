"""The steps of an exact refresh in plain numpy, for machines without a compiler: their definition.

The draws are those of `exact_kernels`, unless a uniform lies within rounding of a boundary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.replay.law.exact_kernels import BLOCK, CHUNK
from janus_memory.replay.law.laws import powers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F4 = NDArray[np.float32]
    F8 = NDArray[np.float64]

__all__ = ["locate", "masses", "refresh"]

_BELOW = 1.0 - 2.0**-53


def refresh(  # noqa: PLR0917  (the kernel's arguments)
    td: F4,
    violation: F4,
    reward: F4,
    lambda_logic: float,
    lambda_reward: float,
    floor: float,
    alpha: float,
    totals: F8,
    kept: F8,  # noqa: ARG001  (the kernel's arguments)
    moments: F8,
    start: int,
    stop: int,
) -> None:
    """As `exact_kernels.refresh`."""
    rows = slice(start, stop)
    held = masses(td[rows], violation[rows], reward[rows], lambda_logic, lambda_reward, floor, alpha)
    held = np.concatenate([held, np.zeros(-len(held) % CHUNK)])
    found = np.cumsum(held.reshape(-1, BLOCK), axis=1)[:, -1]
    blocks = totals[start // BLOCK :][: len(found)]
    blocks[:] = found[: len(blocks)]
    chunks = held.reshape(-1, CHUNK)
    here = moments[start // CHUNK :][: len(chunks)]
    here[:, 0] = (chunks * chunks).sum(axis=1)
    here[:, 1] = chunks.min(axis=1, where=chunks > 0, initial=np.inf)


def locate(  # noqa: PLR0917  (the kernel's arguments)
    td: F4,
    violation: F4,
    reward: F4,
    lambda_logic: float,
    lambda_reward: float,
    floor: float,
    alpha: float,
    totals: F8,
    kept: F8,  # noqa: ARG001  (the kernel's arguments)
    uniforms: F8,
    drawn: NDArray[np.int32],
    probability: F8,
) -> float:
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
    rows = BLOCK * block[:, None] + np.arange(BLOCK)
    near = np.minimum(rows, len(td) - 1)
    held = masses(td[near], violation[near], reward[near], lambda_logic, lambda_reward, floor, alpha)
    held[rows > near] = 0
    inside = np.cumsum(held, axis=1)[:, :-1]
    place = (inside <= target[:, None]).sum(axis=1)
    drawn[:] = BLOCK * block + place
    probability[:] = held[np.arange(len(place)), place] / total
    return float(total)


def masses(  # noqa: PLR0917  (the kernel's arguments)
    td: F4, violation: F4, reward: F4, lambda_logic: float, lambda_reward: float, floor: float, alpha: float
) -> F8:
    """p^alpha of each row (E7, E8); 0 where p is 0, NaN where it is not finite."""
    td8, violation8, reward8 = (column.astype(np.float64) for column in (td, violation, reward))
    p = np.abs(td8) + lambda_logic * violation8 + lambda_reward * np.abs(reward8)
    floored = np.where(np.isfinite(p), np.maximum(p, floor), 0.0)
    return np.where(np.isfinite(p), powers(floored, alpha), np.nan)
