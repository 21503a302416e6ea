"""The parts of a replay store whose arrays the compiled calls take, filled with made-up rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_memory.config import ReplaySettings, Strategy
from janus_memory.replay.law.sampler import Sampler
from janus_memory.replay.law.sum_tree import Backend
from janus_memory.replay.store.held import Held, held
from janus_memory.replay.store.passes import Judged, Source

N = 500
_HOUR = 3_600_000_000_000


@dataclass
class Parts:
    """A sampler over N rows, what is read and written of them, and how often and when each was drawn."""

    sampler: Sampler
    source: Source
    judged: Judged
    stamps: tuple[NDArray[np.int32], NDArray[np.int64]]

    def held(self) -> Held:
        """All of them as compiled calls take them."""
        return held(self.sampler.arrays, self.sampler.recency, self.source, self.judged, self.stamps)


def make_parts(
    strategy: Strategy, *, vector: bool = False, d: int = 5, floor: float = 0.3, backend: Backend = "numba"
) -> Parts:
    """Equal arguments make equal parts; priorities are those that the judgements say (E7), at least the floor."""
    rng = np.random.default_rng(4)
    settings = ReplaySettings(strategy=strategy, priority_floor=floor)

    def states() -> NDArray[np.float32]:
        return rng.standard_normal((N, d), np.float32)

    def actions() -> NDArray[np.int32] | NDArray[np.float32]:
        return rng.standard_normal((N, 3), np.float32) if vector else rng.integers(-1, 3, N).astype(np.int32)

    source = Source(
        state=states(),
        action=actions(),
        reward=rng.standard_normal(N, np.float32),
        next_state=states(),
        next_action=actions(),
        done=rng.integers(0, 2, N).astype(np.uint8),
        timestamp=rng.integers(-(2**60), 2**60, N),
        generation=rng.integers(1, 3, N).astype(np.uint32),
    )
    judged = Judged(
        generation=source.generation,
        reward=source.reward,
        td_error=np.zeros(N, np.float32),
        violation=rng.random(N, np.float32),
        priority=rng.exponential(size=N) + floor,
        judged=np.zeros(N, np.bool_),
    )
    sampler = Sampler(N, settings, backend)
    slots = np.arange(N, dtype=np.int32)
    sampler.write(slots, judged.priority, slots % 3, np.arange(N) * _HOUR)
    return Parts(sampler, source, judged, (np.zeros(N, np.int32), np.zeros(N, np.int64)))


def same(left: Sequence[NDArray[np.generic]], right: Sequence[NDArray[np.generic]]) -> bool:
    """Whether arrays have the same dtypes, shapes and bytes."""
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(left, right, strict=True)
    )
