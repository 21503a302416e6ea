"""The predictive density of the memory: a Bayesian model average over its tails and its doubt (section 6).

    p(s) = (1 - pi) m_c(s) + pi/2 (p0(s) + m_4(s)),  m_c(s) = sum_k (n_k/n) t_min(nu_k, c)(s; mu_k, f Sigma'_k)

averaged over S0' (what a schema is before its own states say so; Sigma' is Sigma with S0' in the place of S0), c (how
heavy its tails are) and pi (how often nothing known explains a state). The weights follow the states as they come, each
judged before any schema has learned it. Labels do not depend on them: those are the rule's. Archived schemas are
still known and count like the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from scipy.special import logsumexp

from janus_memory.errors import CheckpointError
from janus_memory.neocortex.kernels import factorize, squared_distances

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.bank import SchemaBank
    from janus_memory.store.arrays import Arrays

__all__ = ["Density", "schema_scores"]

# S0' = w S0 where features move together in every regime, w diag(S0) where each regime turns them its own way.
PRIORS = ((2.0, False), (1.25, True), (1.5, True))
SHARES = (0.001, 0.02, 0.05, 0.1, 0.2, 0.4)
_FORGETTING = 1 / 200
_BLOCK_ROWS = 1024
_LATEST = 2_000
_HEAVY = 4.0


@dataclass(frozen=True, slots=True)
class Density:
    """The weights of the average; immutable.

    Attributes:
        log_weights: float64 [3, 5, 6], for S0' in `PRIORS`, c in (4, 8, d, 2 d, inf) and pi in `SHARES`; sums to one as
            weights.
    """

    log_weights: NDArray[np.float64]

    @classmethod
    def uniform(cls) -> Density:
        """Nothing has been seen: all variants are equally likely."""
        shape = (len(PRIORS), 5, len(SHARES))
        return cls(np.full(shape, -math.log(math.prod(shape))))

    def learn(
        self, bank: SchemaBank, background: Background, x: NDArray[np.float64], gap: int = 1
    ) -> Density:
        """The weights after states that the bank has not learned: log w <- (1 - 1/(200 gap)) log w + log p(x) / gap.

        States nearer in time than the gap repeat each other, so `gap` of them count as one: the rule's two hundred are
        two hundred that differ. Of more than 2 000 states the last 2 000 are judged.

        Args:
            bank: the schemas; without any nothing is learned.
            background: log p0.
            x: float64 [n, d], standardised, in total order.
            gap: how many states that follow one another count as one (`neocortex.neighbour_gap`); 0 is as 1.
        """
        if not bank.size or not len(x):
            return self
        log_w, gap = self.log_weights, max(gap, 1)
        x = x[-_LATEST:]
        for start in range(0, len(x), _BLOCK_ROWS):
            for scores in variants(bank, background, x[start : start + _BLOCK_ROWS]):
                log_w = (1 - _FORGETTING / gap) * log_w + scores / gap
                log_w = log_w - logsumexp(log_w)
        return Density(np.asarray(log_w))

    def log_density(
        self, bank: SchemaBank, background: Background, x: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Log p of standardised states [n, d], natural logarithm; float64 [n]. The background alone without schemas."""
        if not bank.size:
            return background.log_density(x)
        parts = [
            logsumexp(self.log_weights + variants(bank, background, x[at : at + _BLOCK_ROWS]), axis=(1, 2, 3))
            for at in range(0, len(x), _BLOCK_ROWS)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {"log_weights": self.log_weights}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Density:
        """The inverse of `snapshot`.

        Raises:
            CheckpointError: weights of other variants than these.
        """
        log_weights = np.array(arrays["log_weights"], np.float64)
        wanted = cls.uniform().log_weights.shape
        if log_weights.shape != wanted:
            raise CheckpointError(
                f"the density's weights have shape {log_weights.shape}, expected {wanted}: other code wrote them; nothing "
                "was restored; start with an empty state folder, or go back to that code"
            )
        return cls(log_weights)


def schema_scores(bank: SchemaBank, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log t_nu(x; mu, f Sigma) of standardised states [n, d] under every schema, archived or not; float64 [n, size]."""
    c = bank.columns
    nu, q, log_det = _shared(bank, c.factor[: bank.size], x)
    return _log_t(q, nu, log_det, bank.d)


def variants(bank: SchemaBank, background: Background, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log p(s) of every variant; float64 [n, 3, 5, 6]. Those of one prior share the same Mahalanobis distances."""
    p0 = background.log_density(x)
    return np.stack([_of_prior(bank, background, prior, x, p0) for prior in PRIORS], axis=1)


def _of_prior(
    bank: SchemaBank,
    background: Background,
    prior: tuple[float, bool],
    x: NDArray[np.float64],
    p0: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The variants of one S0'; float64 [n, 5, 6]. `p0` is log p0 of the states."""
    n, d = bank.columns.n[: bank.size], bank.d
    nu, q, log_det = _shared(bank, _factors(bank, background, prior), x)
    share = np.log(n / n.sum())
    tails = np.stack(
        [
            logsumexp(share + _log_t(q, np.minimum(nu, cap), log_det, d), axis=1)
            for cap in (_HEAVY, 8.0, float(d), 2.0 * d, math.inf)
        ],
        axis=1,
    )
    # A state that no schema explains may still lie nearer to one than to the middle of everything.
    unknown = np.logaddexp(p0, tails[:, 0])[:, None, None] - math.log(2)
    pi = np.array(SHARES)
    return cast("NDArray[np.float64]", np.logaddexp(tails[:, :, None] + np.log1p(-pi), unknown + np.log(pi)))


def _factors(bank: SchemaBank, background: Background, prior: tuple[float, bool]) -> NDArray[np.float64]:
    """Upper factors of the covariances with S0' where the rule has S0; float64 [size, d, d].

    S0 is nu0 / (nu0 + n_eff) of a covariance. It is measured between nearest neighbours, which lie nearer to each
    other than two states of a regime do: hence the widths. The literal rule has no such share.
    """
    width, diagonal = prior
    s0 = background.s0
    wanted = width * (np.diag(np.diag(s0)) if diagonal else s0)
    c, size = bank.columns, bank.size
    nu, spread = c.nu[:size], c.spread[:size]
    known = np.isfinite(nu)
    share = np.where(known, 1.0 - 1.0 / np.where(known, spread - nu, 1.0), 0.0)
    covariance = c.covariance[:size] + share[:, None, None] * (wanted - s0)
    factor = np.empty_like(covariance)
    for k in range(size):
        if not factorize(covariance[k], factor[k], 0.0):
            factor[k] = c.factor[k]
    return factor


def _shared(
    bank: SchemaBank, factor: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Nu [size], squared distances under f Sigma [n, size] and log det f Sigma [size]."""
    c, size = bank.columns, bank.size
    rows = np.ascontiguousarray(x, np.float64)
    nu = c.nu[:size]
    f = np.where(np.isfinite(nu), c.spread[:size] / nu, 1.0)
    q = np.stack([squared_distances(factor[k], c.mean[k], rows) for k in range(size)], axis=1) / f
    diagonals = np.diagonal(factor, axis1=1, axis2=2)
    return nu, q, 2.0 * np.log(diagonals).sum(axis=1) + bank.d * np.log(f)


def _log_t(
    q: NDArray[np.float64], nu: NDArray[np.float64], log_det: NDArray[np.float64], d: int
) -> NDArray[np.float64]:
    """Log t_nu at squared distances q [n, K]; the normal density where nu is infinite (the spec mode)."""
    out = np.empty_like(q)
    for k, freedom in enumerate(nu.tolist()):
        if math.isinf(freedom):
            out[:, k] = -0.5 * (d * math.log(2 * math.pi) + q[:, k])
        else:
            constant = math.lgamma((freedom + d) / 2) - math.lgamma(freedom / 2)
            constant -= d / 2 * math.log(freedom * math.pi)
            out[:, k] = constant - 0.5 * (freedom + d) * np.log1p(q[:, k] / freedom)
    return out - 0.5 * log_det
