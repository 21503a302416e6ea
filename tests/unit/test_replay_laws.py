"""Each strategy's law P(i) against hand-worked tables (E8), and the importance weights that belong to it."""

from __future__ import annotations

from fractions import Fraction
from typing import get_args

import numpy as np
import pytest

from janus_memory.config import ReplaySettings, Strategy
from janus_memory.replay.law.laws import importance_weights, law, powers

_DAY = 86_400 * 10**9
_STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
_LINEAR = ReplaySettings(alpha=1.0)

# p = (1, 3, 4, 0), domains (7, 7, 2, 2), ages (2, 1, 0, 0) half-lives; alpha = 1.
_BY_HAND: dict[Strategy, list[Fraction]] = {
    "uniform": [Fraction(1, 4)] * 4,
    "prioritized_loss": [Fraction(1, 8), Fraction(3, 8), Fraction(4, 8), Fraction(0)],
    "prioritized_recency": [Fraction(1, 23), Fraction(6, 23), Fraction(16, 23), Fraction(0)],
    "mixed": [Fraction(3, 16), Fraction(5, 16), Fraction(6, 16), Fraction(2, 16)],
    "domain_balanced": [Fraction(1, 8), Fraction(3, 8), Fraction(4, 8), Fraction(0)],
}


@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_law_by_hand(strategy: Strategy) -> None:
    """Recency masses are 1/4, 3/2 and 4: over 23/4. The mixture is half (1, 3, 4, 0)/8 and half 1/4."""
    p = np.array([1.0, 3.0, 4.0, 0.0])
    share = law(strategy, p, np.array([7, 7, 2, 2], np.int32), np.array([0, 1, 2, 2]) * _DAY, _LINEAR)
    np.testing.assert_allclose(share, [float(f) for f in _BY_HAND[strategy]], rtol=1e-15)


@pytest.mark.parametrize("strategy", _STRATEGIES)
@pytest.mark.parametrize("n", [0, 1, 2, 255])
def test_every_law_sums_to_one(strategy: Strategy, n: int) -> None:
    """Also over priorities of twelve orders of magnitude; no entries have no law."""
    rng = np.random.default_rng(n)
    domain = rng.integers(0, 4, n).astype(np.int32)
    share = law(strategy, 10 ** rng.uniform(-6, 6, n), domain, rng.integers(0, 9 * _DAY, n), ReplaySettings())
    assert len(share) == n
    assert (share > 0).all()
    assert share.sum() == pytest.approx(1.0 if n else 0.0, rel=1e-13)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("uniform", [1 / 3] * 3),
        ("prioritized_loss", [1 / 3] * 3),
        ("mixed", [1 / 3] * 3),
        ("prioritized_recency", [1 / 7, 2 / 7, 4 / 7]),
        ("domain_balanced", [1 / 4, 1 / 4, 1 / 2]),
    ],
)
def test_all_zero_priorities_leave_the_rest_of_the_law(strategy: Strategy, expected: list[float]) -> None:
    """The factor p^alpha becomes 1 for all: uniform, but for recency and the domains' shares."""
    share = law(strategy, np.zeros(3), np.array([0, 0, 1], np.int32), np.arange(3) * _DAY, ReplaySettings())
    np.testing.assert_allclose(share, expected, rtol=1e-15)


def test_a_domain_of_zeros_beside_another_is_uniform_inside() -> None:
    """Domain 0 has only zeros and keeps its half."""
    p = np.array([0.0, 0.0, 1.0, 3.0])
    share = law("domain_balanced", p, np.array([0, 0, 1, 1], np.int32), np.zeros(4, np.int64), _LINEAR)
    assert share.tolist() == [0.25, 0.25, 0.125, 0.375]


def test_recency_depends_on_differences_of_time_alone() -> None:
    """The same entries a thousand years later have the same law, but for rounding; old ones have none left."""
    rng = np.random.default_rng(1)
    p, age = rng.random(50), rng.integers(0, 20 * _DAY, 50)
    domain = np.zeros(50, np.int32)
    near = law("prioritized_recency", p, domain, age, ReplaySettings())
    far = law("prioritized_recency", p, domain, age + 100 * 365 * _DAY + 12_345, ReplaySettings())
    np.testing.assert_allclose(near, far, rtol=1e-13)
    old = law("prioritized_recency", np.ones(2), domain[:2], np.array([0, 2_000 * _DAY]), ReplaySettings())
    assert old.tolist() == [0.0, 1.0]


def test_powers_are_positive_exactly_where_the_priority_is() -> None:
    """Also for alpha 0, where 0^0 is not 1, and for the smallest float64."""
    p = np.array([0.0, 5e-324, 1.0])
    assert powers(p, 0.0).tolist() == [0.0, 1.0, 1.0]
    assert powers(p, 1.0).tolist() == [0.0, 1e-150, 1.0]


def test_importance_weights_by_hand() -> None:
    """P = (.2, .4) of N = 5: (1 / (N P)) = (1, .5); over the batch's largest; over the buffer's with P_min = .1."""
    share = np.array([0.2, 0.4])
    np.testing.assert_allclose(importance_weights(share, 5, 1.0, "none", 0.1), [1.0, 0.5])
    np.testing.assert_allclose(importance_weights(share / 2, 5, 1.0, "none", 0.1), [2.0, 1.0])
    np.testing.assert_allclose(importance_weights(share / 2, 5, 0.5, "batch", 0.01), [1.0, 0.5**0.5])
    np.testing.assert_allclose(importance_weights(share, 5, 1.0, "buffer", 0.1), [0.5, 0.25])
    assert importance_weights(np.zeros(0), 5, 1.0, "batch", 0.1).tolist() == []
