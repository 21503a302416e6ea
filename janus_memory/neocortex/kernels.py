"""The fixed float64 kernels through which every number enters the schema bank (E16, E21, E22).

They are compiled by numba without fastmath, without threads and without BLAS, so that the same inputs
give the same bytes in every process of a machine. A covariance is held with its upper Cholesky factor U
(Sigma = U^T U): Mahalanobis distances are forward substitutions, updates are rank-one, densities stay in
the log domain and no inverse is formed. The factor is computed afresh every `REFRESH_EVERY` updates.

A state is first measured in its leading `prefix` dimensions against all schemas, 32 states at a time: that bounds
each score from above. Whoever can still be best is then scored by the row kernel, which alone decides.

Inner loops run over slices from 0 on: only then does the compiler know that no index is negative, and uses vectors.
All kernels stand in one file: numba keeps what it has compiled until the file of the function changes, and would not
see that a kernel called from another file has.
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
    "bound_block",
    "bound_terms",
    "constants",
    "factorize",
    "prefix",
    "refresh",
    "squared_distance",
    "squared_distances",
    "walk",
    "whitener",
]

REFRESH_EVERY = 64
NOMINATION = 1e-6
LANES = 32
# Where schemas are many, a longer prefix costs less than the row kernel on those that a shorter one lets through.
_SOME, _MANY = 150, 500
_SHORT_PREFIX, _PREFIX, _LONG_PREFIX = 32, 40, 48

F8 = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return kernel


def _nominating(function: _Function) -> _Function:
    """Compile a kernel whose last digits do not matter: products may be added without being rounded."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")(function)
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
        row, rest = factor[j, j + 1 :], work[j + 1 :]
        for m in range(row.size):
            rest[m] -= y * row[m]
    return total


@_compiled
def _cholesky(covariance: F8, factor: F8, shift: float) -> bool:
    """Write the upper Cholesky factor of the covariance less shift I; False where that is not positive definite."""
    d = covariance.shape[0]
    for i in range(d):
        for j in range(d):
            factor[i, j] = covariance[i, j] if j >= i else 0.0
        factor[i, i] -= shift
    for j in range(d):
        pivot = factor[j, j]
        if not pivot > 0.0:
            return False
        root = math.sqrt(pivot)
        factor[j, j] = root
        for m in range(j + 1, d):
            factor[j, m] /= root
        for i in range(j + 1, d):
            y = factor[j, i]
            below, above = factor[i, i:], factor[j, i:]
            for m in range(below.size):
                below[m] -= y * above[m]
    return True


@_compiled
def factorize(covariance: F8, factor: F8, floor: float) -> bool:
    """Write the upper Cholesky factor; False where an eigenvalue is not above `floor` (the factor is then undefined).

    All eigenvalues are above the floor where the covariance less floor I is positive definite.
    """
    if floor > 0.0 and not _cholesky(covariance, factor, floor):
        return False
    return _cholesky(covariance, factor, 0.0)


@_compiled
def refresh(covariance: F8, factor: F8, floor: float) -> None:
    """Compute the factor afresh, lifting the diagonal by `floor` (doubled each try) until all eigenvalues are above it."""
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
def prefix(d: int, size: int) -> int:
    """How many leading dimensions bound the scores under `size` schemas: whole fours, at most 32, 40 or 48."""
    most = _SHORT_PREFIX if size < _SOME else _PREFIX if size < _MANY else _LONG_PREFIX
    return min(4 * (d // 4), most)


@_compiled
def bound_terms(d: int, nu: float, spread: float) -> tuple[float, float]:
    """(slope, bend) with slope q / (1 + bend q) <= twice what a squared distance q takes off a score's offset.

    log(1 + z) >= 2 z / (2 + z), so no logarithm is needed; the normal density has its exact terms.
    """
    if nu == math.inf:
        return 1.0, 0.0
    return (nu + d) / spread, 0.5 / spread


@_nominating
def _leading_distances(
    mean: F8, factor: F8, lanes: F8, p: int, work: F8
) -> None:  # one unrolled step: rows four by four
    """Squared distances of 32 states in their first p dimensions, into the last 32 places of `work`.

    Forward substitution in tiles of four by four dimensions, the states side by side: `lanes` [p 32] holds dimension j
    of all states from 32 j on, `work` is [(p + 1) 32].
    """
    total = p * LANES
    for m in range(LANES):
        work[total + m] = 0.0
    for j in range(0, p, 4):
        s = j * LANES
        for r in range(4):
            centre = mean[j + r]
            for m in range(LANES):
                work[s + r * LANES + m] = lanes[s + r * LANES + m] - centre
        for i in range(0, j, 4):
            t = i * LANES
            a0, a1, a2, a3 = factor[i, j], factor[i + 1, j], factor[i + 2, j], factor[i + 3, j]
            b0, b1, b2, b3 = (
                factor[i, j + 1],
                factor[i + 1, j + 1],
                factor[i + 2, j + 1],
                factor[i + 3, j + 1],
            )
            c0, c1, c2, c3 = (
                factor[i, j + 2],
                factor[i + 1, j + 2],
                factor[i + 2, j + 2],
                factor[i + 3, j + 2],
            )
            e0, e1, e2, e3 = (
                factor[i, j + 3],
                factor[i + 1, j + 3],
                factor[i + 2, j + 3],
                factor[i + 3, j + 3],
            )
            for m in range(LANES):
                y0, y1 = work[t + m], work[t + LANES + m]
                y2, y3 = work[t + 2 * LANES + m], work[t + 3 * LANES + m]
                work[s + m] -= (a0 * y0 + a1 * y1) + (a2 * y2 + a3 * y3)
                work[s + LANES + m] -= (b0 * y0 + b1 * y1) + (b2 * y2 + b3 * y3)
                work[s + 2 * LANES + m] -= (c0 * y0 + c1 * y1) + (c2 * y2 + c3 * y3)
                work[s + 3 * LANES + m] -= (e0 * y0 + e1 * y1) + (e2 * y2 + e3 * y3)
        r0, r1 = 1.0 / factor[j, j], 1.0 / factor[j + 1, j + 1]
        r2, r3 = 1.0 / factor[j + 2, j + 2], 1.0 / factor[j + 3, j + 3]
        u01, u02, u03 = factor[j, j + 1], factor[j, j + 2], factor[j, j + 3]
        u12, u13, u23 = factor[j + 1, j + 2], factor[j + 1, j + 3], factor[j + 2, j + 3]
        for m in range(LANES):
            y0 = work[s + m] * r0
            y1 = (work[s + LANES + m] - u01 * y0) * r1
            y2 = (work[s + 2 * LANES + m] - u02 * y0 - u12 * y1) * r2
            y3 = (work[s + 3 * LANES + m] - u03 * y0 - u13 * y1 - u23 * y2) * r3
            work[s + m], work[s + LANES + m] = y0, y1
            work[s + 2 * LANES + m], work[s + 3 * LANES + m] = y2, y3
            work[total + m] += (y0 * y0 + y1 * y1) + (y2 * y2 + y3 * y3)


@_nominating
def _bound(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    mean: F8, factor: F8, terms: tuple[float, float], offset: float, lanes: F8, p: int, work: F8, out: F8
) -> None:
    """Upper bounds of the scores of 32 states under one schema, into out [32]."""
    _leading_distances(mean, factor, lanes, p, work)
    slope, bend = terms
    total = p * LANES
    for m in range(LANES):
        q = work[total + m]
        out[m] = offset - 0.5 * slope * q / (1.0 + bend * q)


@_nominating
def _side_by_side(x: F8, start: int, p: int, lanes: F8) -> None:
    """Lay the first p dimensions of 32 rows of x from `start` on side by side; zeros behind the last row."""
    stop = min(start + LANES, x.shape[0])
    for j in range(p):
        for m in range(LANES):
            lanes[j * LANES + m] = x[start + m, j] if start + m < stop else 0.0


@_nominating
def bound_block(mean: F8, factor: F8, slope: F8, bend: F8, offset: F8, x: F8, out: F8) -> None:  # noqa: PLR0917  (a kernel takes its arrays one by one)
    """Upper bounds of the scores of x [n, p] under K schemas into out [n, K]; p is a `prefix`."""
    n, p = x.shape
    lanes, work, bounds = np.empty(p * LANES), np.empty((p + 1) * LANES), np.empty(LANES)
    for start in range(0, n, LANES):
        _side_by_side(x, start, p, lanes)
        for k in range(mean.shape[0]):
            _bound(mean[k], factor[k], (slope[k], bend[k]), offset[k], lanes, p, work, bounds)
            for m in range(min(LANES, n - start)):
                out[start + m, k] = bounds[m]


@_compiled
def _rank_one(factor: F8, v: F8, keep: float) -> None:
    """Factor of keep^2 U^T U + v v^T in place; v [d] is used up."""
    d = v.size
    for j in range(d):
        old = factor[j, j] * keep
        new = math.sqrt(old * old + v[j] * v[j])
        cosine = new / old
        sine = v[j] / old
        factor[j, j] = new
        row, rest = factor[j, j + 1 :], v[j + 1 :]
        for m in range(row.size):
            turned = (row[m] * keep + sine * rest[m]) / cosine
            rest[m] = cosine * rest[m] - sine * turned
            row[m] = turned


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
    for i in range(d):
        for j in range(d):
            # The inner product is taken first so that the matrix stays symmetric to the last bit.
            covariance[i, j] = keep * covariance[i, j] + weight * (work[i] * work[j])
    root_weight = math.sqrt(weight)
    for j in range(d):
        mean[j] += a * work[j]
        work[j] *= root_weight
    c.stale[k] += 1
    if c.stale[k] >= REFRESH_EVERY:
        refresh(covariance, factor, rule.floor)
        c.stale[k] = 0
    else:
        _rank_one(factor, work, math.sqrt(keep))
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
def _best(c: Columns, size: int, x: F8, bounds: F8, work: F8) -> tuple[int, float]:
    """(argmax, max) of the scores over living schemas; ties go to the lower index. (-1, -inf) for none.

    `bounds` [size] are upper bounds of the scores, -inf for what is archived. Whoever's bound reaches the best score,
    or lies below it by rounding alone, is scored by the row kernel.
    """
    winner, top = -1, -math.inf
    for k in range(size):
        if bounds[k] > top:
            winner, top = k, bounds[k]
    if winner < 0:
        return -1, -math.inf
    best = _row_score(c, winner, x, -math.inf, work)
    bar = best - NOMINATION * (1.0 + abs(best))
    first = winner
    for k in range(size):
        if k == first or not bounds[k] >= bar or c.archived[k]:
            continue
        score = _row_score(c, k, x, best, work)
        if score > best or (score == best and k < winner):
            best, winner = score, k
            bar = best - NOMINATION * (1.0 + abs(best))
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

    It stops early where a schema is to be created and the columns are full. `nominated` [n, K0] are upper bounds of
    the scores against a snapshot of the first K0 schemas, `touched` [capacity] marks those changed since (and all
    later ones). `labels` [n] receives positions, -1 where there is no schema.
    """
    n, d = x.shape
    p = prefix(d, size)
    work, lanes, tiles = np.empty(d), np.empty(p * LANES), np.empty((p + 1) * LANES)
    bounds, column = np.empty((c.n.size, LANES)), np.empty(c.n.size)
    for block in range(start, n, LANES):
        stop = min(block + LANES, n)
        _side_by_side(x, block, p, lanes)
        _bound_all(c, size, touched, nominated[block:stop], lanes, p, tiles, bounds)
        for i in range(block, stop):
            row = x[i]
            for k in range(size):
                column[k] = bounds[k, i - block]
            k, score = _best(c, size, row, column, work)
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
                _bound_schema(c, k, lanes, p, tiles, bounds)
            labels[i] = k
    return n, size


@_compiled
def _bound_all(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    c: Columns, size: int, touched: NDArray[np.uint8], nominated: F8, lanes: F8, p: int, work: F8, bounds: F8
) -> None:
    """Fill `bounds` [capacity, 32] for a block of states: as nominated, or computed where the schema was touched."""
    for k in range(size):
        if c.archived[k]:
            bounds[k] = -math.inf
        elif touched[k]:
            _bound_schema(c, k, lanes, p, work, bounds)
        else:
            for m in range(nominated.shape[0]):
                bounds[k, m] = nominated[m, k]


@_compiled
def _bound_schema(c: Columns, k: int, lanes: F8, p: int, work: F8, bounds: F8) -> None:  # noqa: PLR0917  (a kernel takes its arrays one by one)
    """Bring row k of `bounds` [capacity, 32] up to date."""
    terms = bound_terms(c.mean.shape[1], c.nu[k], c.spread[k])
    _bound(c.mean[k], c.factor[k], terms, c.offset[k], lanes, p, work, bounds[k])


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
