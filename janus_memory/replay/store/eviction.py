"""Which row leaves a full store: five kinds, each O(log N) a row or better (SPEC 2.4).

`fifo`: the oldest arrival leaves; `lowest_priority`: the
lowest priority, among equals the oldest arrival; `oldest`: the earliest timestamp, then arrival;
`largest_domain`: the oldest arrival of the domain with the most rows, among equals of the lowest code; `random`:
any row with equal probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import CheckpointError, ReplayError
from janus_memory.replay.law.tree_kernels import inspect
from janus_memory.replay.store.eviction_rules import RULES, New

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import Eviction
    from janus_memory.store.arrays import Arrays

__all__ = ["Evictor"]

_LARGEST = float(np.finfo(np.float64).max)


class Evictor:
    """Chooses the slots of new rows. Single writer; a block is the same as its rows one at a time."""

    def __init__(self, kind: Eviction, capacity: int) -> None:
        """Of an empty store of `capacity` slots, at least one."""
        self.kind = kind
        self.capacity = capacity
        self._arrived = 0
        self._rule = RULES[kind](capacity)

    def __len__(self) -> int:
        return min(self._arrived, self.capacity)

    def admit(
        self,
        priority: NDArray[np.float64],
        timestamp: NDArray[np.int64],
        domain_code: NDArray[np.int32],
        generator: np.random.Generator,
    ) -> NDArray[np.int32]:
        """Choose a slot for each of n new rows and take them in: a free slot while there is one, else a victim's.

        A row may be the victim of a later one of the same block (an old timestamp, a low priority), so a slot can
        occur twice; the last row named stays, as in `EpisodicBuffer.write`.

        Args:
            priority: float64 [n], finite, not negative.
            timestamp: int64 [n], UTC nanoseconds.
            domain_code: int32 [n], codes that count from 0.
            generator: of the kind `random`; the others draw nothing from it.

        Returns:
            int32 [n], to be given to `EpisodicBuffer.write`.

        Raises:
            ReplayError: a priority or a code that is none; nothing was admitted.
        """
        priority, timestamp = (
            np.ascontiguousarray(priority, np.float64),
            np.ascontiguousarray(timestamp, np.int64),
        )
        domain_code = np.ascontiguousarray(domain_code, np.int32)
        _check_priority(priority)
        if domain_code.min(initial=0) < 0:
            raise ReplayError(
                f"domain code {domain_code.min()} is negative; nothing was admitted; count the domains from 0"
            )
        new = New(priority, timestamp, domain_code, self._arrived)
        slots = self._rule.admit(new, generator)
        self._arrived += len(slots)
        return slots

    def turn(self) -> int | None:
        """The slot of the next row where rows follow one another around the ring; None where each is chosen."""
        return self._arrived % self.capacity if self.kind == "fifo" else None

    def count(self, n: int) -> None:
        """Count n rows that were taken in from `turn` on."""
        self._arrived += n

    def on_priority(self, slots: NDArray[np.int32], priority: NDArray[np.float64]) -> None:
        """Take note of new priorities; of a slot named twice the last one stays.

        Raises:
            ReplayError: a priority that is none, or a slot that holds no row; nothing was noted.
        """
        slots, priority = np.ascontiguousarray(slots, np.int32), np.ascontiguousarray(priority, np.float64)
        # One pass for both: this is on the path of every update.
        row = inspect(slots, priority, len(self), _LARGEST)
        if row >= 0:
            raise ReplayError(
                f"row {row} gives priority {priority[row]} to slot {slots[row]} of {len(self)} rows; nothing was "
                "noted; name slots that hold rows, with priorities (E7), which are at least the floor"
            )
        self._rule.on_priority(slots, priority)

    def snapshot(self, *, copied: bool = True) -> Arrays:
        """Copies of all state, or the state itself; equal histories give equal bytes."""
        arrays = {**self._rule.arrays(), "counters": np.array([self._arrived, self.capacity], np.int64)}
        return {name: values.copy() for name, values in arrays.items()} if copied else arrays

    @classmethod
    def restore(cls, kind: Eviction, capacity: int, arrays: Mapping[str, NDArray[np.generic]]) -> Evictor:
        """The evictor a snapshot was taken of.

        Raises:
            CheckpointError: it was one of another kind or capacity.
        """
        evictor = cls(kind, capacity)
        try:
            evictor._arrived, held_by = (int(value) for value in arrays["counters"])
            evictor._rule.load(arrays)
        except KeyError as error:
            raise CheckpointError(
                f"the snapshot is not of an evictor of kind {kind}: {error} is missing; nothing was restored; "
                "restore under the eviction it was made with"
            ) from error
        if held_by != capacity:
            raise CheckpointError(
                f"the snapshot is of an evictor of {held_by} slots, not {capacity}; nothing was restored; restore "
                "under the capacity it was made with"
            )
        return evictor


def _check_priority(priority: NDArray[np.float64]) -> None:
    refused = ~(np.isfinite(priority) & (priority >= 0))
    if refused.any():
        row = int(np.argmax(refused))
        raise ReplayError(
            f"priority {priority[row]} of row {row} is not finite or negative; the evictor is unchanged; "
            "give priorities (E7), which are at least the floor"
        )
