"""One compiled call for a draw, its probabilities, weights and rows gives the bytes of the steps one by one."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from janus_memory.config import ReplaySettings, Strategy
from janus_memory.errors import ReplayError
from janus_memory.replay.law.laws import importance_weights
from janus_memory.replay.store.drawing import Drawing, weighed
from janus_memory.replay.store.passes import gather
from tests.unit.replay_parts import N, Parts, make_parts, same

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def drawing_over(parts: Parts) -> Drawing:
    return Drawing(parts.held(), parts.source, 15.0)


@pytest.mark.parametrize("over", [None, 0.5, 1 / N])
@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_call_gives_the_bytes_of_the_steps(strategy: Strategy, over: float | None, vector: bool) -> None:
    """Also after the law has changed under it: the arrays are the sampler's own. Odd widths of states and actions."""
    parts = make_parts(strategy, vector=vector)
    drawing, other = drawing_over(parts), make_parts(strategy, vector=vector)
    for turn in range(3):
        uniforms = np.random.default_rng(turn).random(64)
        slots = other.sampler.draw(uniforms)
        share = other.sampler.probability(slots)
        rows = gather(other.source, slots, turn, *other.stamps)
        batch = drawing.batch(uniforms, parts.sampler.standing(), (0.7, over), turn)
        assert same((batch.slot, batch.probability, batch.weight), (slots, share, weighed(share, 0.7, over)))
        assert same([getattr(batch, name) for name in rows._fields], rows)
        assert same(parts.stamps, other.stamps)
        for sampler in (parts.sampler, other.sampler):
            sampler.reprioritize(slots, np.linspace(0.1, 9, 64))


@pytest.mark.parametrize("normalise", ["batch", "buffer", "none"])
def test_weights_are_those_of_their_definition(normalise: str) -> None:
    """(E9) and (E10) over the largest of the batch, of the buffer, or over nothing; float32."""
    share = np.random.default_rng(3).dirichlet(np.full(50, 0.3))
    over = {"batch": None, "buffer": share.min(), "none": 1 / 50}[normalise]
    expected = importance_weights(share[:9], 50, 0.6, normalise, share.min())  # type: ignore[arg-type]  # a parameter
    np.testing.assert_allclose(weighed(share[:9], 0.6, over), expected, rtol=1e-6)
    assert weighed(share[:0], 0.6, over).dtype == np.float32


@pytest.mark.parametrize("strategy", ["prioritized_loss", "domain_balanced"])
@pytest.mark.parametrize("bad", [1.0, -0.1, np.nan])
def test_a_bad_uniform_is_refused_and_nothing_counted(strategy: Strategy, bad: float) -> None:
    """The kernel would otherwise read where no row is."""
    parts = make_parts(strategy)
    with pytest.raises(ReplayError, match="uniform"):
        drawing_over(parts).batch(np.array([0.5, bad]), parts.sampler.standing(), (1.0, None), 1)
    assert not parts.stamps[0].any()
    assert not parts.stamps[1].any()


def test_no_rows_are_a_batch_of_none() -> None:
    """It has the shapes and dtypes of any other."""
    parts = make_parts("mixed")
    batch = drawing_over(parts).batch(np.zeros(0), parts.sampler.standing(), (1.0, None), 1)
    assert [column.shape[0] for column in batch[:-1]] == [0] * 11
    assert batch.state.shape == (0, 5)
    assert ReplaySettings().compression == batch.compression
