"""A table of labelled rows, for `janus rules fit`: columns by name from CSV or Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_labelled"]


def read_labelled(
    path: Path, features: Sequence[str], label: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The features [n, d] and the label [n] of each row.

    Raises:
        ConfigError: the file is no such table, lacks a column, or holds a value that is no number; or the label is
            one of the features.
    """
    if label in features:
        raise ConfigError(
            f"the label {label} is one of the features, so that it would be learned from itself; nothing was fitted; "
            "leave it out of --features"
        )
    try:
        table = pd.read_parquet(path) if path.suffix in {".parquet", ".pq"} else pd.read_csv(path)
    except (OSError, ValueError, ArrowException) as error:
        raise ConfigError(f"{path} is no table in CSV or Parquet: {error}; nothing was fitted") from error
    missing = [name for name in (*features, label) if name not in table]
    if missing:
        raise ConfigError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(map(str, table))}; nothing was fitted"
        )
    columns = [_numbers(path, table[name]) for name in (*features, label)]
    return np.column_stack(columns[:-1]), columns[-1]


def _numbers(path: Path, column: pd.Series) -> NDArray[np.float64]:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise ConfigError(
            f"{path}, row {bad[0] + 1}, column {column.name}: {column.iloc[bad[0]]!r} is no finite number; "
            "nothing was fitted"
        )
    return numbers
