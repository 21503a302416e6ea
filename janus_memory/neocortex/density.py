"""The predictive density of the memory: a Bayesian model average over its tails and its doubt (section 6).

    p(s) = (1 - pi) sum_k (n_k/n) t_min(nu_k, c)(s; mu_k, f Sigma_k) + pi p0(s)

averaged over c (how heavy the tails of a schema are) and pi (how often nothing known explains a state). The weights
follow the states as they come, each judged before any schema has learned it. Labels do not depend on them: those
are the rule's. Archived schemas are still known and count like the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from scipy.special import logsumexp

from janus_memory.neocortex.kernels import squared_distances

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.bank import SchemaBank
    from janus_memory.store.arrays import Arrays

__all__ = ["Density", "schema_scores"]

SHARES = (0.001, 0.02, 0.05, 0.1, 0.2, 0.4)
_FORGETTING = 1 / 200
_BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Density:
    """The weights of the average; immutable.

    Attributes:
        log_weights: float64 [5, 6], for c in (4, 8, d, 2 d, inf) and pi in `SHARES`; sums to one as weights.
    """

    log_weights: NDArray[np.float64]

    @classmethod
    def uniform(cls) -> Density:
        """Nothing has been seen: all variants are equally likely."""
        return cls(np.full((5, len(SHARES)), -math.log(5 * len(SHARES))))

    def learn(self, bank: SchemaBank, background: Background, x: NDArray[np.float64]) -> Density:
        """The weights after states that the bank has not learned: log w <- (1 - 1/200) log w + log p(x), row by row.

        Args:
            bank: the schemas; without any nothing is learned.
            background: log p0.
            x: float64 [n, d], standardised, in total order.
        """
        if not bank.size or not len(x):
            return self
        log_w = self.log_weights
        for start in range(0, len(x), _BLOCK_ROWS):
            for scores in variants(bank, background, x[start : start + _BLOCK_ROWS]):
                log_w = (1 - _FORGETTING) * log_w + scores
                log_w = log_w - logsumexp(log_w)
        return Density(np.asarray(log_w))

    def log_density(
        self, bank: SchemaBank, background: Background, x: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Log p of standardised states [n, d], natural logarithm; float64 [n]. The background alone without schemas."""
        if not bank.size:
            return background.log_density(x)
        parts = [
            logsumexp(self.log_weights + variants(bank, background, x[at : at + _BLOCK_ROWS]), axis=(1, 2))
            for at in range(0, len(x), _BLOCK_ROWS)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {"log_weights": self.log_weights}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Density:
        """The inverse of `snapshot`."""
        return cls(np.array(arrays["log_weights"], np.float64))


def schema_scores(bank: SchemaBank, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log t_nu(x; mu, f Sigma) of standardised states [n, d] under every schema, archived or not; float64 [n, size]."""
    nu, q, log_det = _shared(bank, x)
    return _log_t(q, nu, log_det, bank.d)


def variants(bank: SchemaBank, background: Background, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log p(s) of every variant; float64 [n, 5, 6]. All share the same Mahalanobis distances."""
    c, size, d = bank.columns, bank.size, bank.d
    nu, q, log_det = _shared(bank, x)
    share = np.log(c.n[:size] / c.n[:size].sum())
    tails = np.stack(
        [
            logsumexp(share + _log_t(q, np.minimum(nu, cap), log_det, d), axis=1)
            for cap in (4.0, 8.0, float(d), 2.0 * d, math.inf)
        ],
        axis=1,
    )
    p0 = background.log_density(x)[:, None, None]
    pi = np.array(SHARES)
    return cast("NDArray[np.float64]", np.logaddexp(tails[:, :, None] + np.log1p(-pi), p0 + np.log(pi)))


def _shared(
    bank: SchemaBank, x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Nu [size], squared distances under f Sigma [n, size] and log det f Sigma [size]."""
    c, size = bank.columns, bank.size
    rows = np.ascontiguousarray(x, np.float64)
    nu = c.nu[:size]
    f = np.where(np.isfinite(nu), c.spread[:size] / nu, 1.0)
    q = np.stack([squared_distances(c.factor[k], c.mean[k], rows) for k in range(size)], axis=1) / f
    diagonals = np.diagonal(c.factor[:size], axis1=1, axis2=2)
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
