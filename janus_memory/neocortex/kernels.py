"""The fixed float64 kernels through which every number enters the schema bank (E16, E21, E22).

They are compiled by numba without fastmath, without threads and without BLAS, so that the same inputs
give the same bytes in every process of a machine. A covariance is held with its upper Cholesky factor U
(Sigma = U^T U): Mahalanobis distances are forward substitutions, updates are rank-one, densities stay in
the log domain and no inverse is formed. The factor is computed afresh every `REFRESH_EVERY` updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

if TYPE_CHECKING:
    from janus_memory.neocortex.rule import Rule

__all__ = [
    "Columns",
    "bulk_scores",
    "constants",
    "factorize",
    "refresh",
    "squared_distance",
    "walk",
    "whitener",
]

REFRESH_EVERY = 64
NOMINATION = 1e-6

F8 = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False)(function)
    return kernel


class Columns(NamedTuple):
    """The schemas, one column an attribute; only the first `size` of the rows are in use.

    Attributes:
        n: float64 [K], points taken in.
        mean: float64 [K, d]. covariance: float64 [K, d, d]. factor: float64 [K, d, d], upper, of the covariance.
        nu, spread, offset: float64 [K]: score = offset - (nu + d)/2 log(1 + q / spread).
        made, seen: int64 [K], UTC nanoseconds (market time).
        reward_sum: float64 [K], in the user's own units.
        stale: int64 [K], updates since the factor was computed afresh.
        large_nights, small_nights: int64 [K], nights lived since the one of creation.
        archived: uint8 [K], 1 where the schema is in the archive.
    """

    n: F8
    mean: F8
    covariance: F8
    factor: F8
    nu: F8
    spread: F8
    offset: F8
    made: NDArray[np.int64]
    seen: NDArray[np.int64]
    reward_sum: F8
    stale: NDArray[np.int64]
    large_nights: NDArray[np.int64]
    small_nights: NDArray[np.int64]
    archived: NDArray[np.uint8]


@_compiled
def squared_distance(factor: F8, mean: F8, x: F8, work: F8, limit: float) -> float:
    """Squared Mahalanobis distance of x [d] by forward substitution; inf once it is seen to pass `limit`."""
    d = mean.size
    for j in range(d):
        work[j] = x[j] - mean[j]
    total = 0.0
    for j in range(d):
        y = work[j] / factor[j, j]
        total += y * y
        if (j & 7) == 7 and total > limit:
            return math.inf
        for m in range(j + 1, d):
            work[m] -= y * factor[j, m]
    return total


@_compiled
def factorize(covariance: F8, factor: F8, floor: float) -> bool:
    """Write the upper Cholesky factor; False where a pivot (a conditional variance) is below `floor`."""
    d = covariance.shape[0]
    for i in range(d):
        for j in range(d):
            factor[i, j] = covariance[i, j] if j >= i else 0.0
    for j in range(d):
        pivot = factor[j, j]
        if not pivot > floor:
            return False
        root = math.sqrt(pivot)
        factor[j, j] = root
        for m in range(j + 1, d):
            factor[j, m] /= root
        for i in range(j + 1, d):
            y = factor[j, i]
            for m in range(i, d):
                factor[i, m] -= y * factor[j, m]
    return True


@_compiled
def refresh(covariance: F8, factor: F8, floor: float) -> None:
    """Compute the factor afresh, lifting the diagonal by `floor` (doubled each try) until it exists."""
    step = floor
    while not factorize(covariance, factor, floor):
        for j in range(covariance.shape[0]):
            covariance[j, j] += step
        step *= 2.0


@_compiled
def constants(n: float, factor: F8, rule: Rule) -> tuple[float, float, float]:
    """(nu, spread, offset) of a score: log t_nu(.; mu, f Sigma) + count_power log n.

    nu = inf is the normal density of the spec mode.
    """
    d = factor.shape[0]
    log_det = 0.0
    for j in range(d):
        log_det += math.log(factor[j, j])
    log_det *= 2.0
    if not rule.robust:
        return math.inf, 1.0, -0.5 * (d * math.log(2.0 * math.pi) + log_det)
    n_eff = min(n, rule.n_cap)
    nu = rule.nu0 + n_eff
    f = 1.0 + 1.0 / n_eff
    offset = math.lgamma(0.5 * (nu + d)) - math.lgamma(0.5 * nu) - 0.5 * d * math.log(nu * math.pi)
    return nu, nu * f, offset - 0.5 * (log_det + d * math.log(f)) + rule.count_power * math.log(n)


@_compiled
def _density(q: float, d: int, nu: float, spread: float, offset: float) -> float:
    if nu == math.inf:
        return offset - 0.5 * q
    return offset - 0.5 * (nu + d) * math.log1p(q / spread)


@_compiled
def _limit(best: float, d: int, nu: float, spread: float, offset: float) -> float:
    """The squared distance beyond which a score is certainly below `best`, with a margin for rounding."""
    if best == -math.inf:
        return math.inf
    room = 2.0 * (offset - best)
    q = room if nu == math.inf else spread * math.expm1(room / (nu + d))
    return q + 1e-9 * (spread + abs(q))


@_compiled
def _row_score(c: Columns, k: int, x: F8, best: float, work: F8) -> float:
    """log-density of x under schema k (E16), the one kernel that decides; -inf where it is below `best`."""
    d = x.size
    limit = _limit(best, d, c.nu[k], c.spread[k], c.offset[k])
    q = squared_distance(c.factor[k], c.mean[k], x, work, limit)
    return _density(q, d, c.nu[k], c.spread[k], c.offset[k])


@_compiled
def bulk_scores(mean: F8, factor: F8, nu: F8, spread: F8, offset: F8, x: F8, out: F8) -> None:  # noqa: PLR0917  (a kernel takes its arrays one by one)
    """Scores of x [n, d] under K schemas into out [n, K]; they only nominate."""
    n, d = x.shape
    work = np.empty(d)
    for k in range(mean.shape[0]):
        for i in range(n):
            q = squared_distance(factor[k], mean[k], x[i], work, math.inf)
            out[i, k] = _density(q, d, nu[k], spread[k], offset[k])


@_compiled
def _rank_one(factor: F8, v: F8) -> None:
    """Factor of U^T U + v v^T in place; v [d] is used up."""
    d = v.size
    for j in range(d):
        old = factor[j, j]
        new = math.sqrt(old * old + v[j] * v[j])
        cosine = new / old
        sine = v[j] / old
        factor[j, j] = new
        for m in range(j + 1, d):
            row = (factor[j, m] + sine * v[m]) / cosine
            v[m] = cosine * v[m] - sine * row
            factor[j, m] = row


@_compiled
def _update(c: Columns, k: int, x: F8, reward: float, time: int, rule: Rule, work: F8) -> None:  # noqa: PLR0917  (a kernel takes its arrays one by one)
    """Move schema k toward x: (E21, E22) with the rates of `rule`."""
    d = x.size
    n = c.n[k]
    a = rule.eta
    b = rule.eta
    weight = rule.eta
    if rule.robust:
        a = max(rule.eta, 1.0 / (n + 1.0))
        b = max(rule.eta_s, 1.0 / (rule.nu0 + n + 1.0))
        weight = b * (1.0 - a)
    mean = c.mean[k]
    covariance = c.covariance[k]
    factor = c.factor[k]
    for j in range(d):
        work[j] = x[j] - mean[j]
    keep = 1.0 - b
    root_keep = math.sqrt(keep)
    for i in range(d):
        for j in range(d):
            # The inner product is taken first so that the matrix stays symmetric to the last bit.
            covariance[i, j] = keep * covariance[i, j] + weight * (work[i] * work[j])
            factor[i, j] *= root_keep
    root_weight = math.sqrt(weight)
    for j in range(d):
        mean[j] += a * work[j]
        work[j] *= root_weight
    c.stale[k] += 1
    if c.stale[k] >= REFRESH_EVERY:
        refresh(covariance, factor, rule.floor)
        c.stale[k] = 0
    else:
        _rank_one(factor, work)
    c.n[k] = n + 1.0
    c.nu[k], c.spread[k], c.offset[k] = constants(c.n[k], factor, rule)
    c.seen[k] = max(c.seen[k], time)
    c.reward_sum[k] += reward


@_compiled
def _create(c: Columns, k: int, x: F8, reward: float, time: int, s0: F8, s0_factor: F8, rule: Rule) -> None:  # noqa: PLR0917  (a kernel takes its arrays one by one)
    """Write schema k = N(x, S0) with one point."""
    c.n[k] = 1.0
    c.mean[k] = x
    c.covariance[k] = s0
    c.factor[k] = s0_factor
    c.nu[k], c.spread[k], c.offset[k] = constants(1.0, s0_factor, rule)
    c.made[k] = time
    c.seen[k] = time
    c.reward_sum[k] = reward
    c.stale[k] = 0
    c.large_nights[k] = 0
    c.small_nights[k] = 0
    c.archived[k] = 0


@_compiled
def _best(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    c: Columns, size: int, x: F8, nominated: F8, touched: NDArray[np.uint8], first: int, work: F8
) -> tuple[int, float]:
    """(argmax, max) of the scores over living schemas; ties go to the lower index. (-1, -inf) for none.

    Schemas touched since the snapshot are scored by the row kernel; of the others those whose nominated
    score is within `NOMINATION` (1 + |max|) of the best.
    """
    best = -math.inf
    winner = -1
    if 0 <= first < size and touched[first] and not c.archived[first]:
        best = _row_score(c, first, x, best, work)
        winner = first
    top = -math.inf
    for k in range(size):
        if c.archived[k] or k == winner:
            continue
        if touched[k]:
            score = _row_score(c, k, x, best, work)
            if score > best or winner < 0 or (score == best and k < winner):
                best, winner = score, k
        elif nominated[k] > top:
            top = nominated[k]
    bar = max(best, top)
    bar -= NOMINATION * (1.0 + abs(bar))
    for k in range(nominated.size):
        if touched[k] or c.archived[k] or nominated[k] < bar:
            continue
        score = _row_score(c, k, x, best, work)
        if score > best or winner < 0 or (score == best and k < winner):
            best, winner = score, k
    return winner, best


@_compiled
def _best_archived(c: Columns, size: int, x: F8, work: F8) -> tuple[int, float]:
    best = -math.inf
    winner = -1
    for k in range(size):
        if c.archived[k]:
            score = _row_score(c, k, x, best, work)
            if score > best:
                best, winner = score, k
    return winner, best


@_compiled
def walk(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    c: Columns,
    size: int,
    start: int,
    x: F8,
    reward: F8,
    time: NDArray[np.int64],
    passed: NDArray[np.bool_],
    threshold: F8,
    nominated: F8,
    touched: NDArray[np.uint8],
    s0: F8,
    s0_factor: F8,
    rule: Rule,
    labels: NDArray[np.int64],
) -> tuple[int, int]:
    """Consolidate rows start.. in order; returns (the first row not done, the number of schemas).

    It stops early where a schema is to be created and the columns are full. `nominated` [n, K0] are
    scores against a snapshot of the first K0 schemas, `touched` [capacity] marks those changed since (and all
    later ones). `labels` [n] receives positions, -1 where there is no schema.
    """
    work = np.empty(x.shape[1])
    last = -1
    for i in range(start, x.shape[0]):
        row = x[i]
        k, score = _best(c, size, row, nominated[i], touched, last, work)
        if passed[i]:
            if k < 0 or score < threshold[i]:
                k, score = _best_archived(c, size, row, work)
                if k >= 0 and score >= threshold[i]:
                    c.archived[k] = 0
                    _update(c, k, row, reward[i], time[i], rule, work)
                elif size == c.n.size:
                    return i, size
                else:
                    k = size
                    size += 1
                    _create(c, k, row, reward[i], time[i], s0, s0_factor, rule)
            else:
                _update(c, k, row, reward[i], time[i], rule, work)
            touched[k] = 1
        labels[i] = k
        last = k
    return x.shape[0], size


@_compiled
def whitener(factor: F8, out: F8) -> None:
    """Write the lower matrix W with |W e|^2 = e^T Sigma^-1 e, column by column, for readers without kernels."""
    d = factor.shape[0]
    for column in range(d):
        for j in range(d):
            out[j, column] = 1.0 if j == column else 0.0
    for j in range(d):
        for column in range(j + 1):
            out[j, column] /= factor[j, j]
        for m in range(j + 1, d):
            y = factor[j, m]
            for column in range(j + 1):
                out[m, column] -= y * out[j, column]


@_compiled
def squared_distances(factor: F8, mean: F8, x: F8) -> F8:
    """Squared Mahalanobis distances of the rows of x [n, d]; float64 [n]."""
    out = np.empty(x.shape[0])
    work = np.empty(x.shape[1])
    for i in range(x.shape[0]):
        out[i] = squared_distance(factor, mean, x[i], work, math.inf)
    return out


@_compiled
def scatter(x: F8, mean: F8, out: F8) -> None:
    """Write the mean outer product of x - mean, x [n, d], row by row."""
    n, d = x.shape
    out[:, :] = 0.0
    e = np.empty(d)
    for i in range(n):
        for j in range(d):
            e[j] = x[i, j] - mean[j]
        for a in range(d):
            for b in range(d):
                out[a, b] += e[a] * e[b]
    out /= n


@_compiled
def neighbour_scatter(x: F8, moment: NDArray[np.int64], gap: int, most: int, out: F8) -> int:  # noqa: C901  (one loop: a row, its neighbours, their outer products)
    """Write 1/2 E[(x-x')(x-x')^T] over the `most` nearest x' of each row at least `gap` moments away.

    Ties in distance go to the earlier row. Returns the number of pairs; `out` [d, d] is zero without any.
    """
    n, d = x.shape
    out[:, :] = 0.0
    pairs = 0
    distance = np.empty(most)
    index = np.empty(most, np.int64)
    e = np.empty(d)
    for i in range(n):
        found = 0
        for j in range(n):
            if abs(moment[i] - moment[j]) < gap:
                continue
            total = 0.0
            for m in range(d):
                total += (x[i, m] - x[j, m]) ** 2
            if found == most and total >= distance[most - 1]:
                continue
            at = min(found, most - 1)
            while at > 0 and distance[at - 1] > total:
                distance[at] = distance[at - 1]
                index[at] = index[at - 1]
                at -= 1
            distance[at] = total
            index[at] = j
            found = min(found + 1, most)
        for p in range(found):
            for m in range(d):
                e[m] = x[i, m] - x[index[p], m]
            for a in range(d):
                for b in range(d):
                    out[a, b] += e[a] * e[b]
        pairs += found
    if pairs > 0:
        out *= 0.5 / pairs
    return pairs
