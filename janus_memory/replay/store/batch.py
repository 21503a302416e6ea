"""What a store hands to whoever trains: the drawn rows, where they lie, and how much each of them counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from janus_memory.replay.compression import compressed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Drawn", "ReplayBatch"]


class ReplayBatch(NamedTuple):
    """B drawn rows; copies, so that a later write does not change them.

    A tuple, because building one is on the path of every draw; slot and generation stand first, so that a batch
    is also the (slot, generation) pair by which `ReplayStore.update` knows its rows.

    Attributes:
        slot: where each row lies, int32 [B]; a row may be drawn more than once.
        generation: how often its slot had been written when it was drawn, uint32 [B].
        probability: P of the strategy's law, float64 [B].
        weight: importance weight (E9, E10), float32 [B].
        state, next_state: float32 [B, d].
        action, next_action: int32 [B] or float32 [B, m].
        reward: float32 [B].
        done: uint8 [B].
        timestamp: int64 [B], UTC nanoseconds.
        compression: C of (E12).
    """

    slot: NDArray[np.int32]
    generation: NDArray[np.uint32]
    probability: NDArray[np.float64]
    weight: NDArray[np.float32]
    state: NDArray[np.float32]
    action: NDArray[np.int32] | NDArray[np.float32]
    reward: NDArray[np.float32]
    next_state: NDArray[np.float32]
    next_action: NDArray[np.int32] | NDArray[np.float32]
    done: NDArray[np.uint8]
    timestamp: NDArray[np.int64]
    compression: float

    @property
    def replay_time(self) -> NDArray[np.int64]:
        """When each row is replayed, t0 + (t - t0) / C with t0 the earliest of the batch (E12); int64 [B].

        Computed when asked for: most training does not look at it.
        """
        return compressed(self.timestamp, self.compression)


# What names rows of a store: a batch, or its slots int32 [B] and generations uint32 [B].
Drawn: TypeAlias = "ReplayBatch | tuple[NDArray[np.int32], NDArray[np.uint32]]"
