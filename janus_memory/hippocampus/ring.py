"""The slots of the episodic buffer: rows column by column, what is known of each, and when it was written.

A row lives in a slot; slots fill in order and are then overwritten, never emptied. Each slot counts how often it
has been written (its generation), so that what was learned of a row is never booked on the one that took its place.
"""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from janus_memory.errors import CheckpointError, ConfigError, ReplayError, WireError
from janus_memory.hippocampus.metadata import Metadata
from janus_memory.hippocampus.records import interleaved
from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import MarketSpec

__all__ = ["Columns", "Ring"]

Columns = tuple["NDArray[Any]", ...]

# Consecutive slots are written by slices where a slice takes at least this many rows on average.
_RUN_ROWS = 16
# What every draw reads of a row besides its states; it lies with what is known of the row.
_NARROW = ("timestamp", "action", "reward", "next_action", "done")
_columns_of = operator.attrgetter(*Transitions.names())


class Ring:
    """Preallocated arrays, changed in place. Single writer; the columns it hands out are its own.

    Attributes:
        spec: the shape of the market's rows.
        capacity: how many rows are held at most.
        columns: `capacity` rows, of which the first `size` are held.
        metadata: what is known of them, zero for a new row.
        generation: uint32 [capacity], how often each slot has been written; 0 for never.
        arrival: int64 [capacity], how many rows had been written before each slot's.
        arrived: rows ever written.
        size: rows held.
    """

    def __init__(self, spec: MarketSpec, capacity: int) -> None:
        """An empty ring.

        Raises:
            ConfigError: the capacity is below one row.
        """
        if capacity < 1:
            raise ConfigError(
                f"market {spec.name}: a buffer of {capacity} rows holds nothing; set ingest.capacity >= 1"
            )
        self.spec = spec
        self.capacity = capacity
        columns = Transitions.empty(spec, capacity).arrays()
        narrow = {name: columns[name] for name in _NARROW} | Metadata.empty(capacity).arrays()
        records = interleaved(narrow | {"generation": np.zeros(capacity, np.uint32)})
        self.columns = Transitions.from_arrays(columns | records)
        self.metadata = Metadata.from_arrays(records)
        self.generation: NDArray[np.uint32] = records["generation"]  # type: ignore[assignment]  # one mapping holds every dtype
        self.arrival = np.zeros(capacity, np.int64)
        self.arrived = self.size = self._next = 0
        self._columns: Columns = _columns_of(self.columns)
        self._known = tuple(self.metadata.arrays().values())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays held."""
        arrays = (*self._columns, *self._known, self.generation, self.arrival)
        owners = {id(owner): owner for a in arrays for owner in (a if a.base is None else a.base,)}
        return sum(owner.nbytes for owner in owners.values())

    def checked(self, rows: Transitions) -> Columns:
        """The columns of `rows`, in their canonical order.

        Raises:
            WireError: a column is not shaped for this market.
        """
        n = len(rows)
        values: Columns = _columns_of(rows)
        for i, (column, own) in enumerate(zip(values, self._columns, strict=True)):
            if column.shape[:1] != (n,) or column.shape[1:] != own.shape[1:]:
                raise WireError(
                    f"market {self.spec.name}: column {Transitions.names()[i]} of shape {column.shape} does not "
                    f"fit rows of {(n, *own.shape[1:])}; the buffer is unchanged; send the market's own feature set"
                )
        return values

    def extend(self, values: Columns, n: int) -> NDArray[np.int32]:
        """Write the first n rows of checked columns over the ring's next slots, as if one by one.

        Returns:
            The slots of the last `capacity` of them, int32 [min(n, capacity)].
        """
        skipped = max(0, n - self.capacity)
        start = (self._next + skipped) % self.capacity
        turn = min(n, skipped + self.capacity - start)
        slots = self._lay(start, values, skipped, turn)
        if turn < n:
            slots = np.concatenate([slots, self._lay(0, values, turn, n)])
        self._count(n)
        return slots

    def write(self, rows: Transitions, slots: NDArray[np.int32]) -> None:
        """Write rows into given slots, as if one by one: of those that name the same slot the last one stays.

        Raises:
            WireError: a column is not shaped for this market; nothing was written.
            ReplayError: a slot outside the ring or beyond the first one free; nothing was written.
        """
        values, n = self.checked(rows), len(rows)
        size = self._size_after(slots, n)
        starts = np.flatnonzero(np.diff(slots, prepend=slots[:1] - 2) != 1).tolist()
        if len(starts) <= 2 + n // _RUN_ROWS:
            for first, last in itertools.pairwise([*starts, n]):
                self._lay_run(int(slots[first]), values, first, last)
        else:
            self._scatter(values, slots)
        self.arrived += n
        if size > self.size:
            self.size, self._next = size, size % self.capacity

    def current(self, slots: NDArray[np.int32], generations: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Whether each slot still holds the row that it held at that generation, bool [n]."""
        inside = (slots >= 0) & (slots < self.size)
        same: NDArray[np.bool_] = self.generation[np.where(inside, slots, 0)] == generations
        return inside & same

    def arrival_order(self) -> NDArray[np.intp]:
        """The slots held, from the oldest arrival to the newest."""
        return np.argsort(self.arrival[: self.size], kind="stable")

    def snapshot(self) -> Arrays:
        """Copies of all state by slot; equal histories give equal bytes."""
        arrays = {**self.columns.arrays("rows/"), **self.metadata.arrays("metadata/")}
        arrays |= {"generation": self.generation, "arrival": self.arrival}
        counters = np.array([self.arrived, self._next, self.capacity], np.int64)
        return {**{name: values[: self.size].copy() for name, values in arrays.items()}, "counters": counters}

    @classmethod
    def restore(cls, spec: MarketSpec, capacity: int, arrays: Mapping[str, NDArray[np.generic]]) -> Ring:
        """The ring a snapshot was taken of, in every slot and generation.

        Under another capacity the newest arrivals take the slots from the first on, at a generation that no slot
        has had, so that whoever holds a slot and its generation from before is told that they are outdated.

        Raises:
            CheckpointError: a part is missing or not shaped for this market.
        """
        ring = cls(spec, capacity)
        try:
            rows, metadata = (
                Transitions.from_arrays(arrays, "rows/"),
                Metadata.from_arrays(arrays, "metadata/"),
            )
            generation, arrival = arrays["generation"], arrays["arrival"]
            ring.arrived, ring._next, held_by = (int(value) for value in arrays["counters"])
            ring.checked(rows)
        except (KeyError, WireError) as error:
            raise CheckpointError(
                f"market {spec.name}: no snapshot of this market's buffer: {error}; nothing was restored; "
                "use the file that belongs to these settings, or start with an empty buffer"
            ) from error
        if held_by != capacity:
            newest = np.argsort(arrival)[-capacity:]
            rows, metadata, arrival = rows.take(newest), metadata.take(newest), arrival[newest]
            generation = np.full(len(rows), generation.max(initial=0) + 1, np.uint32)
            ring._next = len(rows) % capacity
        ring.size = len(rows)
        own = (*ring._columns, *ring._known, ring.generation, ring.arrival)
        held = (*_columns_of(rows), *metadata.arrays().values(), generation, arrival)
        for column, values in zip(own, held, strict=True):
            column[: ring.size] = values
        return ring

    def _lay(self, start: int, values: Columns, first: int, last: int) -> NDArray[np.int32]:
        """Write rows [first, last) of `values` from slot `start` on, where they fit without a turn."""
        stop = start + last - first
        for column, given in zip(self._columns, values, strict=True):
            column[start:stop] = given[first:last]
        for known in self._known:
            known[start:stop] = 0
        self.arrival[start:stop] = np.arange(self.arrived + first, self.arrived + last)
        return np.arange(start, stop, dtype=np.int32)

    def _lay_run(self, start: int, values: Columns, first: int, last: int) -> None:
        """Write rows [first, last) of `values` into consecutive slots and count them."""
        self.generation[start : start + last - first] += np.uint32(1)
        self._lay(start, values, first, last)

    def _scatter(self, values: Columns, slots: NDArray[np.int32]) -> None:
        """Write each row into its slot and count it."""
        arrivals = np.arange(self.arrived, self.arrived + len(slots))
        np.maximum.at(self.arrival, slots, arrivals)
        np.add.at(self.generation, slots, np.uint32(1))
        stays = np.flatnonzero(self.arrival[slots] == arrivals)
        slots = slots[stays]
        for column, given in zip(self._columns, values, strict=True):
            column[slots] = given[stays]
        for known in self._known:
            known[slots] = 0

    def _count(self, n: int) -> None:
        """Count n rows from the next slot on, those included that were overwritten within their own block."""
        turns, rest = divmod(n, self.capacity)
        stop = self._next + rest
        if turns:
            self.generation += np.uint32(turns)
        self.generation[self._next : stop] += np.uint32(1)
        if stop > self.capacity:
            self.generation[: stop - self.capacity] += np.uint32(1)
        self.arrived += n
        self.size = min(self.size + n, self.capacity)
        self._next = stop % self.capacity

    def _size_after(self, slots: NDArray[np.int32], n: int) -> int:
        """How many rows are held once `slots` have been written, which must be n that lie in the ring."""
        if slots.shape != (n,):
            raise ReplayError(
                f"market {self.spec.name}: {n} rows for slots of shape {slots.shape}; nothing was written; "
                "name one slot a row"
            )
        size = max(self.size, int(slots.max(initial=-1)) + 1)
        gaps = size > self.size and len(np.unique(slots[slots >= self.size])) < size - self.size
        if gaps or size > self.capacity or slots.min(initial=0) < 0:
            raise ReplayError(
                f"market {self.spec.name}: slots {slots.min()} to {slots.max()} of a ring of {self.capacity} with "
                f"{self.size} rows; nothing was written; fill free slots without a gap, then overwrite"
            )
        return size
