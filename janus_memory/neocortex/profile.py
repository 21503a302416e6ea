"""A schema's mean in plain words, such as "high volatility, falling"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Typical", "profile"]

_SHOWN = 3
_NOTABLE = 0.5
# The first stem that a feature's name contains gives (words for above, words for below the mean). A volume's name
# starts like a volatility's, and a name such as `volume_range` is about volume.
_WORDS = (
    ("volume", "heavy volume", "thin volume"),
    ("drawdown", "near highs", "deep drawdown"),
    ("vol", "high volatility", "low volatility"),
    ("return", "rising", "falling"),
    ("momentum", "rising", "falling"),
    ("pnl", "in profit", "at a loss"),
    ("position", "long", "short"),
    ("range", "wide range", "narrow range"),
)


@dataclass(frozen=True, slots=True)
class Typical:
    """What is usual in all that the market knows: schemas are worded against it, not against the market's first weeks.

    Attributes:
        centre, spread: float64 [d], mean and deviation of the mixture of all schemas, standardised.
    """

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(
        cls, num_points: NDArray[np.int64], means: NDArray[np.float64], covariances: NDArray[np.float64]
    ) -> Typical:
        """The moments of schemas with sizes [K], means [K, d] and covariances [K, d, d]; 0 and 1 without schemas."""
        d = means.shape[1]
        if not len(means):
            return cls(np.zeros(d), np.ones(d))
        weight = (num_points / num_points.sum())[:, None]
        centre = (weight * means).sum(axis=0)
        within = np.diagonal(covariances, axis1=1, axis2=2)
        return cls(centre, np.sqrt((weight * (within + (means - centre) ** 2)).sum(axis=0)))

    def words(self, mean: NDArray[np.float64], features: Sequence[str]) -> str:
        """The profile of a schema with this mean, float64 [d], standardised."""
        return profile((mean - self.centre) / self.spread, features)


def profile(mean: NDArray[np.float64], features: Sequence[str]) -> str:
    """Name the (at most three) features furthest from typical, furthest first; features that say the same say it once.

    A drawdown is taken to be 0 or below, as our own features have it.

    Args:
        mean: float64 [d], in deviations from what is typical.
        features: d names.

    Returns:
        Words joined by commas; "typical" where nothing is half a deviation away.
    """
    said: list[str] = []
    for index in np.argsort(-np.abs(mean), kind="stable"):
        if abs(mean[index]) < _NOTABLE or len(said) == _SHOWN:
            break
        above, below = _words(features[index])
        words, opposite = (above, below) if mean[index] > 0 else (below, above)
        # What is said already, or contradicted by a stronger feature of the same stem, adds nothing.
        if words not in said and opposite not in said:
            said.append(words)
    return ", ".join(said) or "typical"


def _words(feature: str) -> tuple[str, str]:
    for stem, above, below in _WORDS:
        if stem in feature.lower():
            return above, below
    return f"high {feature}", f"low {feature}"
