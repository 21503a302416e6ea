"""The probability law P(i) of each replay strategy in plain numpy (E8, SPEC 2.4): their one definition.

The sampler draws from these laws in logarithmic time and the tests compare it with this file; importance
weights always come from the law that was drawn from, mixtures included. All functions are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.config import ReplaySettings, Strategy

__all__ = [
    "LARGEST_PRIORITY",
    "LEAST_TOTAL",
    "SMALLEST_PRIORITY",
    "half_lives",
    "importance_weights",
    "law",
    "powers",
    "scaled",
]

_NANOSECONDS = 1_000_000_000
# Within these the sums of p^alpha, and of p^alpha 2^exponent over 400 half-lives, stay normal numbers.
SMALLEST_PRIORITY = 1e-150
LARGEST_PRIORITY = 1e150
# Where masses are relative to a time that leaves less, another is taken.
LEAST_TOTAL = 2.0**-520
_EXPONENTS = 4096


def law(
    strategy: Strategy,
    priority: NDArray[np.float64],
    domain: NDArray[np.int32],
    timestamp: NDArray[np.int64],
    settings: ReplaySettings,
) -> NDArray[np.float64]:
    """P(i) of every entry; float64 [n], sums to 1; n = 0 gives no entries.

    Where all priorities are zero the factor p^alpha is 1 for all (for `domain_balanced`: inside the domain).

    Args:
        strategy: uniform 1/n; prioritized_loss p^alpha / sum (E8); prioritized_recency
            p^alpha 2^(-age / half-life); mixed, half prioritized_loss and half uniform; domain_balanced, an
            equal share for each domain present and p^alpha inside it.
        priority: p [n], finite and not negative.
        domain: codes [n].
        timestamp: market time [n], UTC nanoseconds.
        settings: alpha and the half-life.
    """
    n = len(priority)
    if not n or strategy == "uniform":
        return np.full(n, 1.0 / max(n, 1))
    if strategy == "domain_balanced":
        share = np.zeros(n)
        codes, place = np.unique(domain, return_inverse=True)
        for k in range(len(codes)):
            inside = place == k
            share[inside] = _normalised(_factors(priority[inside], settings.alpha)) / len(codes)
        return share
    factor = _factors(priority, settings.alpha)
    if strategy == "prioritized_recency":
        return _normalised(_recent(factor, timestamp, settings.half_life_s))
    share = _normalised(factor)
    return 0.5 * share + 0.5 / n if strategy == "mixed" else share


def powers(priority: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """p^alpha, positive exactly where p is, also for alpha 0; float64 [n].

    A positive p below `SMALLEST_PRIORITY` counts as that, so that sums of powers are normal numbers.
    """
    raised: NDArray[np.float64] = np.power(np.maximum(priority, SMALLEST_PRIORITY), alpha) * (priority > 0)
    return raised


def half_lives(
    timestamp: NDArray[np.int64], half_life_s: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(whole half-lives since 1970, 2^(the rest)): the recency of an entry as a binary number; [n] each.

    The whole part only shifts the binary point, so that moving the reference time changes no digit.
    """
    length = max(round(half_life_s * _NANOSECONDS), 1)
    whole, rest = np.divmod(timestamp, length)
    return whole, np.exp2(rest / length)


def scaled(mass: NDArray[np.float64], exponent: NDArray[np.int64]) -> NDArray[np.float64]:
    """The masses times 2^exponent, 0 where that is below float64's range; float64 [n]."""
    return np.ldexp(mass, np.clip(exponent, -_EXPONENTS, _EXPONENTS).astype(np.int32))


def importance_weights(
    probability: NDArray[np.float64],
    size: int,
    beta: float,
    normalise: Literal["batch", "buffer", "none"],
    smallest: float,
) -> NDArray[np.float64]:
    """Weights w = (1 / (N P))^beta of drawn entries (E9), over the largest of the batch or the buffer (E10); float64 [B].

    Args:
        probability: P of the drawn entries, positive.
        size: N.
        beta: the correction, 1 for unbiased estimates.
        normalise: over what w is divided.
        smallest: the least positive P of the buffer; used by `normalise="buffer"` alone.
    """
    if normalise == "none":
        return (1.0 / (size * probability)) ** beta
    least = probability.min(initial=np.inf) if normalise == "batch" else smallest
    return (least / probability) ** beta


def _factors(priority: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """p^alpha; 1 for all where no p is positive; float64 [n]."""
    return powers(priority, alpha) if priority.any() else np.ones(len(priority))


def _recent(
    factor: NDArray[np.float64], timestamp: NDArray[np.int64], half_life_s: float
) -> NDArray[np.float64]:
    """Masses p^alpha 2^(t / half-life), relative to the newest entry that has any."""
    whole, part = half_lives(timestamp, half_life_s)
    return scaled(factor * part, whole - whole[factor > 0].max())


def _normalised(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    relative = mass / mass.max()
    share: NDArray[np.float64] = relative / relative.sum()
    return share
