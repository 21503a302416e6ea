"""The predictive density of the memory against its definition, by an independent library."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, multivariate_t

from janus_memory.config import NeocortexSettings
from janus_memory.neocortex.background import Background
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.density import SHARES, Density, schema_scores, variants
from tests.unit.schema_rows import ROBUST, SPEC, fitted, night, planted


def _memory(d: int, settings: NeocortexSettings = ROBUST) -> tuple[SchemaBank, Background, np.ndarray]:
    x, _ = planted(400, d, 3)
    bank, background = fitted(x[:300], settings)
    night(bank, background, x[:300], settings=settings)
    return bank, background, x[300:]


@pytest.mark.parametrize("d", [1, 3, 5])
def test_every_variant_is_its_mixture_of_t_densities(d: int) -> None:
    bank, background, new = _memory(d)
    found = variants(bank, background, new)
    p0 = np.atleast_1d(multivariate_t(background.m0, background.c0, df=d + 3).pdf(new))
    share = bank.num_points / bank.num_points.sum()
    n_cap = (2 - 0.002) / 0.002
    for i, c in enumerate((4, 8, d, 2 * d, math.inf)):
        mixed = np.zeros(len(new))
        for n, mean, covariance, weight in zip(
            bank.num_points.tolist(), bank.means, bank.covariances, share, strict=True
        ):
            n_eff = min(n, n_cap)
            law = multivariate_t(mean, (1 + 1 / n_eff) * covariance, df=min(2 * d + n_eff, c))
            mixed += weight * np.atleast_1d(law.pdf(new))
        for j, pi in enumerate(SHARES):
            np.testing.assert_allclose(found[:, i, j], np.log((1 - pi) * mixed + pi * p0), rtol=1e-8)


def test_the_literal_rule_is_a_mixture_of_normal_densities() -> None:
    """With c = inf; archived schemas count, too."""
    bank, background, new = _memory(2, SPEC)
    bank.columns.archived[0] = 1
    c = bank.columns
    laws = [multivariate_normal(c.mean[k], c.covariance[k]) for k in range(bank.size)]
    scores = np.stack([law.logpdf(new) for law in laws], axis=1)
    np.testing.assert_allclose(schema_scores(bank, new), scores, rtol=1e-8)
    share = np.log(c.n[: bank.size] / c.n[: bank.size].sum())
    p0 = multivariate_t(background.m0, background.c0, df=5).logpdf(new)
    expected = np.logaddexp(np.log1p(-0.4) + logsumexp(scores + share, axis=1), np.log(0.4) + p0)
    np.testing.assert_allclose(variants(bank, background, new)[:, 4, 5], expected, rtol=1e-8)


def test_the_average_is_a_density() -> None:
    """It integrates to one."""
    bank, background, new = _memory(1)
    density = Density.uniform().learn(bank, background, new)
    total, _ = quad(
        lambda s: math.exp(density.log_density(bank, background, np.array([[s]]))[0]),
        -60,
        60,
        points=[-2, 0, 2],
        limit=400,
    )
    assert total == pytest.approx(1, abs=1e-3)


def test_weights_follow_the_states_with_a_slow_forgetting() -> None:
    """Log w <- (1 - 1/200) log w + log p(x), uniform at the start, however the states are cut."""
    bank, background, new = _memory(3)
    log_w = np.full((5, 6), -math.log(30))
    for scores in variants(bank, background, new):
        log_w = (1 - 1 / 200) * log_w + scores
        log_w -= logsumexp(log_w)
    whole = Density.uniform().learn(bank, background, new)
    np.testing.assert_allclose(whole.log_weights, log_w, rtol=1e-12)
    parts = Density.uniform().learn(bank, background, new[:37]).learn(bank, background, new[37:])
    np.testing.assert_array_equal(parts.log_weights, whole.log_weights)
    expected = logsumexp(log_w + variants(bank, background, new), axis=(1, 2))
    np.testing.assert_allclose(whole.log_density(bank, background, new), expected, rtol=1e-12)


def test_states_that_nothing_explains_raise_the_doubt() -> None:
    bank, background, new = _memory(3)
    known = np.exp(Density.uniform().learn(bank, background, new).log_weights).sum(axis=0)
    far = np.exp(Density.uniform().learn(bank, background, new + 6).log_weights).sum(axis=0)
    assert (known * SHARES).sum() < 0.05
    assert (far * SHARES).sum() > 0.3


def test_without_schemas_the_background_speaks_and_nothing_is_learned() -> None:
    _, background, new = _memory(3)
    empty, density = SchemaBank.empty(3), Density.uniform()
    assert density.learn(empty, background, new) is density
    np.testing.assert_array_equal(density.log_density(empty, background, new), background.log_density(new))


def test_without_states_there_is_nothing_to_say() -> None:
    bank, background, new = _memory(3)
    density = Density.uniform()
    assert density.learn(bank, background, new[:0]) is density
    assert density.log_density(bank, background, new[:0]).shape == (0,)


def test_restore_is_the_inverse_of_snapshot() -> None:
    bank, background, new = _memory(2)
    density = Density.uniform().learn(bank, background, new)
    np.testing.assert_array_equal(Density.restore(density.snapshot()).log_weights, density.log_weights)
