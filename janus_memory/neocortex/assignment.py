"""What a block of states could score against a snapshot of the bank (E16); it only nominates.

A worker anywhere computes upper bounds from a `BankView`. The owner of the bank walks the rows in order and decides by
its own row kernel among the schemas whose bound reaches the best score and those changed since the snapshot, so the
labels are those of the sequential walk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.neocortex.kernels import Leading, bound_block, bound_terms, lead, prefix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.neocortex.bank import SchemaBank

__all__ = ["BankView", "BlockScores", "score_block"]


@dataclass(frozen=True, slots=True)
class BankView:
    """What a worker needs of the bank: its first p dimensions; a copy, so that the owner may go on.

    Attributes:
        whitener: float32 [K, p, p]. shift: float32 [K, p]. doubt: float64 [K, 2]. See `Leading`.
        slope, bend, offset: float64 [K], see `bound_terms`.
    """

    whitener: NDArray[np.float32]
    shift: NDArray[np.float32]
    doubt: NDArray[np.float64]
    slope: NDArray[np.float64]
    bend: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def of(cls, bank: SchemaBank) -> BankView:
        """A snapshot of all rows of the bank, archived ones among them."""
        c, size, p = bank.columns, bank.size, prefix(bank.d, bank.size)
        terms = [bound_terms(bank.d, c.nu[k], c.spread[k]) for k in range(size)]
        slope, bend = np.array(terms, np.float64).reshape(size, 2).T.copy()
        leading = Leading(
            np.empty((size, p, p), np.float32), np.empty((size, p), np.float32), np.empty((size, 2))
        )
        inverse = np.empty((p, p))
        for k in range(size):
            lead(c.factor[k], c.mean[k], inverse, leading, k)
        return cls(*leading, slope, bend, c.offset[:size].copy())


@dataclass(frozen=True, slots=True)
class BlockScores:
    """Upper bounds of the log-densities of a block's rows under every schema of a view; float64 [n, K]."""

    score: NDArray[np.float64]


def score_block(view: BankView, x: NDArray[np.float64]) -> BlockScores:
    """Bound the scores of a block of standardised states, float64 [n, p or more]; a pure function."""
    k, p = view.shift.shape
    out = np.empty((len(x), k))
    # Arrays that came through an object store are read-only; the kernel is compiled for writable ones.
    whitener, shift = (np.require(a, np.float32, ["C", "W"]) for a in (view.whitener, view.shift))
    doubt, slope, bend, offset, rows = (
        np.require(a, np.float64, ["C", "W"])
        for a in (view.doubt, view.slope, view.bend, view.offset, x[:, :p])
    )
    bound_block(Leading(whitener, shift, doubt), slope, bend, offset, rows, out)
    return BlockScores(out)
