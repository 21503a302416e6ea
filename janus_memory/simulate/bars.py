"""Bars of a market: read from a CSV or Parquet file, or from the package that ships real ones.

The shipped bars are hourly EUR/USD ask prices of 2017 from the package `gym-anytrading` (MIT licence),
read as a file of its distribution: its code is not imported. docs/decisions/0007-market-data.md says more.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SHIPPED_INSTRUMENT", "SHIPPED_ORIGIN", "Bars", "read_bars", "shipped_bars"]

SHIPPED_INSTRUMENT = "EURUSD"
SHIPPED_ORIGIN = "hourly EUR/USD ask bars of 2017, from the package gym-anytrading (MIT licence)"
DAY_NS = 86_400_000_000_000
_PACKAGE = "gym-anytrading"
_FILE = "FOREX_EURUSD_1H_ASK.csv"
_TIME_NAMES = ("time", "timestamp", "datetime", "date")
_PRICES = ("open", "high", "low", "close")
_DAY_FIRST = r"\d{2}\.\d{2}\.\d{4}.*"


@dataclass(frozen=True, slots=True)
class Bars:
    """n bars of one instrument, oldest first.

    Attributes:
        instrument: its name.
        start: int64 [n], UTC nanoseconds, strictly growing; when each bar begins.
        interval: nanoseconds from one bar's start to the next (the most frequent distance).
        open, high, low, close: float64 [n], finite and positive.
        volume: float64 [n], finite and not negative; all NaN where the file has none.
    """

    instrument: str
    start: NDArray[np.int64]
    interval: int
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]

    @property
    def is_daily(self) -> bool:
        """Whether the bars are a day or longer apart."""
        return self.interval >= DAY_NS

    def __len__(self) -> int:
        return len(self.start)


def shipped_bars() -> Bars:
    """The real bars that come with an installed package.

    Raises:
        ConfigError: the package, or the file in it, is not there.
    """
    try:
        files = importlib.metadata.distribution(_PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _FILE:
            return read_bars(Path(str(file.locate())), SHIPPED_INSTRUMENT)
    raise ConfigError(
        f"the package {_PACKAGE}, which carries {_FILE}, is not installed; nothing was sent; "
        f"install it or name your own bars with --bars FILE"
    )


def read_bars(path: Path, instrument: str) -> Bars:
    """Bars from a CSV or Parquet file with columns time, open, high, low, close and perhaps volume.

    Names are taken in any case; time may be called timestamp, datetime or date and is ISO 8601 or
    DD.MM.YYYY HH:MM:SS; without a zone it is UTC. Other columns are ignored.

    Raises:
        ConfigError: the file cannot be read, or a value in it cannot be a bar; names row and column.
    """
    table = _read_table(path)
    table.columns = [str(name).strip().lower() for name in table.columns]
    time_name = next((name for name in _TIME_NAMES if name in table.columns), None)
    missing = [name for name in _PRICES if name not in table.columns]
    if time_name is None or missing:
        lacking = [*([] if time_name else ["time"]), *missing]
        found = ", ".join(table.columns[:12])
        raise ConfigError(
            f"{path}: no column {', '.join(lacking)}; found {found}; nothing was sent; name them so"
        )
    if len(table) < 2:
        raise ConfigError(f"{path}: {len(table)} bars; at least 2 are needed; nothing was sent")
    start = _times(path, table[time_name])
    prices = {name: _numbers(path, table[name]) for name in _PRICES}
    has_volume = "volume" in table.columns
    volume = _numbers(path, table["volume"]) if has_volume else np.full(len(table), np.nan)
    _check(path, start, prices, volume, time_name)
    distances, counts = np.unique(np.diff(start), return_counts=True)
    return Bars(instrument, start, int(distances[np.argmax(counts)]), volume=volume, **prices)


def _read_table(path: Path) -> pd.DataFrame:
    """Every value as text (CSV) or as stored (Parquet)."""
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; nothing was sent") from error
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        ArrowException,
    ) as error:
        raise ConfigError(f"{path} is no table of bars: {error}; nothing was sent") from error


def _times(path: Path, column: pd.Series) -> NDArray[np.int64]:
    """Start times in UTC nanoseconds."""
    text = column.dtype == object or isinstance(column.dtype, pd.StringDtype)
    day_first = text and bool(column.astype(str).str.fullmatch(_DAY_FIRST).iloc[0])
    kind = "%d.%m.%Y %H:%M:%S.%f" if day_first else "ISO8601"
    if day_first:
        short = ~column.str.contains(r":\d{2}\.", regex=True)
        column = column.where(~short, column + ".000")
    parsed = pd.to_datetime(column, format=kind if text else None, utc=True, errors="coerce")
    bad = parsed.isna().to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        _refuse(path, row, str(column.name), f"{column.iloc[row]!r} is not a time")
    return parsed.to_numpy("datetime64[ns]").astype(np.int64)


def _numbers(path: Path, column: pd.Series) -> NDArray[np.float64]:
    """Finite numbers."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        _refuse(path, row, str(column.name), f"{column.iloc[row]!r} is not a finite number")
    return values


def _check(
    path: Path,
    start: NDArray[np.int64],
    prices: dict[str, NDArray[np.float64]],
    volume: NDArray[np.float64],
    time_name: str,
) -> None:
    """Times grow, prices are positive and lie between low and high, volume is not negative."""
    body = np.stack([prices["open"], prices["close"]])
    faults = (
        (time_name, np.concatenate([[False], np.diff(start) <= 0]), "not later than the row before"),
        *((name, prices[name] <= 0, "not positive") for name in _PRICES),
        ("high", prices["high"] < body.max(axis=0), "below open or close"),
        ("low", prices["low"] > body.min(axis=0), "above open or close"),
        ("volume", volume < 0, "negative"),
    )
    for name, bad, what in faults:
        if bad.any():
            _refuse(path, int(np.argmax(bad)), name, f"the value is {what}")


def _refuse(path: Path, row: int, column: str, what: str) -> NoReturn:
    line = "" if path.suffix.lower() in {".parquet", ".pq"} else f" (line {row + 2})"
    raise ConfigError(
        f"{path}, row {row + 1}{line}, column {column}: {what}; nothing was sent; correct or remove the row"
    )
