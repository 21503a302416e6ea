"""What is known of each transition beside its columns (E1): how it was judged, replayed and consolidated."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays

__all__ = ["Metadata"]


@dataclass(frozen=True, slots=True)
class Metadata:
    """One entry a transition, in the order of the rows it goes with. The domain is a column of the row itself.

    Attributes:
        priority: p (E7) when it was last computed, float64 [n]; 0 before.
        td_error: |delta| when it was last computed, float32 [n]; 0 before.
        violation: v in [0, 1], float32 [n].
        replay_count: how often a batch has drawn it, int32 [n].
        last_replayed: market time of the last draw, int64 [n], UTC nanoseconds; 0 before.
        consolidated: bool [n], a night has moved the schemas by it.
    """

    priority: NDArray[np.float64]
    td_error: NDArray[np.float32]
    violation: NDArray[np.float32]
    replay_count: NDArray[np.int32]
    last_replayed: NDArray[np.int64]
    consolidated: NDArray[np.bool_]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The column names, in their canonical order."""
        return tuple(f.name for f in dataclasses.fields(cls))

    @classmethod
    def empty(cls, n: int = 0) -> Metadata:
        """Of n transitions of which nothing is known."""
        return cls(
            priority=np.zeros(n, np.float64),
            td_error=np.zeros(n, np.float32),
            violation=np.zeros(n, np.float32),
            replay_count=np.zeros(n, np.int32),
            last_replayed=np.zeros(n, np.int64),
            consolidated=np.zeros(n, np.bool_),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Metadata]) -> Metadata:
        """All entries of `parts` (at least one), in the order given."""
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in cls.names()})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], prefix: str = "") -> Metadata:
        """The inverse of `arrays`."""
        return cls(**{name: arrays[prefix + name] for name in cls.names()})  # type: ignore[arg-type]  # one mapping holds every dtype

    def arrays(self, prefix: str = "") -> Arrays:
        """The columns by name, each name led by `prefix`."""
        return {prefix + name: getattr(self, name) for name in self.names()}

    def __len__(self) -> int:
        return len(self.priority)

    def take(self, rows: NDArray[np.intp] | NDArray[np.int32] | NDArray[np.bool_] | slice) -> Metadata:
        """The entries selected by indices, a mask or a slice."""
        return Metadata(**{name: getattr(self, name)[rows] for name in self.names()})
