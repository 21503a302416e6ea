"""The curves behind soft comparisons and membership functions, in numpy or jax.numpy, free of overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from janus_memory.logic.connectives import Truth

__all__ = ["bell", "ramp", "sigmoid", "widths"]

# So many widths away a truth is 0 or 1 to the last bit; beyond it exp would overflow and spoil gradients.
_FAR = 1e3
# The smallest normal float32: a smaller width would be 0 where rows are float32.
_LEAST_WIDTH = 2.0**-126

# As `connectives.Truth`, or a single number.
Values: TypeAlias = Any


def widths(difference: Values, width: float, xp: Any) -> Values:
    """How many widths a difference is long, at most `_FAR`."""
    return xp.clip(difference / max(width, _LEAST_WIDTH), -_FAR, _FAR)


def ramp(values: Values, start: float, end: float, xp: Any) -> Truth:
    """0 up to `start`, 1 from `end` on, straight between them."""
    return xp.clip((values - start) / (end - start), 0.0, 1.0)


def bell(z: Values, xp: Any) -> Truth:
    """exp(-z^2 / 2)."""
    return xp.exp(-0.5 * z * z)


def sigmoid(z: Values, xp: Any) -> Truth:
    """1 / (1 + exp(-z))."""
    if xp is np:
        return expit(z)
    from jax.nn import sigmoid as traced  # noqa: PLC0415  (the live path does without JAX)

    return traced(z)
