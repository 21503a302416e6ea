"""Merging: the gain by hand, and what becomes of ids, counts and moments."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from scipy.special import multigammaln
from scipy.stats import multivariate_normal, multivariate_t

from janus_memory.neocortex.background import Background
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.kernels import constants, refresh
from janus_memory.neocortex.merging import merge_gain, merge_night
from janus_memory.neocortex.rule import Rule
from janus_memory.store.arrays import array_digest
from tests.unit.schema_rows import ROBUST, SPEC, fitted, night, planted


def _two(n: tuple[int, int], means: tuple[float, float], d: int = 2) -> tuple[SchemaBank, Background, Rule]:
    """Two schemas of covariance 0.1 I at (m, 0, ...), made at 10 and 5, rewards 2 and 5 a point."""
    x, _ = planted(200, d, 3)
    bank, background = fitted(x)
    rule = Rule.resolve(ROBUST, d, float(np.trace(background.s0)) / d)
    bank.reserve(2)
    c = bank.columns
    for k in range(2):
        c.n[k], c.made[k], c.seen[k], c.reward_sum[k] = n[k], (10, 5)[k], (20, 30)[k], (2, 5)[k] * n[k]
        c.mean[k, 0] = means[k]
        c.covariance[k] = 0.1 * np.eye(d)
        refresh(c.covariance[k], c.factor[k], rule.floor)
        c.nu[k], c.spread[k], c.offset[k] = constants(c.n[k], c.factor[k], rule)
    bank.name_new(2, "m", "s")
    return bank, background, rule


@pytest.mark.parametrize("distance", [0.0, 0.3, 3.0])
def test_the_gain_is_that_of_the_marginal_likelihoods(distance: float) -> None:
    """Section 6's formula with scipy's multivariate gamma (whose powers of pi cancel)."""
    bank, background, rule = _two((40, 25), (0.0, distance), d=3)
    nu0, m0, d = 6.0, 6.0 + 3 + 1, 3

    def log_ml(n: float, psi: np.ndarray) -> float:
        return float(
            multigammaln((m0 + n) / 2, d)
            - multigammaln(m0 / 2, d)
            + m0 / 2 * np.linalg.slogdet(nu0 * background.s0)[1]
            - (m0 + n) / 2 * np.linalg.slogdet(psi)[1]
            - d / 2 * math.log(1 + n)
        )

    a, b = (nu0 + 40) * 0.1 * np.eye(3), (nu0 + 25) * 0.1 * np.eye(3)
    e = np.array([distance, 0, 0])
    joined = a + b - nu0 * background.s0 + 40 * 25 / 65 * np.outer(e, e)
    wanted = log_ml(65, joined) - log_ml(40, a) - log_ml(25, b)
    wanted += math.lgamma(65) - math.lgamma(40) - math.lgamma(25)
    assert np.linalg.eigvalsh(joined).min() > 0
    assert merge_gain(bank, background, rule, 0, 1) == pytest.approx(wanted, rel=1e-9)


def test_a_join_that_is_not_positive_definite_is_no_gain() -> None:
    """Two schemas far tighter than S0: their scatters cannot pay the prior twice."""
    bank, background, rule = _two((2, 2), (0.0, 0.0))
    for k in range(2):
        bank.columns.covariance[k] *= 1e-3
    assert merge_gain(bank, background, rule, 0, 1) == -math.inf


@pytest.mark.parametrize(("n", "survivor"), [((40, 25), 0), ((25, 40), 1), ((30, 30), 1)])
def test_a_merge_by_hand(n: tuple[int, int], survivor: int) -> None:
    """Moments by counts; the id with more points survives, at a tie the older; the alias leads to it."""
    bank, background, rule = _two(n, (0.0, 0.1))
    ids = [i.decode() for i in bank.ids.tolist()]
    e = np.array([0.1, 0.0])
    scatter = 2 * rule.nu0 * 0.1 * np.eye(2) + sum(n) * 0.1 * np.eye(2) - rule.nu0 * background.s0
    scatter += n[0] * n[1] / sum(n) * np.outer(e, e)
    assert merge_night(bank, background, ROBUST) == 1
    assert bank.ids.tolist() == [ids[survivor].encode()]
    assert bank.aliases == {ids[1 - survivor]: ids[survivor]}
    assert bank.resolve(ids[1 - survivor]) == ids[survivor]
    assert (bank.num_points[0], bank.created_at[0], bank.last_updated[0]) == (sum(n), 5, 30)
    np.testing.assert_allclose(bank.means[0], [0.1 * n[1] / sum(n), 0], atol=1e-15)
    np.testing.assert_allclose(bank.covariances[0], scatter / (rule.nu0 + sum(n)), atol=1e-14)
    assert bank.avg_rewards[0] == pytest.approx((2 * n[0] + 5 * n[1]) / sum(n))


def test_a_placed_gain_draws_each_mean_from_the_background() -> None:
    """Log p0(mu) - log N(mu; mu, Sigma) of the join, less those of the two."""
    bank, background, rule = _two((40, 25), (0.0, 0.3), d=3)
    e = np.array([0.3, 0, 0])
    psi = (2 * rule.nu0 + 65) * 0.1 * np.eye(3) - rule.nu0 * background.s0 + 40 * 25 / 65 * np.outer(e, e)
    placing = 0.0
    for sign, mean, sigma in (
        (1, 25 / 65 * e, psi / (rule.nu0 + 65)),
        (-1, 0 * e, 0.1 * np.eye(3)),
        (-1, e, 0.1 * np.eye(3)),
    ):
        p0 = multivariate_t(background.m0, background.c0, df=6).logpdf(mean)
        placing += sign * (p0 - multivariate_normal(mean, sigma).logpdf(mean))
    given = merge_gain(bank, background, rule, 0, 1)
    assert merge_gain(bank, background, rule, 0, 1, placed=True) - given == pytest.approx(placing, rel=1e-9)


@pytest.mark.parametrize(("nights", "min_points", "merged"), [(1, 10, 1), (0, 10, 0), (1, 1, 0)])
def test_a_splinter_returns_before_it_would_be_pruned(nights: int, min_points: int, merged: int) -> None:
    """Not before its nights of grace are over, and not where it would stay."""
    bank, background, rule = _two((400, 1), (0.0, 2.5), d=8)
    assert (
        merge_gain(bank, background, rule, 0, 1) < 0 < merge_gain(bank, background, rule, 0, 1, placed=True)
    )
    bank.columns.large_nights[:2] = nights
    settings = msgspec.structs.replace(ROBUST, min_points=min_points)
    assert merge_night(bank, background, settings) == merged


def test_an_outlier_does_not_return() -> None:
    """Its place far from all is paid for."""
    bank, background, _ = _two((400, 1), (0.0, 12.0), d=8)
    bank.columns.large_nights[:2] = 1
    assert merge_night(bank, background, ROBUST) == 0


def test_schemas_that_lie_apart_stay_apart() -> None:
    """No gain, no change."""
    bank, background, _ = _two((40, 25), (0.0, 5.0))
    before = array_digest(bank.snapshot())
    assert merge_night(bank, background, ROBUST) == 0
    assert array_digest(bank.snapshot()) == before


def test_merging_ends_where_no_near_pair_gains() -> None:
    """A second call finds nothing more; points are kept; the literal rule merges nothing."""
    x, _ = planted(1500, 8, 4, run=3)
    bank, background = fitted(x)
    night(bank, background, x)
    n = bank.num_points.sum()
    assert merge_night(bank, background, SPEC) == 0
    assert merge_night(bank, background, ROBUST) > 0
    assert bank.num_points.sum() == n
    assert merge_night(bank, background, ROBUST) == 0
    assert all(np.linalg.eigvalsh(s).min() > 0 for s in bank.covariances)


@pytest.mark.parametrize("n", [0, 1])
def test_none_and_one_have_nobody_to_merge_with(n: int) -> None:
    """An empty bank and one schema."""
    bank, background, _ = _two((40, 25), (0.0, 0.0))
    bank.remove(list(range(n, 2)))
    assert merge_night(bank, background, ROBUST) == 0
    assert len(bank.ids) == n


def test_the_archive_is_not_merged() -> None:
    """An archived schema keeps to itself, near as it lies."""
    bank, background, _ = _two((40, 25), (0.0, 0.0))
    bank.columns.archived[1] = 1
    assert merge_night(bank, background, ROBUST) == 0
    assert len(bank.archived_ids) == 1
