"""One compiled call for a draw, its probabilities and its rows gives the bytes of the three steps one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from janus_memory.config import ReplaySettings, Strategy
from janus_memory.replay.law.sampler import Sampler
from janus_memory.replay.store.drawing import Drawing
from janus_memory.replay.store.passes import Source, gather

N, D = 500, 6


def _parts(strategy: Strategy) -> tuple[Sampler, Source]:
    rng = np.random.default_rng(4)
    sampler = Sampler(N, ReplaySettings(strategy=strategy))
    slots = np.arange(N, dtype=np.int32)
    sampler.write(slots, rng.exponential(size=N), slots % 3, np.arange(N) * 3_600_000_000_000)
    source = Source(
        state=rng.random((N, D), np.float32),
        action=rng.integers(0, 3, N, np.int32),
        reward=rng.random(N, np.float32),
        next_state=rng.random((N, D), np.float32),
        next_action=rng.integers(-1, 3, N, np.int32),
        done=rng.integers(0, 2, N, np.uint8),
        timestamp=rng.integers(0, 2**60, N),
        generation=rng.integers(0, 9, N, np.uint32),
    )
    return sampler, source


@pytest.mark.parametrize("strategy", ["uniform", "prioritized_loss", "prioritized_recency", "mixed"])
def test_one_call_gives_the_bytes_of_three(strategy: Strategy) -> None:
    """Also after the law has changed under it: the arrays are the sampler's own."""
    sampler, source = _parts(strategy)
    sums = sampler.sums()
    assert sums is not None
    count, last = np.zeros(N, np.int32), np.zeros(N, np.int64)
    drawing = Drawing(sums, source, count, last)
    for turn in range(3):
        uniforms = np.random.default_rng(turn).random(64)
        expected = sampler.draw(uniforms)
        other_count, other_last = count.copy(), last.copy()
        rows = gather(source, expected, turn, other_count, other_last)
        slots, probability, found = drawing.rows(uniforms, N, sampler.even(), turn)
        assert slots.tolist() == expected.tolist()
        assert probability.tobytes() == sampler.probability(slots).tobytes()
        left: tuple[NDArray[np.generic], ...] = (*found, count, last)
        right: tuple[NDArray[np.generic], ...] = (*rows, other_count, other_last)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))
        sampler.reprioritize(slots, np.linspace(0.1, 9, 64))


def test_a_law_of_groups_has_no_lasting_sums() -> None:
    """Its arrays grow with the number of domains."""
    assert _parts("domain_balanced")[0].sums() is None


@pytest.mark.parametrize("bad", [1.0, -0.1, np.nan])
def test_a_bad_uniform_is_refused_and_nothing_counted(bad: float) -> None:
    """The kernel would otherwise read where no row is."""
    sampler, source = _parts("prioritized_loss")
    sums = sampler.sums()
    assert sums is not None
    count, last = np.zeros(N, np.int32), np.zeros(N, np.int64)
    with pytest.raises(ValueError, match="uniform"):
        Drawing(sums, source, count, last).rows(np.array([0.5, bad]), N, None, 1)
    assert not count.any()
    assert not last.any()
