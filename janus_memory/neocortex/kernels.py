"""The fixed float64 kernels through which every number enters the schema bank (E16, E21, E22).

They are compiled by numba without fastmath, without threads and without BLAS, so that the same inputs
give the same bytes in every process of a machine. A covariance is held with its upper Cholesky factor U
(Sigma = U^T U): Mahalanobis distances are forward substitutions, updates are rank-one, densities stay in
the log domain and no inverse decides anything: that of a factor's leading rows serves the bounds below, with what it may be
wrong by taken off. The factor is computed afresh every `REFRESH_EVERY` updates.

A state is first measured in its leading `prefix` dimensions against all schemas, 64 states at a time and in float32, with
all that rounding may have done taken off: that bounds each score from above. Whoever can still be best is then scored by the row
kernel, which alone decides. A schema that moves keeps its bounds, a little looser, until the next 64 states.

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
    "Leading",
    "bound_block",
    "bound_terms",
    "constants",
    "factorize",
    "lead",
    "loosened",
    "prefix",
    "refresh",
    "squared_distance",
    "squared_distances",
    "update_rates",
    "walk",
    "whitener",
]

REFRESH_EVERY = 64
NOMINATION = 1e-6
LANES = 64
# From here on 64 states side by side cost less than one by one.
_FEW = 20
# Where schemas are many, a longer prefix costs less than the row kernel on those that a shorter one lets through.
_MANY = 500
_PREFIX, _LONG_PREFIX = 40, 48
# Twice what half a unit in the last place of a float32 is.
_ROUNDING_4, _ROUNDING_8 = 2.0**-23, 2.0**-52
# Beyond, float32 is near its end: such a distance bounds nothing.
_FARTHEST = 1e15

F4 = NDArray[np.float32]
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


def _summing(function: _Function) -> _Function:
    """Compile a kernel that only nominates; its sums may also be taken in any order."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")(
        function
    )
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


class Leading(NamedTuple):
    """What bounds the distances to K schemas in the first p dimensions; one schema a row.

    Attributes:
        whitener: float32 [K, p, p], lower: |W (x - mu)| is the Mahalanobis distance in p dimensions.
        shift: float32 [K, p], W mu.
        doubt: float64 [K, 2]: |W x - W mu| in float32 is wrong by at most doubt[0] |x| + doubt[1].
    """

    whitener: F4
    shift: F4
    doubt: F8


@_compiled
def squared_distance(factor: F8, mean: F8, x: F8, work: F8, limit: float) -> float:
    """Squared Mahalanobis distance of x [d] by forward substitution; inf once it is seen to pass `limit`."""
    d = mean.size
    for j in range(d):
        work[j] = x[j] - mean[j]
    total = 0.0
    whole = d - d % 4
    # Four rows in one sweep; every place has its products taken off one by one, in the order of a single row's sweeps.
    for j in range(0, whole, 4):
        f, head = factor[j : j + 4, j : j + 4], work[j : j + 4]
        y0 = head[0] / f[0, 0]
        y1 = (head[1] - y0 * f[0, 1]) / f[1, 1]
        y2 = (head[2] - y0 * f[0, 2] - y1 * f[1, 2]) / f[2, 2]
        y3 = (head[3] - y0 * f[0, 3] - y1 * f[1, 3] - y2 * f[2, 3]) / f[3, 3]
        total = total + y0 * y0 + y1 * y1 + y2 * y2 + y3 * y3
        if total > limit:
            return math.inf
        f0, f1, f2, f3 = (
            factor[j, j + 4 :],
            factor[j + 1, j + 4 :],
            factor[j + 2, j + 4 :],
            factor[j + 3, j + 4 :],
        )
        rest = work[j + 4 :]
        for m in range(rest.size):
            rest[m] = rest[m] - y0 * f0[m] - y1 * f1[m] - y2 * f2[m] - y3 * f3[m]
    for j in range(whole, d):
        y = work[j] / factor[j, j]
        total += y * y
        for m in range(j + 1, d):
            work[m] -= y * factor[j, m]
    return total


@_compiled
def _cholesky(covariance: F8, factor: F8, shift: float) -> bool:
    """Write the upper Cholesky factor of the covariance less shift I; False where that is not positive definite."""
    d = covariance.shape[0]
    for i in range(d):
        row = factor[i, i:]
        for m in range(i):
            factor[i, m] = 0.0
        for m in range(d - i):
            row[m] = covariance[i, i + m]
        row[0] -= shift
        whole = i - i % 4
        for j in range(0, whole, 4):
            f0, f1, f2, f3 = factor[j, i:], factor[j + 1, i:], factor[j + 2, i:], factor[j + 3, i:]
            y0, y1, y2, y3 = f0[0], f1[0], f2[0], f3[0]
            for m in range(row.size):
                row[m] = row[m] - y0 * f0[m] - y1 * f1[m] - y2 * f2[m] - y3 * f3[m]
        for j in range(whole, i):
            above = factor[j, i:]
            y = above[0]
            for m in range(row.size):
                row[m] -= y * above[m]
        pivot = row[0]
        if not pivot > 0.0:
            return False
        root = math.sqrt(pivot)
        row[0] = root
        for m in range(1, row.size):
            row[m] /= root
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
    """How many leading dimensions bound the scores under `size` schemas: whole fours, at most 40 or 48."""
    return min(4 * (d // 4), _PREFIX if size < _MANY else _LONG_PREFIX)


@_compiled
def bound_terms(d: int, nu: float, spread: float) -> tuple[float, float]:
    """(slope, bend) with slope q / (1 + bend q) <= twice what a squared distance q takes off a score's offset.

    log(1 + z) >= 2 z / (2 + z), so no logarithm is needed; the normal density has its exact terms.
    """
    if nu == math.inf:
        return 1.0, 0.0
    return (nu + d) / spread, 0.5 / spread


@_summing
def lead(factor: F8, mean: F8, inverse: F8, leading: Leading, k: int) -> None:
    """Write row k of `leading`; `inverse` [p, p] is used up."""
    p = inverse.shape[0]
    of_factor, of_inverse, of_mean = 0.0, 0.0, 0.0
    for i in range(p):
        row = inverse[i]
        row[:] = 0.0
        row[i] = 1.0
        whole = i - i % 4
        for j in range(0, whole, 4):
            w0, w1, w2, w3 = inverse[j], inverse[j + 1], inverse[j + 2], inverse[j + 3]
            y0, y1, y2, y3 = factor[j, i], factor[j + 1, i], factor[j + 2, i], factor[j + 3, i]
            # Beyond j + 3 there are zeros; a whole number of vectors costs less than an exact end.
            for m in range(min(p, (j + 19) // 16 * 16)):
                row[m] = row[m] - y0 * w0[m] - y1 * w1[m] - y2 * w2[m] - y3 * w3[m]
        for j in range(whole, i):
            w0, y0 = inverse[j], factor[j, i]
            for m in range(p):
                row[m] -= y0 * w0[m]
        r = 1.0 / factor[i, i]
        shift = 0.0
        for m in range(p):
            row[m] *= r
            shift += row[m] * mean[m]
            of_inverse += row[m] * row[m]
        right = factor[i, i:p]
        for m in range(right.size):
            of_factor += right[m] * right[m]
        leading.shift[k, i] = shift
        of_mean += mean[i] * mean[i]
    leading.whitener[k] = inverse
    # Sums of p products in float32, and an inverse in float64 that is as wrong as the factor's condition lets it be.
    wrong = _ROUNDING_4 * (p + 8) + _ROUNDING_8 * p * math.sqrt(of_factor * of_inverse)
    leading.doubt[k, 0] = wrong * math.sqrt(of_inverse)
    leading.doubt[k, 1] = wrong * (math.sqrt(of_inverse * of_mean) + 1.0)


@_nominating
def _leading_distances(whitener: F4, shift: F4, doubt: F8, lanes: F4, length: F8, work: F4, near: F8) -> None:  # noqa: PLR0917  (a kernel takes its arrays one by one)
    """Lower bounds of the squared distances of 64 states in the first p dimensions, into near [64].

    A product in tiles of four by four dimensions, the states side by side: `lanes` [p 64] holds dimension j of all
    states from 64 j on, `length` [64] their norms; `work` is [5 64].
    """
    total = work[4 * LANES :]
    for m in range(LANES):
        total[m] = 0.0
    for r in range(0, shift.size, 4):
        s0, s1, s2, s3 = shift[r], shift[r + 1], shift[r + 2], shift[r + 3]
        for m in range(LANES):
            work[m], work[LANES + m], work[2 * LANES + m], work[3 * LANES + m] = -s0, -s1, -s2, -s3
        for j in range(0, r + 4, 4):
            w = whitener[r : r + 4, j : j + 4]
            a0, a1, a2, a3 = w[0, 0], w[0, 1], w[0, 2], w[0, 3]
            b0, b1, b2, b3 = w[1, 0], w[1, 1], w[1, 2], w[1, 3]
            c0, c1, c2, c3 = w[2, 0], w[2, 1], w[2, 2], w[2, 3]
            e0, e1, e2, e3 = w[3, 0], w[3, 1], w[3, 2], w[3, 3]
            x = lanes[j * LANES : (j + 4) * LANES]
            for m in range(LANES):
                x0, x1, x2, x3 = x[m], x[LANES + m], x[2 * LANES + m], x[3 * LANES + m]
                work[m] = work[m] + a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                work[LANES + m] = work[LANES + m] + b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                work[2 * LANES + m] = work[2 * LANES + m] + c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                work[3 * LANES + m] = work[3 * LANES + m] + e0 * x0 + e1 * x1 + e2 * x2 + e3 * x3
        for m in range(LANES):
            y0, y1, y2, y3 = work[m], work[LANES + m], work[2 * LANES + m], work[3 * LANES + m]
            total[m] = total[m] + y0 * y0 + y1 * y1 + y2 * y2 + y3 * y3
    for m in range(LANES):
        y = math.sqrt(total[m]) * (1.0 - 64 * _ROUNDING_4) - (doubt[0] * length[m] + doubt[1])
        near[m] = y * y if 0.0 < y < _FARTHEST else 0.0


@_nominating
def _bounds(near: F8, terms: tuple[float, float], offset: float, out: F8) -> None:
    """Upper bounds of scores from lower bounds of squared distances."""
    slope, bend = terms
    for m in range(LANES):
        out[m] = offset - 0.5 * slope * near[m] / (1.0 + bend * near[m])


@_nominating
def loosened(near: F8, moved: float, rates: tuple[float, float, float]) -> None:
    """Make lower bounds of squared distances hold for a schema that was moved by (a, b, c), see `update_rates`.

    With e = s - mu and `moved` at least its squared distance, Sigma' <= (1 - b + c moved) Sigma, and in its metric the mean
    has moved by at most a sqrt(moved).
    """
    a, b, c = rates
    step, grown = a * math.sqrt(moved), 1.0 - b + c * moved
    for m in range(near.size):
        y = math.sqrt(near[m]) - step
        near[m] = y * y / grown if y > 0.0 else 0.0


@_nominating
def _side_by_side(x: F8, start: int, lanes: F4, length: F8) -> None:
    """Lay the first p dimensions of 64 rows of x from `start` on side by side, with their norms; zeros behind the last row."""
    stop = min(start + LANES, x.shape[0])
    length[:] = 0.0
    for j in range(lanes.size // LANES):
        for m in range(LANES):
            value = x[start + m, j] if start + m < stop else 0.0
            lanes[j * LANES + m] = value
            length[m] += value * value
    for m in range(LANES):
        length[m] = math.sqrt(length[m])


@_nominating
def bound_block(leading: Leading, slope: F8, bend: F8, offset: F8, x: F8, out: F8) -> None:  # noqa: PLR0917  (a kernel takes its arrays one by one)
    """Upper bounds of the scores of x [n, p] under K schemas into out [n, K]; p is a `prefix`."""
    n, p = x.shape
    lanes, work = np.empty(p * LANES, np.float32), np.empty(5 * LANES, np.float32)
    length, near, bounds = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    for start in range(0, n, LANES):
        _side_by_side(x, start, lanes, length)
        for k in range(offset.size):
            _leading_distances(
                leading.whitener[k], leading.shift[k], leading.doubt[k], lanes, length, work, near
            )
            _bounds(near, (slope[k], bend[k]), offset[k], bounds)
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
def update_rates(n: float, rule: Rule) -> tuple[float, float, float]:
    """(a, b, c) of the update mu + a e, (1 - b) Sigma + c e e^T of a schema of n points (E21, E22)."""
    if not rule.robust:
        return rule.eta, rule.eta, rule.eta
    a = max(rule.eta, 1.0 / (n + 1.0))
    b = max(rule.eta_s, 1.0 / (rule.nu0 + n + 1.0))
    return a, b, b * (1.0 - a)


@_compiled
def _update(c: Columns, k: int, x: F8, reward: float, time: int, rule: Rule, work: F8) -> None:  # noqa: PLR0917  (a kernel takes its arrays one by one)
    """Move schema k toward x: (E21, E22) with the rates of `rule`. Below its diagonal the covariance is left as it was."""
    d = x.size
    a, b, weight = update_rates(c.n[k], rule)
    mean = c.mean[k]
    covariance = c.covariance[k]
    factor = c.factor[k]
    for j in range(d):
        work[j] = x[j] - mean[j]
    keep = 1.0 - b
    for i in range(d):
        row, e, first = covariance[i, i:], work[i:], work[i]
        for m in range(row.size):
            row[m] = keep * row[m] + weight * (first * e[m])
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
    c.n[k] += 1.0
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
def _wake(c: Columns, size: int, x: F8, threshold: float, work: F8) -> tuple[int, float]:
    """Take the best archived schema back, with its score, where that is not below the threshold; (-1, -inf) else."""
    best = -math.inf
    winner = -1
    for k in range(size):
        if c.archived[k]:
            score = _row_score(c, k, x, best, work)
            if score > best:
                best, winner = score, k
    if winner < 0 or best < threshold:
        return -1, -math.inf
    c.archived[winner] = 0
    return winner, best


class _Block(NamedTuple):
    """Up to 64 states side by side, and what bounds their scores; what the walk writes on.

    Attributes:
        lanes: float32 [p 64]. length: float64 [64]. work: float32 [5 64]. inverse: float64 [p, p]. See the kernels.
        leading: of the schemas whose `fresh` is 1; [capacity].
        fresh: uint8 [capacity], 1 where `leading` is that of the schema as it is.
        known: uint8 [capacity], 1 where `near` holds; it does not where a bound came from elsewhere.
        moved: uint8 [capacity], 1 where the schema was updated in this walk.
        near: float64 [capacity, 64], lower bounds of squared distances.
        bounds: float64 [capacity, 64], upper bounds of scores.
    """

    lanes: F4
    length: F8
    work: F4
    inverse: F8
    leading: Leading
    fresh: NDArray[np.uint8]
    known: NDArray[np.uint8]
    moved: NDArray[np.uint8]
    near: F8
    bounds: F8


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
    work, column = np.empty(d), np.empty(c.n.size)
    block = _block(prefix(d, size), c.n.size)
    for first in range(start, n, LANES):
        stop = min(first + LANES, n)
        _side_by_side(x, first, block.lanes, block.length)
        _bound_all(c, size, touched, nominated[first:stop], block)
        for i in range(first, stop):
            row = x[i]
            for k in range(size):
                column[k] = block.bounds[k, i - first]
            k, score = _best(c, size, row, column, work)
            if passed[i]:
                if k < 0 or score < threshold[i]:
                    k, score = _wake(c, size, row, threshold[i], work)
                if k >= 0:
                    _learn(c, k, row, score, reward[i], time[i], rule, work, block)
                elif size == c.n.size:
                    _mirror(c, block.moved)
                    return i, size
                else:
                    k = size
                    size += 1
                    _create(c, k, row, reward[i], time[i], s0, s0_factor, rule)
                    _bound_schema(c, k, block)
                touched[k] = 1
            labels[i] = k
    _mirror(c, block.moved)
    return n, size


@_compiled
def _block(p: int, capacity: int) -> _Block:
    leading = Leading(
        np.empty((capacity, p, p), np.float32), np.empty((capacity, p), np.float32), np.empty((capacity, 2))
    )
    return _Block(
        np.empty(p * LANES, np.float32),
        np.empty(LANES),
        np.empty(5 * LANES, np.float32),
        np.empty((p, p)),
        leading,
        np.zeros(capacity, np.uint8),
        np.zeros(capacity, np.uint8),
        np.zeros(capacity, np.uint8),
        np.empty((capacity, LANES)),
        np.empty((capacity, LANES)),
    )


@_compiled
def _learn(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    c: Columns, k: int, x: F8, score: float, reward: float, time: int, rule: Rule, work: F8, block: _Block
) -> None:
    """Update schema k by a state of this score, and its bounds."""
    d = x.size
    moved = _limit(score, d, c.nu[k], c.spread[k], c.offset[k])
    rates = update_rates(c.n[k], rule)
    _update(c, k, x, reward, time, rule, work)
    block.moved[k] = 1
    block.fresh[k] = 0
    # A factor computed afresh may be that of a covariance which was lifted.
    if not block.known[k] or c.stale[k] == 0:
        _bound_schema(c, k, block)
    else:
        loosened(block.near[k], moved, rates)
        _bounds(block.near[k], bound_terms(d, c.nu[k], c.spread[k]), c.offset[k], block.bounds[k])


@_compiled
def _bound_all(c: Columns, size: int, touched: NDArray[np.uint8], nominated: F8, block: _Block) -> None:
    """Fill the bounds of a block of states: as nominated, or computed where the schema was touched."""
    for k in range(size):
        if c.archived[k]:
            block.known[k] = 0
            block.bounds[k] = -math.inf
        elif touched[k]:
            _bound_schema(c, k, block)
        else:
            block.known[k] = 0
            for m in range(nominated.shape[0]):
                block.bounds[k, m] = nominated[m, k]


@_compiled
def _bound_schema(c: Columns, k: int, block: _Block) -> None:
    """Bring the bounds of schema k up to date."""
    leading = block.leading
    if not block.fresh[k]:
        lead(c.factor[k], c.mean[k], block.inverse, leading, k)
        block.fresh[k] = 1
    _leading_distances(
        leading.whitener[k],
        leading.shift[k],
        leading.doubt[k],
        block.lanes,
        block.length,
        block.work,
        block.near[k],
    )
    terms = bound_terms(c.mean.shape[1], c.nu[k], c.spread[k])
    _bounds(block.near[k], terms, c.offset[k], block.bounds[k])
    block.known[k] = 1


@_compiled
def _mirror(c: Columns, moved: NDArray[np.uint8]) -> None:
    """Copy what is above the diagonal of moved schemas' covariances below it."""
    for k in range(moved.size):
        if moved[k]:
            covariance = c.covariance[k]
            for i in range(covariance.shape[0]):
                for j in range(i):
                    covariance[i, j] = covariance[j, i]


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
    """Squared Mahalanobis distances of the rows of x [n, d]; float64 [n], to the last bit those of `squared_distance`."""
    n, d = x.shape
    out = np.empty(n)
    lanes, work = np.empty((d, LANES)), np.empty(d)
    start = 0
    while n - start >= _FEW:
        _distances_side_by_side(factor, mean, x[start : start + LANES], lanes, out[start : start + LANES])
        start += LANES
    for i in range(start, n):
        out[i] = squared_distance(factor, mean, x[i], work, math.inf)
    return out


@_compiled
def _distances_side_by_side(factor: F8, mean: F8, x: F8, lanes: F8, out: F8) -> None:  # noqa: C901  (one sweep, rows four by four)
    """Squared distances of up to 64 rows of x, each through the very steps of `squared_distance`."""
    d = mean.size
    n = x.shape[0]
    for j in range(d):
        for m in range(LANES):
            lanes[j, m] = x[m, j] - mean[j] if m < n else 0.0
    out[:] = 0.0
    total = np.zeros(LANES)
    whole = d - d % 4
    for j in range(0, whole, 4):
        y0, y1, y2, y3 = lanes[j], lanes[j + 1], lanes[j + 2], lanes[j + 3]
        f = factor[j : j + 4, j : j + 4]
        f00, f01, f02, f03 = f[0, 0], f[0, 1], f[0, 2], f[0, 3]
        f11, f12, f13 = f[1, 1], f[1, 2], f[1, 3]
        f22, f23, f33 = f[2, 2], f[2, 3], f[3, 3]
        for m in range(LANES):
            a0 = y0[m] / f00
            a1 = (y1[m] - a0 * f01) / f11
            a2 = (y2[m] - a0 * f02 - a1 * f12) / f22
            a3 = (y3[m] - a0 * f03 - a1 * f13 - a2 * f23) / f33
            y0[m], y1[m], y2[m], y3[m] = a0, a1, a2, a3
            total[m] = total[m] + a0 * a0 + a1 * a1 + a2 * a2 + a3 * a3
        for i in range(j + 4, d):
            g0, g1, g2, g3 = factor[j, i], factor[j + 1, i], factor[j + 2, i], factor[j + 3, i]
            rest = lanes[i]
            for m in range(LANES):
                rest[m] = rest[m] - g0 * y0[m] - g1 * y1[m] - g2 * y2[m] - g3 * y3[m]
    for j in range(whole, d):
        for m in range(LANES):
            y = lanes[j, m] / factor[j, j]
            lanes[j, m] = y
            total[m] += y * y
            for i in range(j + 1, d):
                lanes[i, m] -= y * factor[j, i]
    for m in range(n):
        out[m] = total[m]
