"""Features of a market from its bars. Each uses only the bar itself and bars before it.

A window is a name's number and unit in *trading* time: `return_24h` on hourly bars looks 24 bars back,
whatever the clock did over a weekend. Units are h (hours), d (days) and m (minutes).

    return_W      log(close / close W ago)
    volatility_W  deviation (divisor n) of one-bar log returns over W
    range_W       (highest high - lowest low over W) / close
    volume_z      log(1 + volume): distance from its mean over 120 bars, in deviations
    momentum_gap  mean close over 24 bars / mean close over 120 bars - 1

The account's own features are `janus_memory.simulate.trading`'s: `position` (-1, 0, 1), `position_pnl` (gain since
entry as a fraction of the entry price) and `drawdown` (below the day's best, as a fraction of the notional, <= 0).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from janus_memory.simulate.bars import Bars

__all__ = ["ACCOUNT_FEATURES", "DEFAULT_FEATURES", "market_features"]

ACCOUNT_FEATURES = ("position", "position_pnl", "drawdown")
DEFAULT_FEATURES = (
    "return_1h",
    "return_4h",
    "return_24h",
    "return_120h",
    "volatility_24h",
    "volatility_120h",
    "range_24h",
    "volume_z",
    "momentum_gap",
    *ACCOUNT_FEATURES,
)
SHORT_BARS = 24
LONG_BARS = 120
BLOCK_ROWS = 16_384
_UNITS = {"m": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000}
_WINDOWED = re.compile(r"(return|volatility|range)_(\d+)([mhd])")


def market_features(bars: Bars, names: Sequence[str]) -> NDArray[np.float64]:
    """The named features at every bar's close.

    Args:
        bars: n bars.
        names: features of the market; the account's own are not among them.

    Returns:
        float64 [n, len(names)]; NaN where a window reaches before the first bar.

    Raises:
        ConfigError: a name is unknown, its window is no whole number of bars, or the bars have no volume.
    """
    if not names:
        return np.empty((len(bars), 0))
    return np.stack([_feature(bars, name) for name in names], axis=1)


def _feature(bars: Bars, name: str) -> NDArray[np.float64]:
    windowed = _WINDOWED.fullmatch(name)
    if windowed:
        kind, count, unit = windowed.groups()
        return _KINDS[kind](bars, _window(bars, name, int(count) * _UNITS[unit]))
    if name == "volume_z":
        return _volume_z(bars)
    if name == "momentum_gap":
        return _rolling(bars.close, SHORT_BARS, np.mean) / _rolling(bars.close, LONG_BARS, np.mean) - 1
    raise ConfigError(
        f"feature {name!r} is not one that the simulator can make (return_4h, volatility_24h, range_24h, volume_z, "
        f"momentum_gap, {', '.join(ACCOUNT_FEATURES)}); nothing was sent; correct the market's `features`"
    )


def _window(bars: Bars, name: str, span: int) -> int:
    """The window's length in bars, at least 1."""
    if span < bars.interval or span % bars.interval:
        seconds = bars.interval / 1e9
        raise ConfigError(
            f"feature {name!r}: its window is no whole number of bars of {seconds:g} s; nothing was sent; "
            f"choose a window that is a multiple of the bars' interval"
        )
    return span // bars.interval


def _return(bars: Bars, window: int) -> NDArray[np.float64]:
    logs = np.log(bars.close)
    out = np.full(len(bars), np.nan)
    out[window:] = logs[window:] - logs[:-window]
    return out


def _volatility(bars: Bars, window: int) -> NDArray[np.float64]:
    return _rolling(_return(bars, 1), window, np.std)


def _range(bars: Bars, window: int) -> NDArray[np.float64]:
    return (_rolling(bars.high, window, np.max) - _rolling(bars.low, window, np.min)) / bars.close


def _volume_z(bars: Bars) -> NDArray[np.float64]:
    if np.isnan(bars.volume).any():
        raise ConfigError(
            "feature 'volume_z': the bars have no column volume; nothing was sent; "
            "leave volume_z out of the market's `features` or add the column"
        )
    logs = np.log1p(bars.volume)
    deviation = _rolling(logs, LONG_BARS, np.std)
    with np.errstate(invalid="ignore", divide="ignore"):
        score = (logs - _rolling(logs, LONG_BARS, np.mean)) / deviation
    return np.where(deviation == 0, 0.0, score)


def _rolling(values: NDArray[np.float64], window: int, reduce: Callable[..., Any]) -> NDArray[np.float64]:
    """`reduce` over values[t - window + 1 .. t] at each t, NaN before; each window alone, a block at a time."""
    out = np.full(len(values), np.nan)
    windows = sliding_window_view(values, min(window, len(values)))
    for start in range(0, len(values) - window + 1, BLOCK_ROWS):
        block = np.ascontiguousarray(windows[start : start + BLOCK_ROWS])
        out[window - 1 + start : window - 1 + start + len(block)] = reduce(block, axis=1)
    return out


_KINDS: dict[str, Callable[[Bars, int], NDArray[np.float64]]] = {
    "return": _return,
    "volatility": _volatility,
    "range": _range,
}
