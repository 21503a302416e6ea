"""The market's scale."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from janus_memory.errors import ConfigError, InsufficientData
from janus_memory.scale import Scale
from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("fx", ("return_1h", "volatility_24h", "position"), "discrete", 3)


def _rows(n: int, reward: np.ndarray[tuple[int], np.dtype[np.float32]] | None = None) -> Transitions:
    rng = np.random.default_rng(n)
    state = (rng.normal(size=(n, 3)) * [1, 10, 0.1] + [0, 5, -1]).astype(np.float32)
    given = rng.normal(size=n).astype(np.float32) if reward is None else reward
    return dataclasses.replace(Transitions.empty(SPEC, n), state=state, reward=given)


def test_standardised_rows_have_mean_zero_and_deviation_one() -> None:
    """The rows of the fit come out standardised."""
    rows = _rows(500)
    x = Scale.fit(rows, SPEC.features).standardise(rows.state)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-12)


def test_only_evenly_strided_rows_are_used() -> None:
    """Of 1 000 rows at most 10 count, first and last among them."""
    rows = _rows(1000)
    strided = rows.take(np.linspace(0, 999, 10).astype(np.intp))
    a, b = Scale.fit(rows, SPEC.features, max_rows=10), Scale.fit(strided, SPEC.features)
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.deviation, b.deviation)
    assert a.reward_scale == b.reward_scale


def test_a_reward_of_one_crash_does_not_move_the_reward_scale() -> None:
    """The scale of the reward is robust: one huge loss leaves it within a fifth of the deviation of the rest."""
    reward = np.random.default_rng(1).normal(size=500).astype(np.float32) * 7
    reward[100] = -1e6
    assert Scale.fit(_rows(500, reward), SPEC.features).reward_scale == pytest.approx(7, rel=0.2)


@pytest.mark.parametrize(
    ("reward", "scale"),
    [([0, 0, 0, 0, 5], 2.0), ([3, 3, 3, 3, 3], 1.0), ([-1, 0, 1, 2, 3], 1.4826)],
)
def test_reward_scale_by_hand(reward: list[float], scale: float) -> None:
    """1.4826 MAD; the deviation where over half are equal (0, 0, 0, 0, 5 has 2); 1 where all are."""
    fitted = Scale.fit(_rows(5, np.array(reward, np.float32)), SPEC.features)
    assert fitted.reward_scale == pytest.approx(scale)
    np.testing.assert_allclose(fitted.reward(np.array(reward, np.float32)), np.array(reward) / scale)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_a_feature_without_variance_is_refused_by_name(value: float) -> None:
    """The message names the feature, and only it."""
    rows = _rows(300)
    rows.state[:, 1] = value
    with pytest.raises(ConfigError, match="no variance in volatility_24h over"):
        Scale.fit(rows, SPEC.features)


def test_no_rows_and_one_row_are_refused() -> None:
    """One row has no variance anywhere; none is too few."""
    with pytest.raises(InsufficientData, match="got none"):
        Scale.fit(_rows(0), SPEC.features)
    with pytest.raises(ConfigError, match="return_1h, volatility_24h, position"):
        Scale.fit(_rows(1), SPEC.features)


def test_restore_undoes_snapshot() -> None:
    """Bit for bit."""
    scale = Scale.fit(_rows(100), SPEC.features)
    again = Scale.restore(scale.snapshot())
    assert again.mean.tobytes() == scale.mean.tobytes()
    assert again.deviation.tobytes() == scale.deviation.tobytes()
    assert again.reward_scale == scale.reward_scale
