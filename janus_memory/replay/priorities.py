"""The laws of prioritised replay in plain numpy (E7 to E10): their definition, and what reports use.

The compiled learner (`replay.swr`) computes the same in float32 inside its loop; the tests compare it
with this file. N rows; all functions are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from janus_memory.config import ReplaySettings

__all__ = [
    "beta_at",
    "draw_rows",
    "effective_sample_size",
    "importance_weights",
    "priorities",
    "priority_quantiles",
    "probabilities",
]


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


def probabilities(p: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """P(i) = p_i^alpha / sum_j p_j^alpha (E8); uniform where all priorities are zero; float64 [N]."""
    largest = p.max()
    if largest <= 0:
        return np.full(len(p), 1.0 / len(p))
    scaled = np.where(p > 0, (p / largest) ** alpha, 0.0)
    share: NDArray[np.float64] = scaled / scaled.sum()
    return share


def importance_weights(share: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """w_i = (1 / (N P(i)))^beta over the largest w of the buffer (E9, E10); in [0, 1], float64 [N].

    A row that cannot be drawn (P = 0) has weight 0 and does not set the scale.
    """
    reachable = share > 0
    smallest = share[reachable].min()
    ratio = np.divide(smallest, share, out=np.zeros(len(share)), where=reachable)
    weights: NDArray[np.float64] = ratio**beta * reachable
    return weights


def beta_at(iteration: int, total: int, replay: ReplaySettings) -> float:
    """Beta of one iteration: linear from `beta_start` at the first to `beta_end` at the last of `total`."""
    done = iteration / max(total - 1, 1)
    return replay.beta_start + (replay.beta_end - replay.beta_start) * done


def draw_rows(share: NDArray[np.float64], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Inverse-CDF draws: the first row whose cumulative probability exceeds u; int64, always inside [0, N)."""
    cumulative = np.cumsum(share)
    below = np.minimum(uniforms * cumulative[-1], np.nextafter(cumulative[-1], 0))
    drawn: NDArray[np.int64] = np.searchsorted(cumulative, below, side="right").astype(np.int64)
    return drawn


def effective_sample_size(share: NDArray[np.float64]) -> float:
    """1 / sum P(i)^2: over how many rows the replay really spreads; between 1 and N."""
    return float(1.0 / np.sum(share**2))


def priority_quantiles(
    p: NDArray[np.float64], at: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
) -> dict[str, float]:
    """Quantiles of the priorities for a report, by their level; empty where there are no rows."""
    if not len(p):
        return {}
    return {f"{level:g}": float(value) for level, value in zip(at, np.quantile(p, at), strict=True)}
