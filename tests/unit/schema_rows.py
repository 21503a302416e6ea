"""Planted states and short-cuts for the tests of the schema bank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.config import NeocortexSettings
from janus_memory.neocortex.assignment import score_block
from janus_memory.neocortex.background import Background
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.consolidation import ConsolidationResult, Rows, consolidate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.neocortex.assignment import BankView, BlockScores

ROBUST = NeocortexSettings()
SPEC = NeocortexSettings(mode="spec")
SECOND = 10**9
DAY = 86_400 * SECOND


def planted(
    n: int, d: int, k: int, seed: int = 0, run: int = 20
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Runs of states from k well separated Gaussians with their own covariances: (x, which one)."""
    rng = np.random.default_rng(seed)
    # Unit vectors scaled by the same length lie equally far from each other in every dimension.
    centres = rng.normal(size=(k, d))
    centres *= 3 * np.sqrt(d) / np.linalg.norm(centres, axis=1, keepdims=True)
    spread = rng.uniform(0.5, 1.2, size=(k, d))
    which = np.resize(np.repeat(rng.integers(0, k, n // run + 1), run), n)
    x = centres[which] + spread[which] * rng.normal(size=(n, d))
    return (x - x.mean(axis=0)) / x.std(axis=0), which


def times(n: int) -> NDArray[np.int64]:
    """One second apart."""
    return np.arange(n, dtype=np.int64) * SECOND


def night(
    bank: SchemaBank,
    background: Background,
    x: NDArray[np.float64],
    *,
    settings: NeocortexSettings = ROBUST,
    time: NDArray[np.int64] | None = None,
    passed: NDArray[np.bool_] | None = None,
    reward: NDArray[np.float64] | None = None,
    scored: bool = False,
    n_blocks: int = 4,
    block_rows: int = 64,
) -> ConsolidationResult:
    """Consolidate with one reward, one second a row and open gates unless told otherwise."""
    rows = Rows(
        x,
        np.ones(len(x)) if reward is None else reward,
        times(len(x)) if time is None else time,
        np.ones(len(x), np.bool_) if passed is None else passed,
    )
    return consolidate(
        bank,
        background,
        rows,
        settings,
        score_here if scored else None,
        "2024-01-02",
        "test",
        n_blocks=n_blocks,
        block_rows=block_rows,
    )


def score_here(view: BankView, blocks: list[NDArray[np.float64]]) -> list[BlockScores]:
    """Workers of one process."""
    return [score_block(view, block) for block in blocks]


def fitted(x: NDArray[np.float64], settings: NeocortexSettings = ROBUST) -> tuple[SchemaBank, Background]:
    """An empty bank and the background of x."""
    return SchemaBank.empty(x.shape[1]), Background.fit(x, times(len(x)), settings)
