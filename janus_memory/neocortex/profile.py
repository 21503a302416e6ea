"""A schema's mean in plain words, such as "high volatility, falling"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["profile"]

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


def profile(mean: NDArray[np.float64], features: Sequence[str]) -> str:
    """Name the (at most three) features furthest from typical, furthest first; features that say the same say it once.

    A drawdown is taken to be 0 or below, as our own features have it.

    Args:
        mean: float64 [d], standardised: 1 is one deviation above the market's mean.
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
