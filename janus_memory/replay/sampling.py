"""Draws from a priority distribution inside a compiled loop, exact whatever the order of summation (E8).

Each p^alpha becomes a whole number of units, 2^52 / N units at most, and the cumulative sum is taken in
int64: no rounding, so it is monotone, its last value is the total, nothing outside the buffer can be
drawn, and it has the same bits however the sum is split over threads. A float32 cumulative sum over
10 000 rows misplaces boundaries by more than a row's share. One unit is 2^-38 of the largest p^alpha
at N = 10 000, below float32's own rounding of p^alpha. Needs JAX's 64-bit mode while traced.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["draw", "masses", "shares"]

_UNITS = 2.0**52


def masses(p: jax.Array, alpha: float) -> jax.Array:
    """p^alpha in whole units: float32 [N] -> int64 [N], at least 1 where p > 0, all 1 where all p are 0.

    The sum is at most 2^53, so that it is exact in float64 too.
    """
    largest = p.max()
    scaled = jnp.where(p > 0, (p / largest) ** jnp.float32(alpha), 0)
    unit = jnp.floor(scaled.astype(jnp.float64) * (_UNITS / p.shape[0])).astype(jnp.int64)
    unit = jnp.where(p > 0, jnp.maximum(unit, 1), 0)
    return jnp.where(largest > 0, unit, jnp.ones_like(unit))


def shares(mass: jax.Array) -> jax.Array:
    """P(i), float32 [N], of the masses that are drawn from."""
    return (mass.astype(jnp.float64) / mass.sum().astype(jnp.float64)).astype(jnp.float32)


def draw(mass: jax.Array, uniforms: jax.Array) -> jax.Array:
    """The first row whose cumulative mass exceeds u * total: float64 [B] in [0, 1) -> int32 [B]."""
    cumulative = jnp.cumsum(mass)
    total = cumulative[-1]
    target = jnp.minimum(jnp.floor(uniforms * total.astype(jnp.float64)).astype(jnp.int64), total - 1)
    return jnp.searchsorted(cumulative, target, side="right").astype(jnp.int32)
