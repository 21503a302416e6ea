"""Bounds of scores: never below the log-densities that scipy has, and these themselves where nothing is left out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, multivariate_t

from janus_memory.config import NeocortexSettings
from janus_memory.neocortex.assignment import BankView, score_block
from tests.unit.schema_rows import ROBUST, SPEC, fitted, night, planted


@pytest.mark.parametrize("d", [1, 3, 4, 9, 40])
@pytest.mark.parametrize("settings", [ROBUST, SPEC], ids=["robust", "spec"])
def test_no_score_is_above_its_bound(settings: NeocortexSettings, d: int) -> None:
    """t_nu(mu, f Sigma) in the robust mode, the normal in the spec mode."""
    x, _ = planted(300, d, 3)
    bank, background = fitted(x, settings)
    night(bank, background, x, settings=settings)
    bound = score_block(BankView.of(bank), x).score
    eta_s = min(0.002, 1 / (8 * d))
    score = np.empty_like(bound)
    for k, (n, mean, covariance) in enumerate(
        zip(bank.num_points, bank.means, bank.covariances, strict=True)
    ):
        n_eff = min(float(n), (2 - eta_s) / eta_s)
        robust = multivariate_t(mean, (1 + 1 / n_eff) * covariance, df=2 * d + n_eff)
        law = multivariate_normal(mean, covariance) if settings is SPEC else robust
        score[:, k] = law.logpdf(x) + (0 if settings is SPEC or d >= 32 else 0.5 * np.log(float(n)))
    assert (bound >= score - 1e-9 * (1 + np.abs(score))).all()


def test_the_normal_density_of_few_dimensions_is_its_own_bound() -> None:
    """No term is left out and no logarithm replaced: equal to rounding."""
    x, _ = planted(200, 4, 3)
    bank, background = fitted(x, SPEC)
    night(bank, background, x, settings=SPEC)
    bound = score_block(BankView.of(bank), x).score
    for k, (mean, covariance) in enumerate(zip(bank.means, bank.covariances, strict=True)):
        np.testing.assert_allclose(bound[:, k], multivariate_normal(mean, covariance).logpdf(x), rtol=1e-8)


def test_a_view_is_a_copy_and_may_be_read_only() -> None:
    """Later updates do not reach it, and arrays from an object store cannot be written to."""
    x, _ = planted(200, 4, 3)
    bank, background = fitted(x)
    night(bank, background, x[:100])
    view = BankView.of(bank)
    before = score_block(view, x).score
    night(bank, background, x[100:])
    frozen = x.copy()
    for array in (view.mean, view.factor, view.slope, view.bend, view.offset, frozen):
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
