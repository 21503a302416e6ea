"""Merging of schemas that one Gaussian explains as well as two (section 6, each night).

The gain of a pair is the log marginal likelihood of the joined schema less those of the two, under the
normal-inverse-Wishart prior of weight nu0 with scatter nu0 S0, plus the gain in the count's prior. Pairs are sought among the
nearest neighbours in the S0 metric; the best go first, each schema once a round, until no gain is left.

A schema that would be pruned tonight is judged more strictly: it must also pay for the place of its mean, as any
state must that founds a schema. A splinter of a large schema so returns to it, instead of being forgotten.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.neocortex.kernels import constants, factorize, refresh, squared_distances
from janus_memory.neocortex.pruning import due
from janus_memory.neocortex.rule import Rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.config import NeocortexSettings
    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.bank import SchemaBank

__all__ = ["merge_gain", "merge_night"]

_NEIGHBOURS = 5


def merge_night(bank: SchemaBank, background: Background, settings: NeocortexSettings) -> int:
    """Merge living schemas in place; returns how many were merged away. The literal rule has no merging.

    The id with more points survives (tie: the older, then the earlier row); an alias leads from the other.
    """
    rule = Rule.resolve(settings, bank.d, float(np.trace(background.s0)) / bank.d)
    if not rule.robust:
        return 0
    living = set(bank.living.tolist())
    gone: list[int] = []
    gains: dict[tuple[int, int], float] = {}
    while True:
        pairs = _near_pairs(bank, background, sorted(living))
        leaving = due(bank, settings)
        for i, j in pairs:
            if (i, j) not in gains:
                placed = bool(leaving[i] or leaving[j])
                gains[i, j] = merge_gain(bank, background, rule, i, j, placed=placed)
        best = sorted((-gains[pair], pair) for pair in pairs if gains[pair] > 0)
        used: set[int] = set()
        for _, (i, j) in best:
            if used.isdisjoint((i, j)):
                used |= {i, j}
                survivor, absorbed = _ranked(bank, i, j)
                _join(bank, background, rule, survivor, absorbed)
                living.remove(absorbed)
                gone.append(absorbed)
        if not used:
            break
        gains = {pair: gain for pair, gain in gains.items() if used.isdisjoint(pair)}
    bank.remove(gone)
    return len(gone)


def merge_gain(
    bank: SchemaBank, background: Background, rule: Rule, i: int, j: int, *, placed: bool = False
) -> float:
    """Log ML(i+j) - log ML(i) - log ML(j) + log of the counts' factor; -inf where the join is not positive definite.

    With `placed` each mean is drawn from the background, not given: see `_placing`.
    """
    c, d = bank.columns, bank.d
    n_i, n_j = float(c.n[i]), float(c.n[j])
    psi = _joined_scatter(bank, background, rule, i, j)
    factor = np.empty_like(psi)
    if not factorize(psi, factor, rule.floor * rule.nu0):
        return -math.inf
    prior = d * math.log(rule.nu0) + _log_det(background.s0_factor)

    def log_ml(n: float, log_det_psi: float) -> float:
        m0 = rule.nu0 + d + 1.0
        return (
            _log_gamma_d((m0 + n) / 2, d)
            - _log_gamma_d(m0 / 2, d)
            + m0 / 2 * prior
            - (m0 + n) / 2 * log_det_psi
            - d / 2 * math.log1p(n)
        )

    def own(k: int, n: float) -> float:
        return log_ml(n, d * math.log(rule.nu0 + n) + _log_det(c.factor[k]))

    counts = math.lgamma(n_i + n_j) - math.lgamma(n_i) - math.lgamma(n_j)
    gain = log_ml(n_i + n_j, _log_det(factor)) - own(i, n_i) - own(j, n_j) + counts
    return gain + _placing(bank, background, rule, (i, j), _log_det(factor)) if placed else gain


def _placing(
    bank: SchemaBank, background: Background, rule: Rule, pair: tuple[int, int], log_det_psi: float
) -> float:
    """What a join gains in the density of its means: one is drawn where there were two.

    The marginal likelihood has a normal prior of weight 1 about a schema's own mean; that of its mean is therefore
    1/sqrt|2 pi Sigma|, however unlikely a schema is just there. Here log p0 takes its place.
    """
    c, (i, j) = bank.columns, pair
    n = c.n[i] + c.n[j]
    joined = (c.n[i] * c.mean[i] + c.n[j] * c.mean[j]) / n
    log_det = log_det_psi - bank.d * math.log(rule.nu0 + n) - _log_det(c.factor[i]) - _log_det(c.factor[j])
    density = background.log_density(np.stack([joined, c.mean[i], c.mean[j]]))
    return float(density[0] - density[1] - density[2] + 0.5 * (log_det - bank.d * math.log(2 * math.pi)))


def _near_pairs(bank: SchemaBank, background: Background, living: list[int]) -> list[tuple[int, int]]:
    """Pairs (i < j) of which one is among the other's nearest in the S0 metric; ties go to the lower row."""
    means = bank.columns.mean[living]
    pairs: set[tuple[int, int]] = set()
    for at, i in enumerate(living):
        distance = squared_distances(background.s0_factor, means[at], means)
        distance[at] = math.inf
        for near in np.argsort(distance, kind="stable")[: min(_NEIGHBOURS, len(living) - 1)]:
            j = living[near]
            pairs.add((min(i, j), max(i, j)))
    return sorted(pairs)


def _joined_scatter(
    bank: SchemaBank, background: Background, rule: Rule, i: int, j: int
) -> NDArray[np.float64]:
    """Psi_i + Psi_j - nu0 S0 + (n_i n_j / (n_i + n_j)) e e^T, e = mu_i - mu_j."""
    c = bank.columns
    n_i, n_j = c.n[i], c.n[j]
    e = c.mean[i] - c.mean[j]
    psi: NDArray[np.float64] = (
        (rule.nu0 + n_i) * c.covariance[i]
        + (rule.nu0 + n_j) * c.covariance[j]
        - rule.nu0 * background.s0
        + n_i * n_j / (n_i + n_j) * (e[:, None] * e[None, :])
    )
    return psi


def _ranked(bank: SchemaBank, i: int, j: int) -> tuple[int, int]:
    """(survivor, absorbed)."""
    c = bank.columns
    first, second = sorted((i, j), key=lambda k: (-c.n[k], c.made[k], k))
    return first, second


def _join(bank: SchemaBank, background: Background, rule: Rule, survivor: int, absorbed: int) -> None:
    c = bank.columns
    n_i, n_j = c.n[survivor], c.n[absorbed]
    n = n_i + n_j
    c.covariance[survivor] = _joined_scatter(bank, background, rule, survivor, absorbed) / (rule.nu0 + n)
    refresh(c.covariance[survivor], c.factor[survivor], rule.floor)
    c.mean[survivor] = (n_i * c.mean[survivor] + n_j * c.mean[absorbed]) / n
    c.n[survivor] = n
    c.stale[survivor] = 0
    c.nu[survivor], c.spread[survivor], c.offset[survivor] = constants(n, c.factor[survivor], rule)
    c.reward_sum[survivor] += c.reward_sum[absorbed]
    c.made[survivor] = min(c.made[survivor], c.made[absorbed])
    c.seen[survivor] = max(c.seen[survivor], c.seen[absorbed])
    c.large_nights[survivor] = max(c.large_nights[survivor], c.large_nights[absorbed])
    c.small_nights[survivor] = max(c.small_nights[survivor], c.small_nights[absorbed])
    bank.alias(absorbed, survivor)


def _log_det(factor: NDArray[np.float64]) -> float:
    return 2.0 * float(np.log(np.diag(factor)).sum())


@functools.lru_cache(maxsize=1 << 14)
def _log_gamma_d(a: float, d: int) -> float:
    """Multivariate log-gamma without its power of pi, which cancels; remembered, since every schema has several pairs."""
    return math.fsum(math.lgamma(a - j / 2) for j in range(d))
