"""The predictive density of the memory against its definition, by an independent library."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, multivariate_t

from janus_memory.config import NeocortexSettings
from janus_memory.errors import CheckpointError
from janus_memory.neocortex.background import Background
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.density import PRIORS, SHARES, Density, schema_scores, variants
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
    assert bank.num_points.max() < 999, "all counts are below the largest effective one"

    def mixed(s0: np.ndarray, c: float) -> np.ndarray:
        total = np.zeros(len(new))
        for n, mean, covariance, weight in zip(
            bank.num_points.tolist(), bank.means, bank.covariances, share, strict=True
        ):
            wide = covariance + 2 * d / (2 * d + n) * (s0 - background.s0)
            law = multivariate_t(mean, (1 + 1 / n) * wide, df=min(2 * d + n, c))
            total += weight * np.atleast_1d(law.pdf(new))
        return total

    for w, (width, diagonal) in enumerate(PRIORS):
        s0 = width * background.s0 * (np.eye(d) if diagonal else 1.0)
        unknown = (p0 + mixed(s0, 4)) / 2
        for i, c in enumerate((4, 8, d, 2 * d, math.inf)):
            for j, pi in enumerate(SHARES):
                wanted = np.log((1 - pi) * mixed(s0, c) + pi * unknown)
                np.testing.assert_allclose(found[:, w, i, j], wanted, rtol=1e-8)


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
    known = logsumexp(scores + share, axis=1)
    heavy = [multivariate_t(c.mean[k], c.covariance[k], df=4).logpdf(new) for k in range(bank.size)]
    unknown = np.logaddexp(p0, logsumexp(np.stack(heavy, axis=1) + share, axis=1)) - np.log(2)
    expected = np.logaddexp(np.log1p(-0.4) + known, np.log(0.4) + unknown)
    for w in range(len(PRIORS)):
        np.testing.assert_allclose(variants(bank, background, new)[:, w, 4, 5], expected, rtol=1e-8)


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
    """Log w <- (1 - 1/(200 gap)) log w + log p(x) / gap, uniform at the start, however the states are cut."""
    bank, background, new = _memory(3)
    log_w = np.full((3, 5, 6), -math.log(90))
    for scores in variants(bank, background, new):
        log_w = (1 - 1 / (200 * 7)) * log_w + scores / 7
        log_w -= logsumexp(log_w)
    whole = Density.uniform().learn(bank, background, new, 7)
    np.testing.assert_allclose(whole.log_weights, log_w, rtol=1e-12)
    parts = Density.uniform().learn(bank, background, new[:37], 7).learn(bank, background, new[37:], 7)
    np.testing.assert_array_equal(parts.log_weights, whole.log_weights)
    expected = logsumexp(log_w + variants(bank, background, new), axis=(1, 2, 3))
    np.testing.assert_allclose(whole.log_density(bank, background, new), expected, rtol=1e-12)


def test_states_that_nothing_explains_raise_the_doubt() -> None:
    """Those near the middle of everything by the share, those far from all by the heaviest tails."""
    # A rule of its own, because what the weights are after so few states depends on the schemas, not on the density alone.
    bank, background, new = _memory(3, NeocortexSettings(count_power=0.5, tau_rel=5.0))
    known, between, far = (
        np.exp(Density.uniform().learn(bank, background, x).log_weights).sum(axis=0)
        for x in (new, background.m0 + 0.02 * new, new + 6)
    )
    shares = [float((w.sum(axis=0) * SHARES).sum()) for w in (known, between)]
    assert shares[0] < 0.05
    assert shares[1] > 0.3
    # In three dimensions the third variant, c = d, has the heaviest tails.
    assert known[2].sum() < 0.1
    assert far[2].sum() > 0.9


def test_only_the_latest_states_are_judged() -> None:
    """Of 2 100 states the first 100 are left out."""
    bank, background, new = _memory(2)
    many = np.tile(new, (21, 1))
    whole = Density.uniform().learn(bank, background, many)
    np.testing.assert_array_equal(
        whole.log_weights, Density.uniform().learn(bank, background, many[100:]).log_weights
    )


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_states_choose_what_a_schema_is_before_its_own_states_say_so(*, diagonal: bool) -> None:
    """Regimes that all share one shape speak for S0 whole, those that each have their own for its diagonal."""
    rng = np.random.default_rng(4)
    d, n_regimes = 6, 40
    turn = [np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(n_regimes if diagonal else 1)]
    spread = np.array([3.0, 1.0, 0.5, 0.3, 0.2, 0.1])
    centre = 8 * rng.normal(size=(n_regimes, d))
    which = rng.integers(0, n_regimes, 1_000)
    noise = rng.normal(size=(1_000, d)) * spread
    x = np.stack([centre[k] + turn[k % len(turn)] @ e for k, e in zip(which, noise, strict=True)])
    bank, background = fitted(x[:500])
    night(bank, background, x[:500])
    weights = np.exp(Density.uniform().learn(bank, background, x[500:]).log_weights).sum(axis=(1, 2))
    of_diagonals = sum(w for w, (_, is_diagonal) in zip(weights, PRIORS, strict=True) if is_diagonal)
    assert (of_diagonals > 0.9) if diagonal else (of_diagonals < 0.1)


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


def test_weights_of_other_variants_are_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match=r"density's weights have shape \(5, 6\), expected \(3, 5, 6\)"):
        Density.restore({"log_weights": np.zeros((5, 6))})
