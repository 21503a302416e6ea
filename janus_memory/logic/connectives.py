"""Fuzzy connectives and quantifiers (SPEC section 4): product real logic with Reichenbach's implication.

Truths are arrays in [0, 1] of either of two namespaces, which the arguments choose: numpy, always in float64, or
jax.numpy, which may be traced and differentiated. Each connective has a stable variant, chosen by `eps` > 0, that
moves its arguments off the points where a gradient vanishes or explodes: pi0(a) = (1 - eps) a + eps and
pi1(a) = (1 - eps) a (Badreddine et al., Logic Tensor Networks, 2022, section 2.4). `eps` = 0 is the plain one.

A numpy truth that is NaN or outside [0, 1] is refused, never passed on. A traced one has no value yet that could be
refused: NaN stays NaN through every connective and quantifier, and whoever asked looks at the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from janus_memory.errors import RuleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "STABLE",
    "Truth",
    "conjunction",
    "disjunction",
    "exists",
    "forall",
    "implication",
    "namespace",
    "negation",
    "quantified",
]

STABLE = 1e-4

# A numpy array, a JAX array or a tracer: they share no type that mypy knows.
Truth: TypeAlias = Any


def namespace(*arrays: Truth) -> Any:
    """The module whose functions take these arrays: jax.numpy if one of them is JAX's, else numpy."""
    for array in arrays:
        if not isinstance(array, np.ndarray) and hasattr(array, "__array_namespace__"):
            return array.__array_namespace__()
    return np


def negation(a: Truth) -> Truth:
    """Negation 1 - a; already stable."""
    return 1.0 - _checked(a)


def conjunction(a: Truth, b: Truth, eps: float = 0.0) -> Truth:
    """Conjunction a b."""
    return _off_zero(_checked(a), eps) * _off_zero(_checked(b), eps)


def disjunction(a: Truth, b: Truth, eps: float = 0.0) -> Truth:
    """Disjunction a + b - a b, in the form that cannot leave [0, 1] by rounding."""
    a, b = _off_one(_checked(a), eps), _off_one(_checked(b), eps)
    return a + (1.0 - a) * b


def implication(a: Truth, b: Truth, eps: float = 0.0) -> Truth:
    """Implication 1 - a + a b (Reichenbach)."""
    a, b = _off_zero(_checked(a), eps), _off_one(_checked(b), eps)
    return (1.0 - a) + a * b


def forall(truths: Truth, p: float = 2.0, eps: float = 0.0, weights: Truth | None = None) -> Truth:
    """p-mean-error over the first axis: 1 - (mean (1 - a)^p)^(1/p); 1 on an empty domain.

    Args:
        truths: [n] or [n, R].
        p: 1 is the mean; the larger, the more the worst case counts.
        eps: stable variant.
        weights: [n], not negative: the mean is weighted by them. All zero is an empty domain.

    Returns:
        An array of the remaining shape, [] or [R].

    Raises:
        RuleError: p < 1, weights that are none, or a numpy truth that is none.
    """
    return 1.0 - _p_mean(1.0 - _off_one(_checked(truths), eps), p, weights)


def exists(truths: Truth, p: float = 2.0, eps: float = 0.0) -> Truth:
    """p-mean over the first axis: (mean a^p)^(1/p); 0 on an empty domain. Shapes as in `forall`."""
    return _p_mean(_off_zero(_checked(truths), eps), p, None)


def quantified(truths: Truth, some: NDArray[np.bool_], p: float = 2.0, eps: float = 0.0) -> Truth:
    """`exists` of the columns where `some` [R], `forall` of the others, in one pass over truths [n, R]; [R].

    Equal to both bit for bit, as each column is joined by itself.
    """
    truths = _checked(truths)
    xp = namespace(truths)
    mean = _p_mean(xp.where(some, _off_zero(truths, eps), 1.0 - _off_one(truths, eps)), p, None)
    return xp.where(some, mean, 1.0 - mean)


def _p_mean(values: Truth, p: float, weights: Truth | None) -> Truth:
    # Written so that NaN, which compares false with everything, is caught too.
    if not (1 <= p < np.inf):
        raise RuleError(f"p-mean with p = {p}: the aggregators need a finite p >= 1; nothing was evaluated")
    xp = namespace(values, weights)
    if not len(values):
        return xp.zeros(values.shape[1:])
    largest = 1.0
    if p > 2:
        # Over the largest, whose power is 1: high powers vanish in float32, and a root has no slope at 0.
        largest = values.max(axis=0)
        values = values / xp.where(largest > 0.0, largest, 1.0)
    powers = values ** (int(p) if p == int(p) else p)
    mean = powers.mean(axis=0) if weights is None else _weighted(powers, weights, xp)
    return xp.clip(largest * xp.asarray(mean) ** (1.0 / p), 0.0, 1.0)


def _weighted(powers: Truth, weights: Truth, xp: Any) -> Truth:
    if xp is np:
        weights = np.asarray(weights, np.float64)
        if not ((weights >= 0.0) & (weights < np.inf)).all():
            raise RuleError("a weight is NaN, infinite or negative; nothing was evaluated; use numbers >= 0")
    total = weights.sum()
    share = weights / xp.where(total > 0, total, 1.0)
    return (share.reshape(-1, *[1] * (powers.ndim - 1)) * powers).sum(axis=0)


def _off_zero(a: Truth, eps: float) -> Truth:
    return a + eps * (1.0 - a) if eps else a


def _off_one(a: Truth, eps: float) -> Truth:
    return a - eps * a if eps else a


def _checked(a: Truth) -> Truth:
    if namespace(a) is not np:
        return a
    a = np.asarray(a, np.float64)
    # Written so that NaN, which compares false with everything, is caught too.
    if not ((a >= 0.0) & (a <= 1.0)).all():
        raise RuleError("a truth is NaN or outside [0, 1]; nothing was evaluated; look for NaN in the rows")
    return a
