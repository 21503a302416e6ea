"""A million slots: the oracle after a million updates, and fifteen million draws against each strategy's law."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from janus_memory.config import ReplaySettings, Strategy
from janus_memory.replay.law.sampler import Sampler
from tests.unit.replay_oracle import random_entries, write, wrong_draws

pytestmark = pytest.mark.slow

_SLOTS = 1_000_000
_UPDATES = 1_000_000
_DRAWS = 15_000_000
_STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_draws_after_a_million_updates_equal_a_cumulative_sum_of_the_law(strategy: Strategy) -> None:
    """Priorities over twelve orders of magnitude; half the updates overwrite entries, half reprioritize them."""
    rng = np.random.default_rng(1)
    replay = ReplaySettings(strategy=strategy)
    entries = random_entries(rng, _SLOTS)
    sampler = Sampler(_SLOTS, replay)
    write(sampler, np.arange(_SLOTS, dtype=np.int32), entries)
    for _ in range(_UPDATES // 2_000):
        slots = rng.integers(0, _SLOTS, 1_000).astype(np.int32)
        rows = random_entries(rng, 1_000)
        write(sampler, slots, rows)
        entries.put(slots, rows)
        slots = rng.integers(0, _SLOTS, 1_000).astype(np.int32)
        priority = 10 ** rng.uniform(-6, 6, 1_000)
        sampler.reprioritize(slots, priority)
        entries.priority[slots] = priority
    uniforms = np.concatenate([[0.0, 1 - 2.0**-53], rng.random(1_000_000)])
    share = entries.law(replay)
    drawn = sampler.draw(uniforms)
    assert wrong_draws(share, sampler.order(), uniforms, drawn) == 0
    np.testing.assert_allclose(sampler.probabilities(), share, rtol=1e-11)


@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_fifteen_million_draws_follow_the_law(strategy: Strategy) -> None:
    """Chi-square over cells pooled to an expectation of at least ten draws; |z| < 4."""
    rng = np.random.default_rng(2)
    replay = ReplaySettings(strategy=strategy)
    entries = random_entries(rng, _SLOTS)
    sampler = Sampler(_SLOTS, replay)
    write(sampler, np.arange(_SLOTS, dtype=np.int32), entries)
    counts = np.zeros(_SLOTS, np.int64)
    for _ in range(15):
        counts += np.bincount(sampler.draw(rng.random(_DRAWS // 15)), minlength=_SLOTS)
    assert counts.sum() == _DRAWS
    z = _chi_square(counts, _DRAWS * entries.law(replay))
    print(f"{strategy}: z = {z:+.2f}")
    assert abs(z) < 4


def _chi_square(counts: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    """(X^2 - f) / sqrt(2 f), f degrees of freedom, over cells of slots in falling order of expectation.

    A cell ends with the slot that passes the next multiple of 20, so that each expects at least 10.
    """
    falling = np.argsort(-expected, kind="stable")
    cell = np.floor(np.cumsum(expected[falling]) / 20.0).astype(np.int64)
    cell = np.minimum(cell, cell[-1] - 1)
    _, place = np.unique(cell, return_inverse=True)
    seen = np.bincount(place, weights=counts[falling])
    due = np.bincount(place, weights=expected[falling])
    assert due.min() >= 10
    freedom = len(due) - 1
    return float((((seen - due) ** 2 / due).sum() - freedom) / np.sqrt(2 * freedom))
