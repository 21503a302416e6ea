"""The market's own scale: every subsystem of the night sees x = (s - m)/sd and r / reward_scale.

Fitted once, from the warm-up rows, and frozen with the memory (SPEC, Warm-up and scale).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import ConfigError, InsufficientData

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import Transitions

__all__ = ["Scale"]

# Makes the median absolute deviation of a normal law its standard deviation.
_MAD_TO_DEVIATION = 1.4826


@dataclass(frozen=True, slots=True)
class Scale:
    """Means and deviations of the features, and the robust deviation of the reward.

    Attributes:
        mean, deviation: float64 [d], the user's own units.
        reward_scale: the user's own units; positive.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    reward_scale: float

    @classmethod
    def fit(cls, rows: Transitions, features: Sequence[str], *, max_rows: int = 2000) -> Scale:
        """Fit to evenly strided rows, at most `max_rows`.

        Args:
            rows: in total order.
            features: their d names, for the message.
            max_rows: how many rows are used at most.

        Raises:
            InsufficientData: there are no rows.
            ConfigError: a feature has no variance.
        """
        n = len(rows)
        if n == 0:
            raise InsufficientData(
                "the scale needs rows and got none; nothing was changed; wait for more rows"
            )
        chosen = np.linspace(0, n - 1, min(n, max_rows)).astype(np.intp)
        state = rows.state[chosen].astype(np.float64)
        mean, deviation = state.mean(axis=0), state.std(axis=0)
        # Sums of equal float32 values are exact in float64, so a constant column has a deviation of exactly 0.
        constant = ~(deviation > 0)
        if constant.any():
            names = ", ".join(name for name, bad in zip(features, constant, strict=True) if bad)
            raise ConfigError(
                f"no variance in {names} over {len(chosen)} warm-up rows; nothing was fitted; "
                "remove the feature from the market's settings, or mend its source"
            )
        return cls(mean, deviation, _robust_deviation(rows.reward[chosen].astype(np.float64)))

    def standardise(self, state: NDArray[np.float32]) -> NDArray[np.float64]:
        """X = (s - m)/sd; float32 [n, d] -> float64 [n, d]."""
        return (state.astype(np.float64) - self.mean) / self.deviation

    def reward(self, reward: NDArray[np.float32]) -> NDArray[np.float64]:
        """R / reward_scale; float32 [n] -> float64 [n]."""
        return reward.astype(np.float64) / self.reward_scale

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {
            "mean": self.mean,
            "deviation": self.deviation,
            "reward_scale": np.array([self.reward_scale], np.float64),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Scale:
        """The inverse of `snapshot`."""
        return cls(
            np.array(arrays["mean"], np.float64),
            np.array(arrays["deviation"], np.float64),
            float(arrays["reward_scale"].tolist()[0]),
        )


def _robust_deviation(reward: NDArray[np.float64]) -> float:
    """1.4826 times the median absolute deviation; the deviation where over half are equal; 1 where all are."""
    robust = _MAD_TO_DEVIATION * float(np.median(np.abs(reward - np.median(reward))))
    return robust or float(reward.std()) or 1.0
