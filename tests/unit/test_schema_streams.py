"""The streams of `benchmarks.schemas`: planted truth is what it says, and no real feature looks ahead."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.schema_index import _features, known_before
from benchmarks.schema_streams import OUTLIER, Plan, plant, shuffled


def test_equal_arguments_plant_equal_bits_and_another_seed_does_not() -> None:
    plan = Plan(4, 3, zipf=1, dwell=5, outliers=0.1, drift=1)
    first, again, other = plant(plan, 1, 300), plant(plan, 1, 300), plant(plan, 2, 300)
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.which, again.which)
    assert not np.array_equal(first.x, other.x)


def test_planted_states_have_the_weights_dwell_and_outliers_of_the_plan() -> None:
    stream = plant(Plan(4, 4, zipf=1, dwell=10, outliers=0.05), 3, 60_000)
    _, counts = np.unique(stream.which[stream.which != OUTLIER], return_counts=True)
    share = np.sort(counts)[::-1] / counts.sum()
    np.testing.assert_allclose(share, np.array([12, 6, 4, 3]) / 25, atol=0.03)
    assert (stream.which == OUTLIER).mean() == pytest.approx(0.05, abs=0.005)
    assert stream.n_components == 4
    moved = np.diff(stream.which[stream.which != OUTLIER]) != 0
    assert moved.mean() == pytest.approx((1 - (share**2).sum()) / 10, abs=0.015)


def test_planted_components_have_mean_variance_one_and_condition_ten() -> None:
    stream = plant(Plan(6, 2), 5, 60_000)
    for k in range(2):
        values = np.linalg.eigvalsh(np.cov(stream.x[stream.which == k].T))
        assert values.mean() == pytest.approx(1, abs=0.02)
        assert values[-1] / values[0] == pytest.approx(10, rel=0.05)


def test_the_nearest_pair_of_few_dimensions_lies_five_deviations_apart() -> None:
    stream = plant(Plan(8, 2), 5, 60_000)
    parts = [stream.x[stream.which == k] for k in range(2)]
    gap = parts[0].mean(axis=0) - parts[1].mean(axis=0)
    between = (np.cov(parts[0].T) + np.cov(parts[1].T)) / 2
    assert np.sqrt(gap @ np.linalg.solve(between, gap)) == pytest.approx(5, rel=0.02)


def test_the_log_density_is_minus_the_entropy_of_one_component() -> None:
    """Far components: the mixture's density is w_k times the component's own, whose entropy is known."""
    stream = plant(Plan(32, 2), 7, 20_000)
    values = np.linalg.eigvalsh(np.cov(stream.x[stream.which == 0].T))
    entropy = 16 * np.log(2 * np.pi * np.e) + 0.5 * np.log(values).sum()
    assert stream.log_density == pytest.approx(-entropy - np.log(2), abs=0.3)


def test_a_shuffled_stream_holds_the_same_states() -> None:
    stream = plant(Plan(3, 2), 1, 50)
    moved, order = shuffled(stream, 9)
    assert not np.array_equal(order, np.arange(50))
    np.testing.assert_array_equal(moved.x, stream.x[order])
    np.testing.assert_array_equal(moved.which, stream.which[order])


def test_no_feature_of_a_bar_changes_when_the_future_does() -> None:
    rng = np.random.default_rng(4)
    close = pd.Series(np.exp(np.cumsum(rng.normal(0, 0.01, 400))))
    bars = pd.DataFrame(
        {"close": close, "high": close * 1.01, "low": close * 0.99, "volume": rng.uniform(1, 2, 400)}
    )
    other = bars.copy()
    other.loc[301:] *= rng.uniform(1, 3, (99, 4))
    before, after = _features(bars), _features(other)
    assert before.shape == (400, 16)
    np.testing.assert_array_equal(before[:301], after[:301])
    assert np.isfinite(before[64:]).all()
    assert (before[301:] != after[301:]).any(axis=0).all()


def test_moments_are_those_known_the_bar_before() -> None:
    values = np.random.default_rng(1).normal(3, 2, (50, 2))
    found = known_before(values)
    np.testing.assert_array_equal(found[:2], 0)
    for t in (2, 17, 49):
        past = values[:t]
        np.testing.assert_allclose(found[t], (values[t] - past.mean(axis=0)) / past.std(axis=0), rtol=1e-9)
