"""Plain words for a schema's mean."""

from __future__ import annotations

import numpy as np
import pytest

from janus_memory.neocortex.profile import profile

FEATURES = ("return_24h", "volatility_24h", "drawdown", "volume_z", "position", "range_24h", "skew")


@pytest.mark.parametrize(
    ("mean", "words"),
    [
        ([-1.0, 2.0, 0, 0, 0, 0, 0], "high volatility, falling"),
        ([0.4, -0.4, 0, 0, 0, 0, 0], "typical"),
        ([0, 0, -2.0, 0, 1.0, 0, 0], "deep drawdown, long"),
        ([0, 0, 1.0, -1.5, -0.6, 0, 0], "thin volume, near highs, short"),
        ([0, 0, 0, 3.0, 0, -2.0, 0], "heavy volume, narrow range"),
        ([0, 0, 0, 0, 0, 0.5, -0.7], "low skew, wide range"),
        ([1.0, 1.1, 1.2, 1.3, 0, 0, 0], "heavy volume, near highs, high volatility"),
    ],
)
def test_words(mean: list[float], words: str) -> None:
    """The furthest first, at most three, from half a deviation on."""
    assert profile(np.array(mean), FEATURES) == words


def test_what_is_said_is_not_said_again_or_contradicted() -> None:
    """Three returns say one thing, that of the strongest."""
    words = profile(
        np.array([0.9, -2.0, -1.0, 0.8]), ("return_1h", "return_4h", "momentum", "realised_vol_24h")
    )
    assert words == "falling, high volatility"


def test_a_position_s_profit_is_not_its_side() -> None:
    """position_pnl is about profit."""
    assert profile(np.array([-1.0]), ("position_pnl",)) == "at a loss"
