"""Scores of blocks of states against a snapshot of the bank (E16); they only nominate.

A worker anywhere computes them from a `BankView`. The owner of the bank walks the rows in order and decides
by its own row kernel among the schemas that are nearly best and those changed since the snapshot, so the
labels are those of the sequential walk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.neocortex.kernels import bulk_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.neocortex.bank import SchemaBank

__all__ = ["BankView", "BlockScores", "score_block"]


@dataclass(frozen=True, slots=True)
class BankView:
    """What a worker needs of the bank; a copy, so that the owner may go on.

    Attributes:
        mean: float64 [K, d]. factor: float64 [K, d, d], upper Cholesky factors.
        nu, spread, offset: float64 [K], see `Columns`.
    """

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]
    nu: NDArray[np.float64]
    spread: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def of(cls, bank: SchemaBank) -> BankView:
        """A snapshot of all rows of the bank, archived ones among them."""
        c, size = bank.columns, bank.size
        return cls(
            *(column[:size].copy() for column in (c.mean, c.factor, c.nu, c.spread, c.offset)),
        )


@dataclass(frozen=True, slots=True)
class BlockScores:
    """Log-densities of a block's rows under every schema of a view; float64 [n, K]."""

    score: NDArray[np.float64]


def score_block(view: BankView, x: NDArray[np.float64]) -> BlockScores:
    """Score a block of standardised states, float64 [n, d]; a pure function."""
    out = np.empty((len(x), len(view.mean)))
    # Arrays that came through an object store are read-only; the kernel is compiled for writable ones.
    mean, factor, nu, spread, offset, rows = (
        np.require(a, np.float64, ["C", "W"])
        for a in (view.mean, view.factor, view.nu, view.spread, view.offset, x)
    )
    bulk_scores(mean, factor, nu, spread, offset, rows, out)
    return BlockScores(out)
