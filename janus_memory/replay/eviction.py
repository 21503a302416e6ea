"""Which row leaves a full store: five kinds, each O(log N) a row or better (SPEC 2.4).

`fifo` the oldest arrival; `lowest_priority` (ties: the oldest arrival); `oldest` the earliest timestamp, then
arrival; `largest_domain` the oldest arrival of the domain with the most rows (ties: the lowest code); `random`
uniformly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.config import Eviction
    from janus_memory.store.arrays import Arrays

__all__ = ["Evictor"]


class Evictor:
    """Chooses the slots of new rows. Single writer; a block is the same as its rows one at a time."""

    def __init__(self, kind: Eviction, capacity: int) -> None:
        """Of an empty store of `capacity` slots."""
        raise NotImplementedError

    def __len__(self) -> int:
        """Rows held."""
        raise NotImplementedError

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

        Returns:
            int32 [n], to be given to `EpisodicBuffer.write`.
        """
        raise NotImplementedError

    def on_priority(self, slots: NDArray[np.int32], priority: NDArray[np.float64]) -> None:
        """Take note of new priorities; of a slot named twice the last one stays."""
        raise NotImplementedError

    def snapshot(self) -> Arrays:
        """All state; equal histories give equal bytes."""
        raise NotImplementedError

    @classmethod
    def restore(cls, kind: Eviction, capacity: int, arrays: Mapping[str, NDArray[np.generic]]) -> Evictor:
        """The evictor a snapshot was taken of."""
        raise NotImplementedError
