"""The episodic buffer (E1): the last `capacity` accepted transitions of a market, first in, first out.

Columnar: one preallocated array per field, written in blocks. A row lives in a slot; slots fill in order and are
then overwritten, never emptied. Each slot counts how often it has been written (its generation), so that what was
learned of a row is never booked on the one that took its place. The ring is ordered by arrival; questions about
time, episode and domain are answered in the total order (timestamp, transition_id), because rows may arrive out of
order. Rows equal in both follow their arrival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import CheckpointError, ConfigError, ReplayError, WireError
from janus_memory.hippocampus.index import SortedRuns, text_keys
from janus_memory.hippocampus.metadata import Metadata
from janus_memory.transition import ID_BYTES, Transitions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import MarketSpec

__all__ = ["EpisodicBuffer"]

_STAGED_SHARE = 64
_MAX_STAGED = 1024


class EpisodicBuffer:
    """A ring of transitions. Single owner: even a question may write what is staged or reorder an index.

    Attributes:
        spec: the shape of the market's rows.
        capacity: how many rows are held at most.
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
        self._ring = Transitions.empty(spec, capacity)
        self._metadata = Metadata.empty(capacity)
        self._columns = tuple(self._ring.arrays().items())
        self._known = tuple(self._metadata.arrays().items())
        self._generation = np.zeros(capacity, np.uint32)
        self._arrival = np.zeros(capacity, np.int64)
        self._arrived = self._size = self._next = 0
        self._stage = Transitions.empty(spec, max(1, min(capacity // _STAGED_SHARE, _MAX_STAGED)))
        self._n_staged = 0
        ring = self._ring
        self._by_time = SortedRuns(lambda slots: ring.timestamp[slots], self._generation)
        self._by_episode = SortedRuns(lambda slots: text_keys(ring.episode_id[slots]), self._generation)
        self._by_domain = SortedRuns(lambda slots: text_keys(ring.domain[slots]), self._generation)
        self._indexes = (self._by_time, self._by_episode, self._by_domain)

    def __len__(self) -> int:
        self._write_staged()
        return self._size

    @property
    def arrived(self) -> int:
        """Rows ever written, those that were pushed out included."""
        return self._arrived + self._n_staged

    @property
    def columns(self) -> Transitions:
        """The ring's own arrays, `capacity` rows; slots 0 .. len - 1 hold rows. Not to be written to."""
        self._write_staged()
        return self._ring

    @property
    def metadata(self) -> Metadata:
        """What is known of each slot's row, `capacity` entries, to be changed in place; zero for a new row."""
        self._write_staged()
        return self._metadata

    @property
    def generation(self) -> NDArray[np.uint32]:
        """How often each slot has been written, uint32 [capacity]; 0 for never. Not to be written to."""
        self._write_staged()
        return self._generation

    @property
    def nbytes(self) -> int:
        """Bytes of every array held: columns, metadata, generations, arrivals, stage and indexes."""
        columns = (*self._ring.arrays().values(), *self._stage.arrays().values())
        own = (*self._metadata.arrays().values(), self._generation, self._arrival)
        return sum(a.nbytes for a in (*columns, *own)) + sum(index.nbytes for index in self._indexes)

    def extend(self, rows: Transitions) -> NDArray[np.int32]:
        """Write rows in the order given over the ring's next slots. Equal to extending by one at a time.

        Returns:
            The slots of the last `capacity` rows, int32 [min(n, capacity)].

        Raises:
            WireError: a column is not shaped for this market; nothing was written.
        """
        self.check(rows)
        self._write_staged()
        return self._turn(rows, len(rows))

    def append(self, row: Transitions) -> None:
        """Extend by a single row, which is staged: a block is written when the stage is full or something is read.

        Raises:
            WireError: not one row, or a column is not shaped for this market; nothing was written.
        """
        if len(row) != 1:
            raise WireError(
                f"market {self.spec.name}: append takes one row, not {len(row)}; the buffer is unchanged; "
                "give blocks to extend"
            )
        self.check(row)
        if self._n_staged == len(self._stage):
            self._write_staged()
        for name in Transitions.names():
            getattr(self._stage, name)[self._n_staged] = getattr(row, name)[0]
        self._n_staged += 1

    def write(self, rows: Transitions, slots: NDArray[np.int32]) -> None:
        """Write rows into slots that the caller has chosen. Equal to writing them one by one in the order given.

        Args:
            rows: n transitions.
            slots: int32 [n]; slots never written before are taken in ascending order. A slot may be named
                more than once: the last row stays.

        Raises:
            WireError: a column is not shaped for this market; nothing was written.
            ReplayError: a slot outside the ring or beyond the first one free; nothing was written.
        """
        self.check(rows)
        self._write_staged()
        size = self._size_after(slots, len(rows))
        arrivals = np.arange(self._arrived, self._arrived + len(rows))
        np.maximum.at(self._arrival, slots, arrivals)
        np.add.at(self._generation, slots, np.uint32(1))
        stays = self._arrival[slots] == arrivals
        if not stays.all():
            rows, slots = rows.take(stays), slots[stays]
        self._fill(slots, rows, None)
        self._arrived += len(arrivals)
        if size > self._size:
            self._size, self._next = size, size % self.capacity
        for index in self._indexes:
            index.touch(slots)

    def current(self, slots: NDArray[np.int32], generations: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Whether each slot still holds the row that it held at that generation, bool [n]."""
        inside = (slots >= 0) & (slots < len(self))
        same: NDArray[np.bool_] = self._generation[np.where(inside, slots, 0)] == generations
        return inside & same

    def rows(self) -> Transitions:
        """All rows held, in arrival order."""
        return self.columns.take(np.argsort(self._arrival[: self._size], kind="stable"))

    def slots_between(self, start_ns: int, stop_ns: int) -> NDArray[np.int32]:
        """Slots of the rows with start_ns <= timestamp < stop_ns, int32, in the total order."""
        self._write_staged()
        return self._sorted(self._by_time.find(start_ns, stop_ns - 1))

    def slots_last(self, duration_ns: int) -> NDArray[np.int32]:
        """Slots of the rows less than `duration_ns` older than the newest timestamp, int32, in the total order."""
        self._write_staged()
        newest = self._by_time.highest()
        if newest is None:
            return np.empty(0, np.int32)
        return self._sorted(self._by_time.find(newest - duration_ns + 1, newest))

    def slots_episode(self, episode_id: str | bytes) -> NDArray[np.int32]:
        """Slots of an episode, whichever instrument or agent names it, int32, in the total order."""
        return self._named(self._by_episode, self._ring.episode_id, episode_id)

    def slots_domain(self, name: str | bytes) -> NDArray[np.int32]:
        """Slots of a domain, int32, in the total order."""
        return self._named(self._by_domain, self._ring.domain, name)

    def between(self, start_ns: int, stop_ns: int) -> Transitions:
        """Rows with start_ns <= timestamp < stop_ns, in the total order."""
        return self._ring.take(self.slots_between(start_ns, stop_ns))

    def last(self, duration_ns: int) -> Transitions:
        """Rows less than `duration_ns` older than the newest timestamp held, in the total order."""
        return self._ring.take(self.slots_last(duration_ns))

    def episode(self, episode_id: str | bytes) -> Transitions:
        """Rows of an episode, whichever instrument or agent names it, in the total order."""
        return self._ring.take(self.slots_episode(episode_id))

    def domain(self, name: str | bytes) -> Transitions:
        """Rows of a domain, in the total order."""
        return self._ring.take(self.slots_domain(name))

    def snapshot(self) -> Arrays:
        """Copies of all state by slot; equal histories give equal bytes. The indexes are made anew from it."""
        held = slice(0, len(self))
        arrays = {**self._ring.arrays("rows/"), **self._metadata.arrays("metadata/")}
        arrays |= {"generation": self._generation, "arrival": self._arrival}
        counters = np.array([self._arrived, self._next, self.capacity], np.int64)
        return {**{name: values[held].copy() for name, values in arrays.items()}, "counters": counters}

    @classmethod
    def restore(
        cls, spec: MarketSpec, capacity: int, arrays: Mapping[str, NDArray[np.generic]]
    ) -> EpisodicBuffer:
        """The buffer a snapshot was taken of, in every slot and generation.

        Under another capacity the newest arrivals take the slots from the first on, at a generation that no slot
        has had, so that whoever holds a slot and its generation from before is told that they are outdated.

        Raises:
            CheckpointError: a part is missing or not shaped for this market.
        """
        buffer = cls(spec, capacity)
        try:
            rows = Transitions.from_arrays(arrays, "rows/")
            metadata = Metadata.from_arrays(arrays, "metadata/")
            generation, arrival = arrays["generation"], arrays["arrival"]
            arrived, following, held_by = (int(value) for value in arrays["counters"])
            buffer.check(rows)
        except (KeyError, WireError) as error:
            raise CheckpointError(
                f"market {spec.name}: no snapshot of this market's buffer: {error}; nothing was restored; "
                "use the file that belongs to these settings, or start with an empty buffer"
            ) from error
        if held_by != capacity:
            newest = np.argsort(arrival)[-capacity:]
            rows, metadata, arrival = rows.take(newest), metadata.take(newest), arrival[newest]
            generation = np.full(len(rows), generation.max(initial=0) + 1, np.uint32)
            following = len(rows) % capacity
        buffer._fill(slice(0, len(rows)), rows, metadata)
        buffer._generation[: len(rows)], buffer._arrival[: len(rows)] = generation, arrival
        buffer._arrived, buffer._size, buffer._next = arrived, len(rows), following
        for index in buffer._indexes:
            index.rebuild()
        return buffer

    def check(self, rows: Transitions) -> None:
        """Refuse rows that are not shaped for this market.

        Raises:
            WireError: a column is not; its name and shape.
        """
        n = len(rows)
        for name, column in self._columns:
            shape = getattr(rows, name).shape
            if shape != (n, *column.shape[1:]):
                raise WireError(
                    f"market {self.spec.name}: column {name} of shape {shape} does not fit rows of "
                    f"{(n, *column.shape[1:])}; the buffer is unchanged; send the market's own feature set"
                )

    def _write_staged(self) -> None:
        if self._n_staged:
            n, self._n_staged = self._n_staged, 0
            self._turn(self._stage, n)

    def _turn(self, rows: Transitions, n: int) -> NDArray[np.int32]:
        """Write the first n of `rows` over the ring's next slots and say where the last of them lie."""
        skipped = max(0, n - self.capacity)
        start = (self._next + skipped) % self.capacity
        head = min(n - skipped, self.capacity - start)
        pieces = [(slice(start, start + head), slice(skipped, skipped + head))]
        if skipped + head < n:
            pieces.append((slice(0, n - skipped - head), slice(skipped + head, n)))
        for there, here in pieces:
            self._fill(there, rows.take(here), None)
            self._arrival[there] = np.arange(self._arrived + here.start, self._arrived + here.stop)
        self._count_turn(n)
        slots = np.concatenate([np.arange(there.start, there.stop, dtype=np.int32) for there, _ in pieces])
        for index in self._indexes:
            index.touch(slots)
        return slots

    def _count_turn(self, n: int) -> None:
        """Count n rows as written from the next slot on, those included that were overwritten by the same block."""
        turns, rest = divmod(n, self.capacity)
        stop = self._next + rest
        if turns:
            self._generation += np.uint32(turns)
        self._generation[self._next : stop] += np.uint32(1)
        self._generation[: max(0, stop - self.capacity)] += np.uint32(1)
        self._arrived += n
        self._size = min(self._size + n, self.capacity)
        self._next = stop % self.capacity

    def _fill(self, slots: slice | NDArray[np.int32], rows: Transitions, metadata: Metadata | None) -> None:
        """Write rows and what is known of them: nothing, without metadata."""
        for name, column in self._columns:
            column[slots] = getattr(rows, name)
        for name, column in self._known:
            column[slots] = 0 if metadata is None else getattr(metadata, name)

    def _size_after(self, slots: NDArray[np.int32], n: int) -> int:
        """How many rows are held once `slots` have been written, which must be n that lie in the ring."""
        if slots.shape != (n,):
            raise ReplayError(
                f"market {self.spec.name}: {n} rows for slots of shape {slots.shape}; nothing was written; "
                "name one slot a row"
            )
        size = max(self._size, int(slots.max(initial=-1)) + 1)
        free = np.zeros(size - self._size, np.bool_)
        free[slots[slots >= self._size] - self._size] = True
        if size > self.capacity or slots.min(initial=0) < 0 or not free.all():
            raise ReplayError(
                f"market {self.spec.name}: slots {slots.min()} to {slots.max()} of a ring of {self.capacity} with "
                f"{self._size} rows; nothing was written; fill free slots in order, then overwrite"
            )
        return size

    def _named(self, index: SortedRuns, column: NDArray[np.bytes_], name: str | bytes) -> NDArray[np.int32]:
        self._write_staged()
        wanted = name.encode() if isinstance(name, str) else name
        if len(wanted) > ID_BYTES:
            return np.empty(0, np.int32)
        key = int(text_keys(np.array([wanted], column.dtype))[0])
        hits = index.find(key, key)
        return self._sorted(hits[column[hits] == wanted])

    def _sorted(self, slots: NDArray[np.int32]) -> NDArray[np.int32]:
        """The slots in the total order of their rows; identifiers are compared only where timestamps are equal."""
        time = self._ring.timestamp[slots]
        by_time = np.argsort(time, kind="stable")
        slots, time = slots[by_time], time[by_time]
        equal = np.zeros(len(slots) + 1, np.bool_)
        equal[1:-1] = time[1:] == time[:-1]
        tied = np.flatnonzero(equal[1:] | equal[:-1])
        ties = slots[tied]
        columns = (self._arrival[ties], self._ring.transition_id[ties], time[tied])
        slots[tied] = ties[np.lexsort(columns)]
        return slots
