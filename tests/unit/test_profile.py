"""Plain words for a schema's mean."""

from __future__ import annotations

import numpy as np
import pytest

from janus_memory.neocortex.profile import Typical, profile

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


def test_typical_is_the_mean_and_deviation_of_the_mixture() -> None:
    """Against rows drawn so that each schema's are known exactly: two of size 3 and 1."""
    rows = [np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 7.0]]), np.array([[10.0, -5.0]])]
    means = np.array([r.mean(axis=0) for r in rows])
    covariances = np.array([np.cov(r.T, bias=True) if len(r) > 1 else np.zeros((2, 2)) for r in rows])
    typical = Typical.of(np.array([3, 1]), means, covariances)
    together = np.concatenate(rows)
    np.testing.assert_allclose(typical.centre, together.mean(axis=0))
    np.testing.assert_allclose(typical.spread, together.std(axis=0))


def test_a_schema_is_worded_against_what_is_typical_now() -> None:
    """In a market that has calmed down for good, its usual state is no longer called calm."""
    features = ("volatility_24h",)
    calm = Typical(np.array([-2.0]), np.array([0.5]))
    assert profile(np.array([-2.0]), features) == "low volatility"
    assert calm.words(np.array([-2.0]), features) == "typical"
    assert calm.words(np.array([-1.5]), features) == "high volatility"


def test_without_schemas_the_scale_is_typical() -> None:
    none = Typical.of(np.zeros(0, np.int64), np.zeros((0, 1)), np.zeros((0, 1, 1)))
    assert none.words(np.array([-2.0]), ("return_1h",)) == "falling"
