"""x^a of float64, one source for numpy's columns and for numbers in compiled loops, so that both have the same bits.

Platforms' own `pow` differ in their last bits, numpy's from the compiler's among them. Here x = m 2^e with m between
sqrt(1/2) and sqrt(2); log2(m) by the series of atanh, 2^r by that of exp, in sums, products and one quotient, each of
which rounds alike everywhere. A compiler turns the loop around it into vectors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    F8 = NDArray[np.float64]

__all__ = ["power", "raised"]


_LN_2 = math.log(2.0)
_L1, _L3, _L5, _L7, _L9, _L11, _L13, _L15, _L17 = (2.0 / (_LN_2 * k) for k in range(1, 19, 2))
_E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10, _E11, _E12 = (1.0 / math.factorial(k) for k in range(2, 13))
# The bits of sqrt(1/2), and of 1 (the exponent's bias).
_HALF_ROOT = np.uint64(0x3FE6A09E667F3BCD)
_BIAS = np.uint64(1023 << 52)
_52 = np.uint64(52)
# A float64 of this exponent holds a whole number in its lowest bits: conversion without a conversion.
_WHOLE_BITS = np.uint64(0x4330000000000000)
_WHOLE = 2.0**52 + 1023.0
_ROUND = 1.5 * 2.0**52
# Splits off the upper 26 bits of `a`, whose product with a whole exponent is exact.
_SPLIT = 2.0**27 + 1.0


@intrinsic  # type: ignore[untyped-decorator]  # numba ships no types
def _bits_of_one(_context: Any, x: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.uint64(x), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba ships no types
def _one_of_bits(_context: Any, bits: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(bits), generate


def _bits(x: F8) -> Any:
    """The bits of float64 numbers; uint64 [n]."""
    return x.view(np.uint64)


def _numbers(bits: Any) -> Any:
    """The float64 numbers of these bits."""
    return bits.view(np.float64)


@overload(_bits, inline="always")  # type: ignore[untyped-decorator]  # numba ships no types
def _compiled_bits(x: Any) -> Any:  # noqa: ARG001  (numba asks by the argument's type)
    def of_one(x: Any) -> Any:
        return _bits_of_one(x)

    return of_one


@overload(_numbers, inline="always")  # type: ignore[untyped-decorator]  # numba ships no types
def _compiled_numbers(bits: Any) -> Any:  # noqa: ARG001  (numba asks by the argument's type)
    def of_one(bits: Any) -> Any:
        return _one_of_bits(bits)

    return of_one


def raised(x: F8, a: float) -> F8:
    """x^a of positive, normal, finite numbers whose powers are normal; float64 [n].

    Relative error below 1e-15 for x in 1e-150..1e150 and a in [0, 1]; x itself for a = 1, and 1 for a = 0. Zero has
    some finite power; for other x nothing is meant.
    """
    if a == 1.0:
        return x
    bits = _bits(x)
    exponent = (bits - _HALF_ROOT + _BIAS) >> _52
    m = _numbers(bits - (exponent << _52) + _BIAS)
    e = _numbers(exponent | _WHOLE_BITS) - _WHOLE
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    q2 = q * q
    low = (_L1 + q * _L3) + q2 * (_L5 + q * _L7)
    high = (_L9 + q * _L11) + q2 * (_L13 + q * (_L15 + q * _L17))
    top = a * _SPLIT - (a * _SPLIT - a)
    log = a * (s * (low + (q2 * q2) * high)) + (a - top) * e
    rounded = (top * e + log) + _ROUND
    scale = _numbers((_bits(rounded) << _52) + _BIAS)
    t = ((top * e - (rounded - _ROUND)) + log) * _LN_2
    t2 = t * t
    t4 = t2 * t2
    low = t2 * ((_E2 + t * _E3) + t2 * (_E4 + t * _E5))
    high = ((_E6 + t * _E7) + t2 * (_E8 + t * _E9)) + t4 * (_E10 + t * (_E11 + t * _E12))
    series: F8 = (1.0 + (t + (low + t4 * t2 * high))) * scale
    return series


# The same of one number, compiled into the loop of whoever calls it.
power: Callable[[float, float], float] = njit(inline="always", error_model="numpy")(raised)
