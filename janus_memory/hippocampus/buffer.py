"""The episodic buffer (E1): the last `capacity` accepted transitions of a market, first in, first out.

Columnar: one preallocated array per field, written in blocks. The ring is ordered by arrival; questions about
time are answered in the total order (timestamp, transition_id), because rows may arrive out of order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import ConfigError, WireError
from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import MarketSpec

__all__ = ["EpisodicBuffer"]


class EpisodicBuffer:
    """A ring of transitions. Single writer; every answer is a copy.

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
        self._columns = tuple((name, getattr(self._ring, name)) for name in Transitions.names())
        self._arrived = 0

    def __len__(self) -> int:
        return min(self._arrived, self.capacity)

    @property
    def arrived(self) -> int:
        """Rows ever written, those that were pushed out included."""
        return self._arrived

    def extend(self, rows: Transitions) -> None:
        """Append rows in the order given; the oldest arrivals leave. Equal to appending them one by one.

        Raises:
            WireError: a column is not shaped for this market; nothing was written.
        """
        n = len(rows)
        for name, column in self._columns:
            shape = getattr(rows, name).shape
            if shape != (n, *column.shape[1:]):
                raise WireError(
                    f"market {self.spec.name}: column {name} of shape {shape} does not fit rows of "
                    f"{(n, *column.shape[1:])}; the buffer is unchanged; send the market's own feature set"
                )
        skipped = max(0, n - self.capacity)
        start = (self._arrived + skipped) % self.capacity
        head = min(n - skipped, self.capacity - start)
        for name, column in self._columns:
            values = getattr(rows, name)
            column[start : start + head] = values[skipped : skipped + head]
            if skipped + head < n:
                column[: n - skipped - head] = values[skipped + head :]
        self._arrived += n

    def rows(self) -> Transitions:
        """All rows held, in arrival order."""
        return self._ring.take(self._arrival_order())

    def between(self, start_ns: int, stop_ns: int) -> Transitions:
        """Rows with start_ns <= timestamp < stop_ns, in the total order."""
        time = self._ring.timestamp[: len(self)]
        return self._sorted((time >= start_ns) & (time < stop_ns))

    def last(self, duration_ns: int) -> Transitions:
        """Rows less than `duration_ns` older than the newest timestamp held, in the total order."""
        time = self._ring.timestamp[: len(self)]
        if not len(time):
            return Transitions.empty(self.spec)
        # In Python's integers: the difference to a far past may leave int64.
        bound = max(int(time.max()) - duration_ns, int(np.iinfo(np.int64).min))
        return self._sorted(time > bound)

    def episode(self, episode_id: str | bytes) -> Transitions:
        """Rows of an episode, whichever instrument or agent names it, in the total order."""
        return self._sorted(self._ring.episode_id[: len(self)] == _key(episode_id))

    def domain(self, name: str | bytes) -> Transitions:
        """Rows of a domain, in the total order."""
        return self._sorted(self._ring.domain[: len(self)] == _key(name))

    def snapshot(self) -> Arrays:
        """The rows in arrival order and the number ever written; equal histories give equal bytes."""
        return {**self.rows().arrays("rows/"), "arrived": np.array(self._arrived, np.int64)}

    @classmethod
    def restore(
        cls, spec: MarketSpec, capacity: int, arrays: Mapping[str, NDArray[np.generic]]
    ) -> EpisodicBuffer:
        """The buffer a snapshot was taken of; under a smaller capacity, its newest arrivals."""
        buffer = cls(spec, capacity)
        rows = Transitions.from_arrays(arrays, "rows/")
        buffer._arrived = int(arrays["arrived"]) - len(rows)
        buffer.extend(rows)
        return buffer

    def _arrival_order(self) -> NDArray[np.intp]:
        return np.arange(self._arrived - len(self), self._arrived) % self.capacity

    def _sorted(self, held: NDArray[np.bool_]) -> Transitions:
        return self._ring.take(np.flatnonzero(held)).sorted()


def _key(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name
