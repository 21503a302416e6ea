"""Bounds of scores: never below the log-densities that scipy has, and these themselves where nothing is left out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.stats import multivariate_normal, multivariate_t

from janus_memory.config import NeocortexSettings
from janus_memory.neocortex.assignment import BankView, score_block
from janus_memory.neocortex.kernels import loosened, squared_distance, squared_distances
from tests.unit.schema_rows import ROBUST, SPEC, fitted, night, planted


@pytest.mark.parametrize("d", [1, 3, 4, 9, 40])
@pytest.mark.parametrize("settings", [ROBUST, SPEC], ids=["robust", "spec"])
def test_no_score_is_above_its_bound(settings: NeocortexSettings, d: int) -> None:
    """t_nu(mu, f Sigma) in the robust mode, the normal in the spec mode."""
    x, _ = planted(300, d, 3)
    bank, background = fitted(x, settings)
    night(bank, background, x, settings=settings)
    bound = score_block(BankView.of(bank), x).score
    eta_s = min(0.0005, 1 / (8 * d))
    score = np.empty_like(bound)
    for k, (n, mean, covariance) in enumerate(
        zip(bank.num_points, bank.means, bank.covariances, strict=True)
    ):
        n_eff = min(float(n), (2 - eta_s) / eta_s)
        robust = multivariate_t(mean, (1 + 1 / n_eff) * covariance, df=2 * d + n_eff)
        law = multivariate_normal(mean, covariance) if settings is SPEC else robust
        score[:, k] = law.logpdf(x) + (
            0 if settings is SPEC else (0.5 if bank.d < 16 else 0.35) * np.log(float(n))
        )
    assert (bound >= score - 1e-9 * (1 + np.abs(score))).all()


def test_the_normal_density_of_few_dimensions_is_its_own_bound() -> None:
    """No term is left out and no logarithm replaced: equal to the rounding of float32."""
    x, _ = planted(200, 4, 3)
    bank, background = fitted(x, SPEC)
    night(bank, background, x, settings=SPEC)
    bound = score_block(BankView.of(bank), x).score
    for k, (mean, covariance) in enumerate(zip(bank.means, bank.covariances, strict=True)):
        np.testing.assert_allclose(
            bound[:, k], multivariate_normal(mean, covariance).logpdf(x), rtol=1e-3, atol=0.01
        )


def _one(x: NDArray[np.float64], mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> BankView:
    """A view of one normal schema."""
    bank, _ = fitted(x, SPEC)
    bank.reserve(1)
    bank.columns.mean[0] = mean
    bank.columns.factor[0] = np.linalg.cholesky(covariance).T
    bank.columns.nu[0], bank.columns.spread[0] = np.inf, 1.0
    bank.size = 1
    return BankView.of(bank)


@pytest.mark.parametrize("far", [1.0, 1e4, 1e12, 1e30, 1e45, 1e90])
@pytest.mark.parametrize("narrow", [1.0, 1e-6, 1e-9])
def test_rounding_never_lowers_a_bound(far: float, narrow: float) -> None:
    """States beyond float32 and features that repeat each other bound less, never too much."""
    d = 8
    x, _ = planted(64, d, 2)
    same = np.ones((d, d)) + narrow * np.eye(d)
    mean = np.full(d, far / 3)
    x = far * np.repeat(x[:, :1], d, axis=1) + np.sqrt(narrow) * x
    bound = score_block(_one(x[:, :d], mean, same), x).score[:, 0]
    root = np.linalg.cholesky(same)
    exact = -0.5 * (solve_triangular(root, (x - mean).T, lower=True) ** 2).sum(axis=0)
    assert not np.isnan(bound).any()
    assert (bound >= exact - 1e-6 * (1 + np.abs(exact))).all()


@pytest.mark.parametrize("rates", [(0.5, 0.1, 0.05), (0.01, 0.01, 0.01), (0.002, 0.002, 0.0019)])
def test_bounds_of_a_moved_schema_hold(rates: tuple[float, float, float]) -> None:
    """Sigma' = (1 - b) Sigma + c e e^T about mu + a e is nowhere further away than its loosened bounds say: far less loose than 0."""
    rng = np.random.default_rng(4)
    d, (a, b, c) = 6, rates
    root = rng.normal(size=(d, d)) + 3 * np.eye(d)
    sigma = root @ root.T
    x = 3 * rng.normal(size=(64, d)) @ root.T
    e = rng.normal(size=d) @ root.T
    near = (np.linalg.solve(root, x.T) ** 2).sum(axis=0)
    before = near.copy()
    loosened(near, float((np.linalg.solve(root, e) ** 2).sum()), rates)
    moved = np.linalg.cholesky((1 - b) * sigma + c * np.outer(e, e))
    exact = (np.linalg.solve(moved, (x - a * e).T) ** 2).sum(axis=0)
    assert (near <= exact * (1 + 1e-12)).all()
    assert (near[before > 60] > 0.2 * before[before > 60]).all()
    assert (before > 60).any()


def test_a_view_is_a_copy_and_may_be_read_only() -> None:
    """Later updates do not reach it, and arrays from an object store cannot be written to."""
    x, _ = planted(200, 4, 3)
    bank, background = fitted(x)
    night(bank, background, x[:100])
    view = BankView.of(bank)
    before = score_block(view, x).score
    night(bank, background, x[100:])
    frozen = x.copy()
    for array in (view.whitener, view.shift, view.doubt, view.slope, view.bend, view.offset, frozen):
        array.flags.writeable = False
    np.testing.assert_array_equal(score_block(view, frozen).score, before)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_row_does_not_know_its_block(n: int) -> None:
    """Scores of a block are those of its rows one by one; also of none."""
    x, _ = planted(100, 5, 3)
    bank, background = fitted(x)
    night(bank, background, x)
    view = BankView.of(bank)
    whole = score_block(view, x).score
    assert score_block(view, x[:n]).score.tobytes() == whole[:n].tobytes()


@pytest.mark.parametrize("d", [1, 3, 4, 9, 64])
@pytest.mark.parametrize("n", [0, 1, 19, 20, 64, 65, 150])
def test_many_distances_are_those_of_one_row_to_the_last_bit(n: int, d: int) -> None:
    """Side by side or one by one; and both are what numpy solves."""
    rng = np.random.default_rng(n)
    factor = np.triu(rng.normal(size=(d, d))) + 4 * np.eye(d)
    mean, x = rng.normal(size=d), rng.normal(size=(n, d))
    found = squared_distances(factor, mean, x)
    work = np.empty(d)
    singly = np.array([squared_distance(factor, mean, row, work, np.inf) for row in x])
    assert found.tobytes() == singly.tobytes()
    exact = (solve_triangular(factor, (x - mean).T, trans="T") ** 2).sum(axis=0) if n else np.zeros(0)
    np.testing.assert_allclose(found, exact, rtol=1e-10)
