"""Priorities (E7), how beta is annealed (E9), and what reports say of priorities, in plain numpy.

The compiled learner (`replay.night.swr`) computes the same in float32 inside its loop. What follows from priorities is
`replay.law.laws`. N rows; all functions are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from janus_memory.config import ReplaySettings

__all__ = ["beta_at", "priorities", "priority_quantiles"]


def priorities(
    td: NDArray[np.floating],
    violation: NDArray[np.floating],
    reward: NDArray[np.floating],
    replay: ReplaySettings,
) -> NDArray[np.float64]:
    """Priority p = |delta| + lambda_logic v + lambda_reward |r|, at least the floor (E7); float64 [N].

    Args:
        td: delta [N].
        violation: v [N] in [0, 1].
        reward: r [N], scaled.
        replay: the two lambdas and the floor.
    """
    p = (
        np.abs(td.astype(np.float64))
        + replay.lambda_logic * violation.astype(np.float64)
        + replay.lambda_reward * np.abs(reward.astype(np.float64))
    )
    return np.maximum(p, replay.priority_floor)


def beta_at(iteration: int, total: int, replay: ReplaySettings) -> float:
    """Beta of one iteration: linear from `beta_start` at the first to `beta_end` at the last of `total`."""
    done = iteration / max(total - 1, 1)
    return replay.beta_start + (replay.beta_end - replay.beta_start) * done


def priority_quantiles(
    p: NDArray[np.float64], at: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
) -> dict[str, float]:
    """Quantiles of the priorities for a report, by their level; empty where there are no rows."""
    if not len(p):
        return {}
    return {f"{level:g}": float(value) for level, value in zip(at, np.quantile(p, at), strict=True)}
