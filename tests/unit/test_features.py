"""The simulator's features: equal to a slow oracle, blind to the future."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from janus_memory.errors import ConfigError
from janus_memory.simulate.bars import Bars, shipped_bars
from janus_memory.simulate.features import ACCOUNT_FEATURES, DEFAULT_FEATURES, market_features

NAMES = [name for name in DEFAULT_FEATURES if name not in ACCOUNT_FEATURES]


def _first(bars: Bars, n: int) -> Bars:
    columns = ("start", "open", "high", "low", "close", "volume")
    return dataclasses.replace(bars, **{name: getattr(bars, name)[:n] for name in columns})


@pytest.fixture(scope="module")
def bars() -> Bars:
    return _first(shipped_bars(), 700)


def test_each_feature_equals_pandas(bars: Bars) -> None:
    close, volume = pd.Series(bars.close), pd.Series(np.log1p(bars.volume))
    step = pd.Series(np.log(bars.close)).diff()
    oracle = {
        **{f"return_{h}h": np.log(close / close.shift(h)) for h in (1, 4, 24, 120)},
        **{f"volatility_{h}h": step.rolling(h).std(ddof=0) for h in (24, 120)},
        "range_24h": (pd.Series(bars.high).rolling(24).max() - pd.Series(bars.low).rolling(24).min()) / close,
        "volume_z": (volume - volume.rolling(120).mean()) / volume.rolling(120).std(ddof=0),
        "momentum_gap": close.rolling(24).mean() / close.rolling(120).mean() - 1,
    }
    expected = pd.DataFrame(oracle)[NAMES].to_numpy()
    np.testing.assert_allclose(market_features(bars, NAMES), expected, rtol=1e-9, atol=1e-12)


def test_the_future_does_not_change_the_past(bars: Bars) -> None:
    whole = market_features(bars, NAMES)
    for n in (121, 300, 699):
        np.testing.assert_array_equal(market_features(_first(bars, n), NAMES), whole[:n])


def test_a_window_counts_trading_time_in_the_bars_own_interval(bars: Bars) -> None:
    daily = dataclasses.replace(bars, interval=24 * bars.interval)
    np.testing.assert_array_equal(market_features(daily, ["return_4d"]), market_features(bars, ["return_4h"]))


def test_fewer_bars_than_a_window_give_no_value(bars: Bars) -> None:
    assert np.isnan(market_features(_first(bars, 20), ["volatility_24h", "momentum_gap"])).all()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("return_30m", "no whole number of bars of 3600 s"),
        ("retrun_1h", "not one that the simulator can make"),
        ("volume_z", "no column volume"),
    ],
)
def test_a_feature_that_cannot_be_made_is_named(bars: Bars, name: str, said: str) -> None:
    silent = dataclasses.replace(bars, volume=np.full(len(bars), np.nan))
    with pytest.raises(ConfigError, match=said) as caught:
        market_features(silent, [name])
    assert name in str(caught.value)
