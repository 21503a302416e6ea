"""Judge all rows of a frame at once (SPEC section 1). A verdict depends only on the record and the settings.

Each check first asks one cheap question of a whole column; only a column that fails is looked at row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from janus_memory.transition import ID_BYTES, UNKNOWN_ACTION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from janus_memory.transition import MarketSpec, Transitions
    from streams.codec import Frame, Ids

__all__ = ["Verdict", "judge", "latest_time"]

_NS_PER_MS = 1_000_000
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a frame's rows.

    Attributes:
        good: the rows that may be used, in the frame's order; maybe none.
        rejected: numbers of the other rows, counted from 0 in the frame, ascending.
        reasons: one for each rejected row: the first check that it failed.
    """

    good: Transitions
    rejected: tuple[int, ...]
    reasons: tuple[str, ...]


def latest_time(record_ms: int, max_skew_s: float) -> int:
    """The latest market time, ns, that a record with this Kafka timestamp may speak of."""
    return min(record_ms * _NS_PER_MS + round(max_skew_s * 1e9), _INT64_MAX)


def judge(frame: Frame, spec: MarketSpec, *, record_ms: int, max_skew_s: float) -> Verdict:
    """Separate the rows that may be used from those that may not.

    Args:
        frame: the columns of one record.
        spec: the market's shape.
        record_ms: the record's Kafka timestamp, UTC milliseconds.
        max_skew_s: how far ahead of it a row may be stamped, seconds.
    """
    latest = latest_time(record_ms, max_skew_s)
    reason_of: dict[int, str] = {}
    for bad, reason in _failures(frame, spec, latest):
        for row in np.flatnonzero(np.broadcast_to(bad, frame.n)).tolist():
            reason_of.setdefault(row, reason)
    rows = frame.rows()
    if not reason_of:
        return Verdict(rows, (), ())
    rejected = tuple(sorted(reason_of))
    keep = np.ones(frame.n, bool)
    keep[list(rejected)] = False
    return Verdict(rows.take(keep), rejected, tuple(reason_of[row] for row in rejected))


def _failures(frame: Frame, spec: MarketSpec, latest: int) -> Iterator[tuple[NDArray[np.bool_], str]]:
    """Masks of bad rows, bool [n] or [1], each with its reason, in the order of precedence."""
    for name, column in frame.ids.items():
        yield from _bad_ids(name, column)
    for name in ("state", "next_state", "reward"):
        yield from _not_finite(name, getattr(frame, name))
    if spec.action_kind == "discrete":
        yield from _out_of_range("action", frame.action, 0, spec.action_size)
        if frame.next_action is not None:
            yield from _out_of_range("next_action", frame.next_action, UNKNOWN_ACTION, spec.action_size)
    else:
        yield from _not_finite("action", frame.action)
        if frame.next_action is not None:
            unknown = np.isnan(frame.next_action).all(axis=1, keepdims=True)
            yield from _not_finite("next_action", np.where(unknown, np.float32(0), frame.next_action))
    if np.minimum.reduce(frame.timestamp) < 0:
        yield frame.timestamp < 0, "timestamp is negative"
    if np.maximum.reduce(frame.timestamp) > latest:
        yield frame.timestamp > latest, "timestamp is ahead of the record's Kafka timestamp"
    if np.maximum.reduce(frame.done) > 1:
        yield frame.done > 1, "done is neither 0 nor 1"


def _bad_ids(name: str, column: Ids) -> Iterator[tuple[NDArray[np.bool_], str]]:
    data, width = column.b, column.w
    if width <= ID_BYTES and 0 not in data and data.isascii():
        return
    values = np.frombuffer(data, f"S{width}")
    octets = np.frombuffer(data, np.uint8).reshape(-1, width)
    length = np.strings.str_len(values)
    for bad, what in (
        (length == 0, "is empty"),
        (length > ID_BYTES, f"is longer than {ID_BYTES} bytes"),
        (np.count_nonzero(octets, axis=1) != length, "contains NUL"),
        (_not_utf8(values, octets, data), "is not UTF-8"),
    ):
        if bad.any():
            yield bad, f"{name} {what}"


def _not_utf8(values: NDArray[np.bytes_], octets: NDArray[np.uint8], data: bytes) -> NDArray[np.bool_]:
    if data.isascii():
        return np.zeros(len(values), bool)
    # A sequence that runs from one row into the next would make two bad rows one good text.
    starts_inside = (octets[:, 0] & 0xC0) == 0x80
    if _is_utf8(data) and not starts_inside.any():
        return np.zeros(len(values), bool)
    return np.array([not _is_utf8(value) for value in values.tolist()], bool)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_finite(name: str, column: NDArray[Any]) -> Iterator[tuple[NDArray[np.bool_], str]]:
    finite = np.isfinite(column)
    if np.count_nonzero(finite) != finite.size:
        yield ~finite.reshape(len(column), -1).all(axis=1), f"{name} is NaN or infinite"


def _out_of_range(
    name: str, column: NDArray[Any], low: int, stop: int
) -> Iterator[tuple[NDArray[np.bool_], str]]:
    if np.minimum.reduce(column) < low or np.maximum.reduce(column) >= stop:
        yield (column < low) | (column >= stop), f"{name} is out of range 0..{stop - 1}"
