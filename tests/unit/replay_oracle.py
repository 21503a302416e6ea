"""What a sampler must draw: a plain float64 cumulative sum of its strategy's law, and where that is in doubt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_memory.config import ReplaySettings
from janus_memory.replay.law.laws import law
from janus_memory.replay.law.sampler import Sampler

DAY = 86_400 * 10**9


@dataclass
class Entries:
    """The columns a law is computed from: what a sampler was told."""

    priority: NDArray[np.float64]
    domain: NDArray[np.int32]
    timestamp: NDArray[np.int64]

    def put(self, slots: NDArray[np.int32], rows: Entries) -> None:
        """Later rows of the same slot win, as numpy assigns."""
        self.priority[slots] = rows.priority
        self.domain[slots] = rows.domain
        self.timestamp[slots] = rows.timestamp

    def law(self, settings: ReplaySettings) -> NDArray[np.float64]:
        """P by slot."""
        return law(settings.strategy, self.priority, self.domain, self.timestamp, settings)


def random_entries(rng: np.random.Generator, n: int) -> Entries:
    """Priorities over twelve orders of magnitude, seven domains, thirty days out of order."""
    return Entries(
        10 ** rng.uniform(-6, 6, n), rng.integers(0, 7, n).astype(np.int32), rng.integers(0, 30 * DAY, n)
    )


def write(sampler: Sampler, slots: NDArray[np.int32], rows: Entries) -> None:
    """Hand the rows to a sampler."""
    sampler.write(slots, rows.priority, rows.domain, rows.timestamp)


def wrong_draws(
    share: NDArray[np.float64],
    order: NDArray[np.int32],
    uniforms: NDArray[np.float64],
    drawn: NDArray[np.int32],
) -> int:
    """How many draws are not those of the cumulative sum of P in that order, nor within N eps of a boundary."""
    cumulative = np.cumsum(share[order])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    at = place[drawn]
    slack = len(share) * np.finfo(np.float64).eps
    above = np.where(at > 0, cumulative[at - 1], 0.0) - slack <= uniforms
    below = uniforms < cumulative[at] + slack
    return int((~(above & below)).sum())


def boundary_uniforms(share: NDArray[np.float64], order: NDArray[np.int32]) -> NDArray[np.float64]:
    """The boundaries of the inverse CDF and their neighbours among float64, inside [0, 1)."""
    at = np.cumsum(share[order])
    near = np.concatenate([np.nextafter(at, 0), at, np.nextafter(at, 2)])
    return near[(near >= 0) & (near < 1)]
