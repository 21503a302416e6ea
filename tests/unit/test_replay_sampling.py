"""The compiled loop's laws against their definition, and its draws against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_memory.config import ReplaySettings, Strategy
from janus_memory.replay.law.laws import law
from janus_memory.replay.night.sampling import draw, masses, shares
from tests.unit.replay_definition import draw_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PRIORITY = st.one_of(st.just(0.0), st.floats(2.0**-20, 2.0**20, width=32))
_DAY = 86_400_000_000_000
_SIZES = (1, 2, 37)


def _masses(
    p: NDArray[np.float32], timestamp: NDArray[np.int64], domain: NDArray[np.int32], replay: ReplaySettings
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Units and shares as the loop computes them."""
    age = ((timestamp.max() - timestamp) / 1e9 / replay.half_life_s).astype(np.float32)
    with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature)
        mass = masses(jnp.asarray(p), jnp.asarray(age), jnp.asarray(domain), int(domain.max()) + 1, replay)
        return np.asarray(mass), np.asarray(shares(mass))


@pytest.mark.parametrize("strategy", get_args(Strategy))
@given(
    st.sampled_from(_SIZES).flatmap(lambda n: st.lists(_PRIORITY, min_size=n, max_size=n)),
    st.sampled_from([0.0, 0.6, 1.0]),
    st.integers(0, 1000),
)
@settings(deadline=None, max_examples=25)
def test_the_loop_follows_the_law_of_each_strategy(
    strategy: Strategy, values: list[float], alpha: float, seed: int
) -> None:
    """P(i) equals the definition in float64, zero priorities included; what has a share in it can be drawn."""
    rng = np.random.default_rng(seed)
    p, n = np.array(values, np.float32), len(values)
    timestamp = rng.integers(0, 20 * _DAY, n)
    domain = rng.integers(0, 3, n).astype(np.int32)
    replay = ReplaySettings(strategy=strategy, alpha=alpha)
    mass, share = _masses(p, timestamp, domain, replay)
    expected = law(strategy, p.astype(np.float64), domain, timestamp, replay)
    np.testing.assert_allclose(share, expected, rtol=2e-5, atol=1e-9)
    assert mass.dtype == np.int64
    assert ((mass > 0) == (expected > 0)).all()
    assert 0 < int(mass.sum()) <= 2**53


def test_recency_knows_rows_a_thousand_half_lives_apart() -> None:
    """Where only the oldest rows have a priority they are all that is drawn, by their own ages."""
    replay = ReplaySettings(strategy="prioritized_recency", priority_floor=0.0)
    days = np.array([0, 1, 2000])
    timestamp = days * _DAY
    _, share = _masses(np.array([1, 1, 0], np.float32), timestamp, np.zeros(3, np.int32), replay)
    np.testing.assert_allclose(share, [1 / 3, 2 / 3, 0], rtol=1e-3)


@given(
    st.sampled_from(_SIZES).flatmap(
        lambda n: st.lists(st.integers(0, 2**40), min_size=n, max_size=n).filter(any)
    ),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=5, max_size=5),
)
@settings(deadline=None, max_examples=100)
def test_draws_are_exact_and_inside(mass: list[int], uniforms: list[float]) -> None:
    """Each draw is the first row whose exact cumulative mass exceeds u * total; never a row without mass."""
    with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature)
        drawn = np.asarray(draw(jnp.asarray(np.array(mass)), jnp.asarray(np.array(uniforms))))
    total = sum(mass)
    for u, row in zip(uniforms, drawn.tolist(), strict=True):
        assert mass[row] > 0
        before = sum(mass[:row])
        # u * total is rounded once to float64: allow its last unit and no more.
        slack = Fraction(total) / 2**52
        assert before - slack <= Fraction(u) * total < before + mass[row] + slack


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-53])
def test_the_ends_of_the_unit_interval_draw_rows_with_mass(u: float) -> None:
    """The largest uniform below 1 draws the last row that has mass, not one beyond it; 0 the first that has."""
    mass = np.array([0, 3, 0, 2**51, 0])
    with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature)
        row = int(draw(jnp.asarray(mass), jnp.asarray(np.array([u])))[0])
    assert row == (1 if u == 0 else 3)


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_draws_equal_a_float64_cumulative_sum_over_ten_thousand_rows(strategy: Strategy) -> None:
    """10 000 rows of very different priority, 20 000 uniforms: the compiled draws equal the plain ones."""
    rng = np.random.default_rng(5)
    p = rng.pareto(1.0, 10_000).astype(np.float32) + np.float32(1e-3)
    uniforms = rng.random(20_000)
    timestamp = np.sort(rng.integers(0, 5 * _DAY, 10_000))
    domain = rng.integers(0, 7, 10_000).astype(np.int32)
    mass, _ = _masses(p, timestamp, domain, ReplaySettings(strategy=strategy))
    with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature)
        drawn = np.asarray(draw(jnp.asarray(mass), jnp.asarray(uniforms)))
    assert (drawn == draw_rows(mass / mass.sum(), uniforms)).all()
    assert drawn.max() < len(p)
