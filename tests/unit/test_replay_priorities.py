"""The laws of prioritised replay (E7-E10), and the exact draws, against hand-worked tables and definitions."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_memory.config import ReplaySettings
from janus_memory.replay.priorities import (
    beta_at,
    draw_rows,
    effective_sample_size,
    importance_weights,
    priorities,
    priority_quantiles,
    probabilities,
)
from janus_memory.replay.sampling import draw, masses, shares

_PRIORITY = st.one_of(st.just(0.0), st.floats(2.0**-20, 2.0**20, width=32))


def test_priority_adds_td_error_violation_and_reward_and_has_a_floor() -> None:
    """E7 by hand: |-1| + 2 * 0.5 + 0.5 * |-2| = 3; a row with nothing in it gets the floor."""
    p = priorities(np.array([-1.0, 0.0]), np.array([0.5, 0.0]), np.array([-2.0, 0.0]), ReplaySettings())
    assert p.tolist() == [3.0, 1e-3]


def test_probabilities_by_hand() -> None:
    """E8: with alpha 1 they are the shares, with alpha 0 uniform over what can be drawn, with 1/2 their roots'."""
    p = np.array([1.0, 4.0])
    assert probabilities(p, 1.0).tolist() == [0.2, 0.8]
    assert probabilities(p, 0.0).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(probabilities(p, 0.5), [1 / 3, 2 / 3])
    assert probabilities(np.zeros(4), 0.6).tolist() == [0.25] * 4


def test_importance_weights_by_hand() -> None:
    """E9 and E10: P = (.2, .8), N = 2 gives 1/(N P) = (2.5, .625); over the largest: (1, .25)."""
    np.testing.assert_allclose(importance_weights(np.array([0.2, 0.8]), 1.0), [1.0, 0.25])
    np.testing.assert_allclose(importance_weights(np.array([0.2, 0.8]), 0.5), [1.0, 0.5])
    assert importance_weights(np.array([0.0, 1.0]), 0.4).tolist() == [0.0, 1.0]


def test_beta_goes_from_start_to_end_in_equal_steps() -> None:
    """Over 4 iterations: 0.4, 0.6, 0.8, 1.0; a night of one iteration stays at the start."""
    replay = ReplaySettings()
    np.testing.assert_allclose([beta_at(t, 4, replay) for t in range(4)], [0.4, 0.6, 0.8, 1.0])
    assert beta_at(0, 1, replay) == 0.4


def test_effective_sample_size_counts_rows_of_equal_share() -> None:
    """Uniform over 3 of 5 rows is worth 3 rows."""
    assert effective_sample_size(np.array([1, 1, 1, 0, 0]) / 3) == pytest.approx(3.0)


def test_priority_quantiles_are_named_by_level() -> None:
    """Levels are keys; no rows give no quantiles."""
    assert priority_quantiles(np.arange(5.0), (0.0, 0.5, 1.0)) == {"0": 0.0, "0.5": 2.0, "1": 4.0}
    assert priority_quantiles(np.zeros(0)) == {}


@given(
    st.sampled_from([1, 2, 37]).flatmap(lambda n: st.lists(_PRIORITY, min_size=n, max_size=n)),
    st.sampled_from([0.0, 0.6, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_compiled_masses_and_shares_follow_the_law(values: list[float], alpha: float) -> None:
    """The loop's P(i) equals E8 in float64, and every positive priority can be drawn.

    With all priorities zero it is uniform; beside positive ones a zero priority has P = 0, also for alpha 0.
    """
    p = np.array(values, np.float32)
    with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature)
        mass = masses(jnp.asarray(p), alpha)
        share = np.asarray(shares(mass))
    units = np.asarray(mass)
    np.testing.assert_allclose(share, probabilities(p.astype(np.float64), alpha), rtol=2e-5, atol=1e-9)
    assert units.dtype == np.int64
    assert (units[p > 0] > 0).all()
    assert 0 < int(units.sum()) <= 2**53


@given(
    st.sampled_from([1, 2, 37]).flatmap(
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


def test_draws_equal_a_float64_cumulative_sum_over_ten_thousand_rows() -> None:
    """10 000 rows of very different priority, 20 000 uniforms: the compiled draws equal the plain ones."""
    rng = np.random.default_rng(5)
    p = rng.pareto(1.0, 10_000).astype(np.float32) + np.float32(1e-3)
    uniforms = rng.random(20_000)
    with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature)
        mass = masses(jnp.asarray(p), 0.6)
        drawn = np.asarray(draw(mass, jnp.asarray(uniforms)))
    expected = draw_rows(np.asarray(mass) / np.asarray(mass).sum(), uniforms)
    assert (drawn == expected).all()
    assert drawn.max() < len(p)


def test_plain_draws_stay_inside_where_the_last_rows_have_no_mass() -> None:
    """The definition itself never leaves the rows that have mass."""
    share = np.array([0.1] * 10 + [0.0])
    assert draw_rows(share, np.array([0.0, 1 - 2**-53])).tolist() == [0, 9]
