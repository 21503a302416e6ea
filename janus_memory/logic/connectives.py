"""Fuzzy connectives and quantifiers (SPEC section 4): product real logic with Reichenbach's implication.

Truths are float64 arrays in [0, 1]. Each connective has a stable variant, chosen by `eps` > 0, that moves its
arguments off the points where a gradient vanishes or explodes: pi0(a) = (1 - eps) a + eps and
pi1(a) = (1 - eps) a (Badreddine et al., Logic Tensor Networks, 2022, section 2.4). `eps` = 0 is the plain one.
A truth that is NaN or outside [0, 1] is refused, never passed on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import RuleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Truth = NDArray[np.float64]

__all__ = ["STABLE", "conjunction", "disjunction", "exists", "forall", "implication", "negation"]

STABLE = 1e-4


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


def forall(truths: Truth, p: float = 2.0, eps: float = 0.0) -> Truth:
    """p-mean-error over the first axis: 1 - (mean (1 - a)^p)^(1/p); 1 on an empty domain.

    Args:
        truths: [n] or [n, R].
        p: 1 is the mean; the larger, the more the worst case counts.
        eps: stable variant.

    Returns:
        A float64 array of the remaining shape, [] or [R].
    """
    return 1.0 - _p_mean(1.0 - _off_one(_checked(truths), eps), p)


def exists(truths: Truth, p: float = 2.0, eps: float = 0.0) -> Truth:
    """p-mean over the first axis: (mean a^p)^(1/p); 0 on an empty domain. Shapes as in `forall`."""
    return _p_mean(_off_zero(_checked(truths), eps), p)


def _p_mean(values: Truth, p: float) -> Truth:
    if p < 1:
        raise RuleError(f"p-mean with p = {p}: the aggregators need p >= 1; nothing was evaluated")
    if not len(values):
        return np.zeros(values.shape[1:])
    return np.clip(np.asarray(np.mean(values**p, axis=0)) ** (1.0 / p), 0.0, 1.0)


def _off_zero(a: Truth, eps: float) -> Truth:
    return a + eps * (1.0 - a)


def _off_one(a: Truth, eps: float) -> Truth:
    return a - eps * a


def _checked(a: Truth) -> Truth:
    a = np.asarray(a, np.float64)
    # Written so that NaN, which compares false with everything, is caught too.
    if not ((a >= 0.0) & (a <= 1.0)).all():
        raise RuleError("a truth is NaN or outside [0, 1]; nothing was evaluated; look for NaN in the rows")
    return a
