"""The episodic buffer (E1): the last `capacity` accepted transitions of a market, first in, first out.

The ring is ordered by arrival; questions about time, episode and domain are answered in the total order (timestamp,
transition_id), because rows may arrive out of order. Rows equal in both follow their arrival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import WireError
from janus_memory.hippocampus.index import SortedRuns, text_keys
from janus_memory.hippocampus.ring import Ring
from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.hippocampus.metadata import Metadata
    from janus_memory.hippocampus.ring import Columns
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import MarketSpec

__all__ = ["EpisodicBuffer"]

_STAGED_SHARE = 64
_MAX_STAGED = 1024


class EpisodicBuffer:
    """A ring of transitions. Single owner: even a question may write what is staged or merge an index.

    Attributes:
        spec: the shape of the market's rows.
        capacity: how many rows are held at most.
    """

    def __init__(self, spec: MarketSpec, capacity: int) -> None:
        """An empty ring.

        Raises:
            ConfigError: the capacity is below one row.
        """
        self.spec = spec
        self.capacity = capacity
        self._own(Ring(spec, capacity))

    def _own(self, ring: Ring) -> None:
        """Take a ring as one's own, with nothing staged and its slots not indexed yet."""
        self._ring, self._n_staged = ring, 0
        stage = Transitions.empty(self.spec, max(1, min(self.capacity // _STAGED_SHARE, _MAX_STAGED)))
        self._stage: Columns = tuple(stage.arrays().values())
        rows = ring.columns
        self._by_time = SortedRuns(lambda slots: rows.timestamp[slots], ring.generation)
        self._by_episode = SortedRuns(lambda slots: text_keys(rows.episode_id[slots]), ring.generation)
        self._by_domain = SortedRuns(lambda slots: text_keys(rows.domain[slots]), ring.generation)
        self._indexes = (self._by_time, self._by_episode, self._by_domain)

    def __len__(self) -> int:
        return self._settled().size

    @property
    def arrived(self) -> int:
        """Rows ever written, those that were pushed out included."""
        return self._ring.arrived + self._n_staged

    @property
    def columns(self) -> Transitions:
        """The ring's own arrays, `capacity` rows; slots 0 .. len - 1 hold rows. Not to be written to."""
        return self._settled().columns

    @property
    def metadata(self) -> Metadata:
        """What is known of each slot's row, `capacity` entries, to be changed in place; zero for a new row."""
        return self._settled().metadata

    @property
    def generation(self) -> NDArray[np.uint32]:
        """How often each slot has been written, uint32 [capacity]; 0 for never. Not to be written to."""
        return self._settled().generation

    @property
    def nbytes(self) -> int:
        """Bytes of every array held: ring, stage and indexes."""
        stage = sum(column.nbytes for column in self._stage)
        return self._ring.nbytes + stage + sum(index.nbytes for index in self._indexes)

    def extend(self, rows: Transitions) -> NDArray[np.int32]:
        """Write rows in the order given over the ring's next slots. Equal to extending by one at a time.

        Returns:
            The slots of the last `capacity` rows, int32 [min(n, capacity)].

        Raises:
            WireError: a column is not shaped for this market; nothing was written.
        """
        values = self._ring.checked(rows)
        slots = self._settled().extend(values, len(rows))
        return self._touched(slots)

    def append(self, row: Transitions) -> None:
        """Extend by one row, which is staged: a block is written when the stage is full or something is read.

        Raises:
            WireError: not one row, or a column is not shaped for this market; nothing was written.
        """
        values = self._ring.checked(row)
        if len(row) != 1:
            raise WireError(
                f"market {self.spec.name}: append takes one row, not {len(row)}; the buffer is unchanged; "
                "give blocks to extend"
            )
        if self._n_staged == len(self._stage[0]):
            self._settled()
        here = slice(self._n_staged, self._n_staged + 1)
        for column, value in zip(self._stage, values, strict=True):
            column[here] = value
        self._n_staged += 1

    def write(self, rows: Transitions, slots: NDArray[np.int32]) -> None:
        """Write rows into slots that the caller has chosen. Equal to writing them one by one in the order given.

        Args:
            rows: n transitions.
            slots: int32 [n]. Free slots are filled without a gap. A slot may be named more than once:
                the last row stays.

        Raises:
            WireError: a column is not shaped for this market; nothing was written.
            ReplayError: a slot outside the ring or beyond the first one free; nothing was written.
        """
        self._settled().write(rows, slots)
        self._touched(slots)

    def current(self, slots: NDArray[np.int32], generations: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Whether each slot still holds the row that it held at that generation, bool [n]."""
        return self._settled().current(slots, generations)

    def rows(self) -> Transitions:
        """All rows held, in arrival order."""
        ring = self._settled()
        return ring.columns.take(ring.arrival_order())

    def slots_between(self, start_ns: int, stop_ns: int) -> NDArray[np.int32]:
        """Slots of the rows with start_ns <= timestamp < stop_ns, int32, in the total order."""
        self._settled()
        return self._sorted(self._by_time.find(start_ns, stop_ns - 1))

    def slots_last(self, duration_ns: int) -> NDArray[np.int32]:
        """Slots of the rows less than `duration_ns` older than the newest timestamp, int32, in the total order."""
        self._settled()
        newest = self._by_time.highest()
        if newest is None:
            return np.empty(0, np.int32)
        return self._sorted(self._by_time.find(newest - duration_ns + 1, newest))

    def slots_episode(self, episode_id: str | bytes) -> NDArray[np.int32]:
        """Slots of an episode, whichever instrument or agent names it, int32, in the total order."""
        return self._named(self._by_episode, self._ring.columns.episode_id, episode_id)

    def slots_domain(self, name: str | bytes) -> NDArray[np.int32]:
        """Slots of a domain, int32, in the total order."""
        return self._named(self._by_domain, self._ring.columns.domain, name)

    def between(self, start_ns: int, stop_ns: int) -> Transitions:
        """Rows with start_ns <= timestamp < stop_ns, in the total order."""
        return self._ring.columns.take(self.slots_between(start_ns, stop_ns))

    def last(self, duration_ns: int) -> Transitions:
        """Rows less than `duration_ns` older than the newest timestamp held, in the total order."""
        return self._ring.columns.take(self.slots_last(duration_ns))

    def episode(self, episode_id: str | bytes) -> Transitions:
        """Rows of an episode, whichever instrument or agent names it, in the total order."""
        return self._ring.columns.take(self.slots_episode(episode_id))

    def domain(self, name: str | bytes) -> Transitions:
        """Rows of a domain, in the total order."""
        return self._ring.columns.take(self.slots_domain(name))

    def snapshot(self) -> Arrays:
        """Copies of all state by slot; equal histories give equal bytes. The indexes are made anew from it."""
        return self._settled().snapshot()

    @classmethod
    def restore(
        cls, spec: MarketSpec, capacity: int, arrays: Mapping[str, NDArray[np.generic]]
    ) -> EpisodicBuffer:
        """The buffer a snapshot was taken of; under another capacity see `Ring.restore`.

        Raises:
            CheckpointError: a part is missing or not shaped for this market.
        """
        buffer = cls(spec, capacity)
        buffer._own(Ring.restore(spec, capacity, arrays))
        return buffer

    def _settled(self) -> Ring:
        """The ring, with everything written that was staged."""
        if self._n_staged:
            n, self._n_staged = self._n_staged, 0
            self._touched(self._ring.extend(self._stage, n))
        return self._ring

    def _touched(self, slots: NDArray[np.int32]) -> NDArray[np.int32]:
        for index in self._indexes:
            index.touch(slots)
        return slots

    def _named(self, index: SortedRuns, column: NDArray[np.bytes_], name: str | bytes) -> NDArray[np.int32]:
        self._settled()
        wanted = name.encode() if isinstance(name, str) else name
        key = int(text_keys(np.array([wanted], column.dtype))[0])
        hits = index.find(key, key)
        return self._sorted(hits[column[hits] == wanted])

    def _sorted(self, slots: NDArray[np.int32]) -> NDArray[np.int32]:
        """The slots in the total order of their rows; identifiers are compared only where timestamps are equal."""
        time = self._ring.columns.timestamp[slots]
        by_time = np.argsort(time, kind="stable")
        slots, time = slots[by_time], time[by_time]
        equal = np.zeros(len(slots) + 1, np.bool_)
        equal[1:-1] = time[1:] == time[:-1]
        tied = np.flatnonzero(equal[1:] | equal[:-1])
        ties = slots[tied]
        columns = (self._ring.arrival[ties], self._ring.columns.transition_id[ties], time[tied])
        slots[tied] = ties[np.lexsort(columns)]
        return slots
