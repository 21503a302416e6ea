"""Real market states for `benchmarks.schemas`: sixteen features of a bar's past, standardised as they were known.

The first stream is the S&P 500 by the day (1999-2018, from the package `arch`), the second EUR/USD by the hour (2017,
from `gym-anytrading`). Both get the same features: nothing is chosen for one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import pandas as pd

from janus_memory.simulate.bars import shipped_bars

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Market", "currency", "index", "known_before"]

DROPPED_ROWS = 252
LARGEST = 8.0
_RETURNS = (1, 5, 21, 63)
_DEVIATIONS = (5, 21, 63)


class Market(NamedTuple):
    """A stream of real states.

    Attributes:
        name: what it is, in words.
        x: float64 [n, 16], standardised. time: int64 [n], UTC nanoseconds.
        log_volatility: float64 [n], log of the deviation of the last 21 log returns.
        night_rows: about how many bars lie between two nights, a week apart.
    """

    name: str
    x: NDArray[np.float64]
    time: NDArray[np.int64]
    log_volatility: NDArray[np.float64]
    night_rows: int


def index() -> Market:
    """The S&P 500 by the day.

    Raises:
        ImportError: the package `arch` is not installed.
    """
    from arch.data import sp500  # noqa: PLC0415  (a library of the benchmarks alone)

    bars = sp500.load().rename(columns=str.lower)
    return _market("S&P 500, daily, 1999-2018", bars, 5)


def currency() -> Market:
    """EUR/USD by the hour."""
    bars = shipped_bars()
    columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
    return _market("EUR/USD, hourly, 2017", pd.DataFrame(columns, index=pd.to_datetime(bars.start)), 120)


def known_before(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row less the mean of the rows before it, in their deviations; the first two rows are zero."""
    n = np.arange(len(values))[:, None]
    before = np.vstack([np.zeros(values.shape[1]), np.cumsum(values, axis=0)[:-1]])
    squares = np.vstack([np.zeros(values.shape[1]), np.cumsum(values**2, axis=0)[:-1]])
    mean = before / np.maximum(n, 1)
    deviation = np.sqrt(np.maximum(squares / np.maximum(n, 1) - mean**2, 1e-18))
    return np.where(n >= 2, (values - mean) / deviation, 0.0)


def _market(name: str, bars: pd.DataFrame, night_rows: int) -> Market:
    raw = _features(bars)
    first = int(np.flatnonzero(np.isfinite(raw).all(axis=1))[0])
    x = np.clip(known_before(raw[first:]), -LARGEST, LARGEST)[DROPPED_ROWS - first :]
    time = pd.DatetimeIndex(bars.index).as_unit("ns").to_numpy().astype(np.int64)[DROPPED_ROWS:]
    volatility = np.asarray(raw[DROPPED_ROWS:, len(_RETURNS) + _DEVIATIONS.index(21)])
    return Market(name, np.ascontiguousarray(x), time, volatility, night_rows)


def _features(bars: pd.DataFrame) -> NDArray[np.float64]:
    """The sixteen, NaN until the windows are full; float64 [bars, 16]."""
    close, high, low = bars["close"], bars["high"], bars["low"]
    logs = np.log(close)
    step = logs.diff()
    columns = [(logs - logs.shift(k)) / np.sqrt(k) for k in _RETURNS]
    columns += [_log(step.rolling(k).std(ddof=0)) for k in _DEVIATIONS]
    reach = _log(high / low) ** 2
    place = ((close - low) - (high - close)) / (high - low).where(high > low, np.inf)
    gain, loss = (_smooth((sign * close.diff()).clip(lower=0), 1 / 14) for sign in (1, -1))
    volume = np.log1p(bars["volume"])
    columns += [
        0.5 * _log(reach.rolling(10).mean() / (4 * np.log(2))),
        place.rolling(5).mean(),
        gain / (gain + loss).where(gain + loss > 0, 1.0) - 0.5,
        (_smooth(close, 2 / 13) - _smooth(close, 2 / 27)) / close,
        (close - close.rolling(20).mean()) / close.rolling(20).std(ddof=0),
        logs - logs.rolling(252, min_periods=1).max(),
        (volume - volume.rolling(63).mean()) / volume.rolling(63).std(ddof=0),
        step.rolling(63).skew(),
        step.rolling(63).corr(step.shift(1)),
    ]
    return np.stack([cast("pd.Series", column).to_numpy(np.float64) for column in columns], axis=1)


def _log(values: pd.Series) -> pd.Series:
    # A price that stood still for a whole window has no logarithm.
    return cast("pd.Series", np.log(values.clip(lower=1e-6)))


def _smooth(values: pd.Series, rate: float) -> pd.Series:
    return values.ewm(alpha=rate, adjust=False).mean()
