"""Transitions as columns, and the one total order in which everything is done (SPEC section 1).

A `Transitions` value is a batch of n rows held column by column. Identifiers are fixed-width
bytes (at most 64), so that comparison, sorting and equality are numpy's own. The total order is
(timestamp, transition_id bytes): never arrival, partition or offset.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from janus_memory.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ID_BYTES",
    "UNKNOWN_ACTION",
    "ActionKind",
    "MarketSpec",
    "Transitions",
    "feature_set_id",
    "fill_next_actions",
]

ID_BYTES = 64
UNKNOWN_ACTION = -1

ActionKind = Literal["discrete", "vector"]


def feature_set_id(features: Sequence[str]) -> str:
    """First 16 hex digits of SHA-256 over the feature names joined by newlines, in order."""
    return hashlib.sha256("\n".join(features).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class MarketSpec:
    """What a row of one market looks like.

    Attributes:
        name: the market; part of its topic's name.
        features: ordered feature names; the state has one float32 for each.
        action_kind: "discrete" (an int32 index) or "vector" (float32 of `action_size`).
        action_size: number of actions, or the length of the action vector.
        action_names: names of discrete actions, for rules and reports; may be empty.
        action_low, action_high: the box that the built-in policy chooses vector actions from, a number for each
            component; empty means -1 and 1.
    """

    name: str
    features: tuple[str, ...]
    action_kind: ActionKind
    action_size: int
    action_names: tuple[str, ...] = ()
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()

    @property
    def state_size(self) -> int:
        """Number of features d."""
        return len(self.features)

    @property
    def n_actions(self) -> int:
        """Number of discrete actions; 0 where actions are vectors."""
        return self.action_size if self.action_kind == "discrete" else 0

    @property
    def action_dim(self) -> int:
        """Components of a vector action; 0 where actions are discrete."""
        return self.action_size if self.action_kind == "vector" else 0

    @property
    def feature_set_id(self) -> str:
        """Hash of the ordered feature names, carried by every frame."""
        return feature_set_id(self.features)


@dataclass(frozen=True, slots=True)
class Transitions:
    """A batch of n transitions.

    Attributes:
        transition_id, instrument, agent_id, episode_id, domain: bytes [n], dtype S64.
        timestamp: int64 [n], UTC nanoseconds (market time).
        state, next_state: float32 [n, d].
        action, next_action: int32 [n] (discrete) or float32 [n, m] (vector). A next action that is
            not known is -1, or a row of NaN.
        reward: float32 [n], the trading system's own currency unit.
        done: uint8 [n], 1 where the episode ends with this row.
    """

    transition_id: NDArray[np.bytes_]
    instrument: NDArray[np.bytes_]
    agent_id: NDArray[np.bytes_]
    episode_id: NDArray[np.bytes_]
    domain: NDArray[np.bytes_]
    timestamp: NDArray[np.int64]
    state: NDArray[np.float32]
    action: NDArray[np.int32] | NDArray[np.float32]
    reward: NDArray[np.float32]
    next_state: NDArray[np.float32]
    next_action: NDArray[np.int32] | NDArray[np.float32]
    done: NDArray[np.uint8]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The column names, in their canonical order."""
        return tuple(f.name for f in dataclasses.fields(cls))

    @classmethod
    def empty(cls, spec: MarketSpec, n: int = 0) -> Transitions:
        """Zeroed rows shaped for a market."""
        ids = {
            name: np.zeros(n, f"S{ID_BYTES}")
            for name in ("transition_id", "instrument", "agent_id", "episode_id", "domain")
        }
        discrete = spec.action_kind == "discrete"
        action = np.zeros(n, np.int32) if discrete else np.zeros((n, spec.action_size), np.float32)
        return cls(
            **ids,
            timestamp=np.zeros(n, np.int64),
            state=np.zeros((n, spec.state_size), np.float32),
            action=action,
            reward=np.zeros(n, np.float32),
            next_state=np.zeros((n, spec.state_size), np.float32),
            next_action=np.full_like(action, UNKNOWN_ACTION if discrete else np.nan),
            done=np.zeros(n, np.uint8),
        )

    @classmethod
    def of(cls, spec: MarketSpec, *, timestamp: ArrayLike, **columns: ArrayLike) -> Transitions:
        """Rows made of the columns that one has.

        Args:
            spec: the market, which says the dtypes and widths.
            timestamp: int64 [n], UTC nanoseconds.
            columns: any other columns by name; a single value stands for all rows. Columns left out are empty
                as in `empty`, the domain is the instrument.

        Raises:
            WireError: an unknown column, one of another length or width, or an identifier of over 64 bytes.
        """
        n = len(np.atleast_1d(np.asarray(timestamp)))
        given = {"timestamp": timestamp, **columns}
        if "instrument" in given:
            given.setdefault("domain", given["instrument"])
        empty = cls.empty(spec, n)
        unknown = given.keys() - set(cls.names())
        if unknown:
            raise WireError(
                f"market {spec.name}: unknown column {min(unknown)!r}; nothing was built; "
                f"use {', '.join(cls.names())}"
            )
        for name, values in given.items():
            _fill_column(spec, name, getattr(empty, name), np.asarray(values))
        return empty

    @classmethod
    def concatenate(cls, parts: Sequence[Transitions]) -> Transitions:
        """All rows of `parts` (at least one), in the order given."""
        if len(parts) == 1:
            return parts[0]
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in cls.names()})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], prefix: str = "") -> Transitions:
        """The inverse of `arrays`."""
        return cls(**{name: arrays[prefix + name] for name in cls.names()})  # type: ignore[arg-type]  # one mapping holds every dtype

    def arrays(self, prefix: str = "") -> dict[str, NDArray[np.generic]]:
        """The columns by name, each name led by `prefix`."""
        return {prefix + name: getattr(self, name) for name in self.names()}

    def __len__(self) -> int:
        return len(self.timestamp)

    def take(self, rows: NDArray[np.intp] | NDArray[np.int32] | NDArray[np.bool_] | slice) -> Transitions:
        """The rows selected by indices, a mask or a slice."""
        return Transitions(**{name: getattr(self, name)[rows] for name in self.names()})

    def order(self) -> NDArray[np.intp]:
        """Indices that sort the rows into the total order (timestamp, transition_id)."""
        return np.lexsort((self.transition_id, self.timestamp))

    def sorted(self) -> Transitions:
        """The rows in the total order."""
        return self.take(self.order())

    def canonical_bytes(self) -> bytes:
        """Names, dtypes, shapes and little-endian values of all columns; equal rows give equal bytes."""
        parts: list[bytes] = []
        for name in self.names():
            column = np.ascontiguousarray(getattr(self, name))
            column = column.astype(column.dtype.newbyteorder("<"), copy=False)
            parts += [f"{name}|{column.dtype.str}|{column.shape}|".encode(), column.tobytes()]
        return b"".join(parts)


def _fill_column(spec: MarketSpec, name: str, column: NDArray[Any], values: NDArray[Any]) -> None:
    """Write values into a column: as many as there are rows, or a single one for all."""
    if values.dtype.kind == "U":
        values = np.strings.encode(values, "utf-8")
    if values.ndim and values.shape != column.shape:
        raise WireError(
            f"market {spec.name}: column `{name}` of shape {values.shape}, expected {column.shape}; nothing was "
            "built; give one value a row, or a single one for all rows"
        )
    if values.dtype.kind == "S" and values.dtype.itemsize > ID_BYTES:
        raise WireError(
            f"market {spec.name}: an identifier in column `{name}` has over {ID_BYTES} bytes; nothing was built; "
            "shorten it"
        )
    column[...] = values
    if column.dtype.kind in "iu" and (column != values).any():
        raise WireError(
            f"market {spec.name}: column `{name}` has values that are not {column.dtype}; nothing was built; give "
            "whole numbers in its range"
        )


def fill_next_actions(rows: Transitions) -> Transitions:
    """Fill unknown next actions from the successor in the same episode (SPEC section 1).

    The successor is the next row in total order of the same (instrument, agent_id, episode_id);
    it counts only if its state equals this row's next state bit for bit, else a row is missing
    between them and the next action stays unknown.

    Args:
        rows: transitions of one market in the total order.

    Returns:
        The same rows; only `next_action` differs.
    """
    n = len(rows)
    if n < 2:
        return rows
    by_episode = np.lexsort((np.arange(n), rows.episode_id, rows.agent_id, rows.instrument))
    here, there = by_episode[:-1], by_episode[1:]
    same = (
        (rows.instrument[here] == rows.instrument[there])
        & (rows.agent_id[here] == rows.agent_id[there])
        & (rows.episode_id[here] == rows.episode_id[there])
        & (rows.done[here] == 0)
        & (rows.next_state[here].view(np.uint32) == rows.state[there].view(np.uint32)).all(axis=1)
    )
    discrete = rows.action.ndim == 1
    unknown = rows.next_action[here] < 0 if discrete else np.isnan(rows.next_action[here]).any(axis=1)
    fill = same & unknown
    next_action = rows.next_action.copy()
    next_action[here[fill]] = rows.action[there[fill]]
    return dataclasses.replace(rows, next_action=next_action)
