"""What a replay store keeps of its rows, slot by slot: what training reads of them, and how they were judged.

Of a row's identifiers nothing is kept but its domain, as a code and elsewhere (`replay.store.domains`): nobody asks
a replay store for a row by its name, and five identifiers would be more than half as long as both states. States are
columns; all else lies in one record a slot, because a column of its own costs a cache miss a row.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from janus_memory.errors import CheckpointError, ReplayError, WireError
from janus_memory.hippocampus.records import blank
from janus_memory.replay.store.passes import Judged, Source
from janus_memory.transition import MarketSpec, Transitions

if TYPE_CHECKING:
    from janus_memory.replay.law.sum_tree import Backend
    from janus_memory.store.arrays import Arrays

__all__ = ["NOTHING", "Incoming", "Slots", "check_values", "lay_around", "put_narrow"]

# The violations of rows that have none.
NOTHING = np.zeros(0, np.float32)

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_KEPT = ("state", "action", "reward", "next_state", "next_action", "done", "timestamp")
_WIDE = ("state", "next_state")
# What is kept of a row besides.
_JUDGED = {
    "generation": np.uint32,
    "td_error": np.float32,
    "violation": np.float32,
    "priority": np.float64,
    "judged": np.bool_,
    "replay_count": np.int32,
    "last_replayed": np.int64,
}
_kept_of = operator.attrgetter(*_KEPT)


class Incoming(NamedTuple):
    """Columns of n new rows, shaped for the market, of its dtypes and contiguous."""

    state: F4
    action: NDArray[Any]
    reward: F4
    next_state: F4
    next_action: NDArray[Any]
    done: NDArray[np.uint8]
    timestamp: I8


class Slots:
    """The columns, allocated once and changed in place. Single writer.

    Attributes:
        source: what a draw reads; `capacity` entries each.
        target: what an update writes.
        stamps: how often each row was drawn, int32, and when last, int64.
    """

    def __init__(
        self,
        spec: MarketSpec,
        capacity: int,
        backend: Backend = "numba",
        *,
        states: tuple[F4, F4] | None = None,
    ) -> None:
        """Empty slots, over these columns for states and next states if they are given."""
        self._spec = spec
        self._put = put if backend == "numba" else _put_numpy
        like = Transitions.empty(spec)
        wide = states or tuple(np.zeros((capacity, *like.state.shape[1:]), np.float32) for _ in _WIDE)
        narrow: Arrays = {name: getattr(like, name) for name in _KEPT if name not in _WIDE}
        narrow |= {name: np.zeros(0, dtype) for name, dtype in _JUDGED.items()}
        own: dict[str, Any] = dict(zip(_WIDE, wide, strict=True)) | blank(narrow, capacity)
        self._columns = own
        self._records: NDArray[np.void] = own["generation"].base
        self._fields = [(name, own[name].shape[1:], own[name].dtype) for name in _KEPT]
        self.source = Source(**{name: own[name] for name in Source._fields})
        self.target = Judged(**{name: own[name] for name in Judged._fields})
        self.stamps: tuple[I4, I8] = (own["replay_count"], own["last_replayed"])
        # As `put` takes them.
        self.written = (own["state"], own["next_state"], self._records)

    def incoming(self, rows: Transitions) -> Incoming:
        """The columns of `rows` that are kept, as they are wherever that is possible.

        Raises:
            WireError: a column is not shaped for this market.
        """
        shape, given = rows.timestamp.shape, _kept_of(rows)
        for (_, tail, dtype), column in zip(self._fields, given):  # noqa: B905  (both as long as `_KEPT`, and this is timed)
            if column.dtype is not dtype or column.shape != shape + tail or not column.flags.c_contiguous:
                return self._fitted(shape, given)
        return Incoming._make(given) if len(shape) == 1 else self._fitted(shape, given)

    def _fitted(self, shape: tuple[int, ...], given: tuple[NDArray[Any], ...]) -> Incoming:
        """The columns as copies of the right dtypes, or the refusal of the first that does not fit."""
        fitting: list[NDArray[Any]] = []
        for (name, tail, dtype), column in zip(self._fields, given, strict=True):
            if column.shape != shape + tail or len(shape) != 1:
                raise WireError(
                    f"market {self._spec.name}: column {name} of shape {column.shape} does not fit rows of "
                    f"{(*shape, *tail)}; the store is unchanged; send the market's own feature set"
                )
            fitting.append(_as(column, dtype))
        return Incoming._make(fitting)

    def write(self, rows: Incoming, slots: I4, priority: float, violation: F4) -> None:
        """Write rows that nobody has judged, as if one by one: of those that name the same slot the last one stays.

        Args:
            rows: n rows.
            slots: int32 [n], inside the columns.
            priority: that of all of them.
            violation: float32 [n], or [0] for none.
        """
        self._put(slots, priority, violation, *rows, *self.written)

    def held(self, size: int) -> Arrays:
        """The first `size` slots themselves; equal histories give equal bytes."""
        return {name: column[:size] for name, column in self._columns.items()}

    @classmethod
    def restore(
        cls,
        spec: MarketSpec,
        capacity: int,
        arrays: Mapping[str, NDArray[np.generic]],
        backend: Backend = "numba",
        *,
        own: bool = False,
    ) -> Slots:
        """What a snapshot was taken of.

        Args:
            spec: the shape of the market's rows.
            capacity: how many rows are held at most.
            arrays: the snapshot.
            backend: both write the same bytes.
            own: the arrays belong to nobody else and may be kept.

        Raises:
            KeyError: a part is missing.
            CheckpointError: a part is not shaped for this market.
        """
        n = len(arrays["generation"])
        states: Any = tuple(arrays[name] for name in _WIDE)
        kept = own and all(
            column.shape == (capacity, spec.state_size) and column.dtype == np.float32 for column in states
        )
        slots = cls(spec, capacity, backend, states=states if kept else None)
        for name, column in slots._columns.items():
            values = arrays[name]
            if values.shape != (n, *column.shape[1:]) or n > capacity:
                raise CheckpointError(
                    f"market {spec.name}: column {name} of the snapshot has shape {values.shape}, expected "
                    f"{(n, *column.shape[1:])} of at most {capacity} rows; nothing was restored; use the file that "
                    "belongs to these settings, or start with an empty store"
                )
            if values is not column:
                column[:n] = values
        return slots


def _as(given: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A copy of that type; a number that leaves its range becomes infinite, and is refused as such."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(given, dtype)


def check_values(reward: F4, violation: F4) -> None:
    """Refuse what would later make a priority that is no number; violation float32 [n], or [0] for none.

    Raises:
        ReplayError: a reward that is not finite, a violation outside [0, 1].
    """
    bad = ~np.isfinite(reward)
    if len(violation):
        bad |= ~((violation >= 0) & (violation <= 1))
    if bad.any():
        row = int(bad.argmax())
        v = violation[row] if len(violation) else 0.0
        raise ReplayError(
            f"row {row} has reward {reward[row]} and violation {v}; nothing was inserted; rewards are "
            "finite and violations lie in [0, 1]"
        )


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False)(function)
    return kernel


@_compiled
def _lay(given: NDArray[Any], slots: I4, column: NDArray[Any]) -> None:
    """column[slots[i]] = given[i]; indices are unsigned, which lets the loop over a row become vectors."""
    for i in range(slots.size):
        row, slot = np.uint64(i), np.uint64(slots[i])
        for j in range(given.shape[1]):
            column[slot, j] = given[row, j]


@_compiled
def _lay_wide(given: F4, slots: I4, column: F4) -> None:
    """The same for states, two numbers at a time where their count is even."""
    if given.shape[1] % 2 == 0:
        _lay(given.view(np.uint64), slots, column.view(np.uint64))
    else:
        _lay(given, slots, column)


@_compiled
def lay_around(given: F4, first: int, column: F4) -> None:
    """Rows first, first + 1 and so on of the column, and then those from 0 on, become those given."""
    n, size, width = len(given), len(column), column.shape[1]
    values, out = given.reshape(-1), column.reshape(-1)
    row, slot = 0, first
    while row < n:
        run = min(n - row, size - slot)
        a, b = np.uint64(row * width), np.uint64(slot * width)
        for i in range(np.uint64(run * width)):
            out[b + i] = values[a + i]
        row, slot = row + run, 0


@_compiled
def put(  # noqa: PLR0917  (one flat call: a record of arrays takes longer to unpack than to use)
    slots: I4,
    new_priority: float,
    new_violation: F4,
    new_state: F4,
    new_action: NDArray[Any],
    new_reward: F4,
    new_next_state: F4,
    new_next_action: NDArray[Any],
    new_done: NDArray[np.uint8],
    new_timestamp: I8,
    state: F4,
    next_state: F4,
    records: Any,
) -> None:
    """The compiled step of `Slots.write`; the columns as `Slots.written` has them."""
    put_narrow(
        slots,
        new_priority,
        new_violation,
        new_action,
        new_reward,
        new_next_action,
        new_done,
        new_timestamp,
        records,
    )
    _lay_wide(new_state, slots, state)
    _lay_wide(new_next_state, slots, next_state)


@_compiled
def put_narrow(  # noqa: PLR0917  (as put)
    slots: I4,
    new_priority: float,
    new_violation: F4,
    new_action: NDArray[Any],
    new_reward: F4,
    new_next_action: NDArray[Any],
    new_done: NDArray[np.uint8],
    new_timestamp: I8,
    records: Any,
) -> None:
    """All of `put` but the states."""
    given = new_violation.size > 0
    for i in range(slots.size):
        row = np.uint64(i)
        record = records[np.uint64(slots[i])]
        record.timestamp = new_timestamp[row]
        record.reward = new_reward[row]
        record.done = new_done[row]
        record.priority = new_priority
        record.violation = new_violation[row] if given else np.float32(0)
        record.generation += np.uint32(1)
        record.td_error = 0
        record.judged = False
        record.replay_count = 0
        record.last_replayed = 0
        # numba drops the branch that does not fit the actions' dimensions.
        if new_action.ndim == 1:
            record.action = new_action[row]
            record.next_action = new_next_action[row]
        else:
            for j in range(new_action.shape[1]):
                record.action[j] = new_action[row, j]
                record.next_action[j] = new_next_action[row, j]


def _put_numpy(  # noqa: PLR0917  (as put)
    slots: I4,
    new_priority: float,
    new_violation: F4,
    new_state: F4,
    new_action: NDArray[Any],
    new_reward: F4,
    new_next_state: F4,
    new_next_action: NDArray[Any],
    new_done: NDArray[np.uint8],
    new_timestamp: I8,
    state: F4,
    next_state: F4,
    records: Any,
) -> None:
    """`put` without compiled code; of values assigned to one slot numpy keeps the last."""
    state[slots], next_state[slots] = new_state, new_next_state
    np.add.at(records["generation"], slots, np.uint32(1))
    values = {
        "timestamp": new_timestamp,
        "reward": new_reward,
        "done": new_done,
        "priority": new_priority,
        "violation": new_violation if len(new_violation) else 0,
        "action": new_action,
        "next_action": new_next_action,
    }
    for name, value in (
        values | dict.fromkeys(("td_error", "judged", "replay_count", "last_replayed"), 0)
    ).items():
        records[name][slots] = value
