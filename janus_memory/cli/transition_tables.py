"""Transitions from a table, one a row: CSV or Parquet with a column for each feature, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from janus_memory.errors import WireError
from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from janus_memory.transition import MarketSpec

__all__ = ["read_table"]

_IDS = ("transition_id", "instrument", "agent_id", "episode_id")
_LATEST = 2**63 - 1
_TRUE, _FALSE = ("1", "true", "True", "TRUE"), ("0", "false", "False", "FALSE")


def read_table(path: Path, spec: MarketSpec, *, parquet: bool) -> Transitions:
    """The rows of a table.

    Columns: transition_id, instrument, agent_id, episode_id, timestamp (nanoseconds, or ISO 8601, UTC without a
    zone), each feature by its name, each feature of the next state as `next.NAME`, action (a name or an index;
    `action[0]`, `action[1]` ... where actions are vectors), reward, done; perhaps domain. Others are ignored.

    Raises:
        WireError: a column is missing, or a value cannot be used; names row and column.
    """
    table = _read(path, parquet=parquet)
    vector = [f"action[{k}]" for k in range(spec.action_size)]
    actions = ["action"] if spec.action_kind == "discrete" else vector
    following = [f"next.{name}" for name in spec.features]
    needed = [*_IDS, "timestamp", *spec.features, *following, *actions, "reward", "done"]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise WireError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(map(str, table.columns[:12]))}; "
            "nothing was judged; docs/rules.md names the columns"
        )
    if not len(table):
        raise WireError(f"{path}: no rows; nothing was judged")
    ids = [*_IDS, *(["domain"] if "domain" in table.columns else [])]
    action = _actions(path, table["action"], spec) if actions == ["action"] else _matrix(path, table, vector)
    return Transitions.of(
        spec,
        timestamp=_times(path, table["timestamp"]),
        **{name: table[name].astype(str).to_numpy(str) for name in ids},
        state=_matrix(path, table, list(spec.features)),
        next_state=_matrix(path, table, following),
        action=action,
        reward=_numbers(path, table["reward"]),
        done=_flags(path, table["done"]),
    )


def _read(path: Path, *, parquet: bool) -> pd.DataFrame:
    """Every value as text (CSV) or as stored (Parquet)."""
    try:
        if parquet:
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ArrowException) as error:
        raise WireError(
            f"{path} is neither JSON lines, a frame nor a table: {error}; nothing was judged"
        ) from error


def _times(path: Path, column: pd.Series) -> NDArray[np.int64]:
    """UTC nanoseconds."""
    if pd.api.types.is_integer_dtype(column.dtype):
        return np.asarray(column.to_numpy(), np.int64)
    text = column.astype(str)
    if text.str.fullmatch(r"\d{1,19}").all():
        values = [int(one) for one in text]
        _check(path, column, np.array([one > _LATEST for one in values]), "does not fit into 64 bits")
        return np.array(values, np.int64)
    stored = pd.api.types.is_datetime64_any_dtype(column.dtype)
    parsed = pd.to_datetime(column, format=None if stored else "ISO8601", utc=True, errors="coerce")
    _check(path, column, parsed.isna().to_numpy(), "is no time")
    return parsed.dt.tz_localize(None).to_numpy("datetime64[ns]").astype(np.int64)


def _matrix(path: Path, table: pd.DataFrame, names: list[str]) -> NDArray[np.float32]:
    return np.stack([_numbers(path, table[name]) for name in names], axis=1)


def _numbers(path: Path, column: pd.Series) -> NDArray[np.float32]:
    """Numbers that are finite as float32."""
    with np.errstate(over="ignore"):
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64).astype(np.float32)
    _check(path, column, ~np.isfinite(values), "is no finite number")
    return values


def _actions(path: Path, column: pd.Series, spec: MarketSpec) -> NDArray[np.int32]:
    """Indices, of names or of themselves."""
    index = {str(number): number for number in range(spec.action_size)}
    index |= {name: number for number, name in enumerate(spec.action_names)}
    found = column.astype(str).map(index)
    _check(path, column, found.isna().to_numpy(), f"is no action; there are {', '.join(index)}")
    return np.asarray(found.to_numpy(), np.int32)


def _flags(path: Path, column: pd.Series) -> NDArray[np.uint8]:
    text = column.astype(str)
    _check(path, column, ~text.isin([*_TRUE, *_FALSE]).to_numpy(), "is neither 0 nor 1")
    return np.asarray(text.isin(_TRUE).to_numpy(), np.uint8)


def _check(path: Path, column: pd.Series, bad: NDArray[np.bool_], what: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        _refuse(path, row, str(column.name), f"{column.iloc[row]!r} {what}")


def _refuse(path: Path, row: int, column: str, what: str) -> NoReturn:
    raise WireError(
        f"{path}, row {row + 1} (line {row + 2} of a CSV), column {column}: {what}; nothing was judged; correct the row"
    )
