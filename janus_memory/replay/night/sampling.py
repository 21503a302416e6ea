"""Each strategy's law inside a compiled loop, and draws from it, exact whatever the order of summation (E8).

Probabilities become whole numbers of units, 2^53 of them in all at most, and the cumulative sum is taken in int64: no
rounding, so it is monotone, its last value is the total, nothing outside the buffer can be drawn, and it has the
same bits however the sum is split over threads. A float32 cumulative sum over 10 000 rows misplaces boundaries by
more than a row's share. One unit is 2^-38 of the largest p^alpha at N = 10 000, below float32's own rounding of
p^alpha. `replay.law.laws` defines the laws in plain numpy. Needs JAX's 64-bit mode while traced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.config import ReplaySettings

__all__ = ["draw", "masses", "shares", "uniforms"]

_UNITS = 2.0**52


def masses(
    p: jax.Array, age: jax.Array, domain: jax.Array, n_domains: int, replay: ReplaySettings
) -> jax.Array:
    """The strategy's P(i) in whole units; int64 [N], at least 1 where P > 0. Their sum is exact in float64 too.

    Args:
        p: priorities, float32 [N]; all zero means that none counts more than another.
        age: in half-lives, since any moment, float32 [N] (`prioritized_recency`).
        domain: code of each row's domain, int32 [N] (`domain_balanced`).
        n_domains: codes are below it.
        replay: strategy and alpha.
    """
    if replay.strategy == "uniform":
        return jnp.ones(p.shape, jnp.int64)
    if replay.strategy == "domain_balanced":
        return _balanced(p, domain, n_domains, replay.alpha)
    power = _powers(p, p.max(), replay.alpha)
    if replay.strategy == "prioritized_recency":
        newest = age.min(where=power > 0, initial=jnp.inf)
        recent = jnp.where(power > 0, power * jnp.exp2(newest - age), 0)
        return _units(recent / recent.max(), power > 0)
    mass = _units(power, power > 0)
    if replay.strategy == "mixed":
        return _parts((_part(mass, mass.sum()) + 1.0 / len(p)) / 2, mass >= 0)
    return mass


def shares(mass: jax.Array) -> jax.Array:
    """P(i), float32 [N], of the masses that are drawn from."""
    return _part(mass, mass.sum()).astype(jnp.float32)


def uniforms(key: jax.Array | NDArray[np.uint32], step: jax.Array | np.int32, n: int) -> jax.Array:
    """What iteration `step` of a night draws with: float64 [n] in [0, 1) of fold_in(key, step), a threefry key."""
    night = jax.random.wrap_key_data(jnp.asarray(key), impl="threefry2x32")
    return jax.random.uniform(jax.random.fold_in(night, step), (n,), jnp.float64)


def draw(mass: jax.Array, uniforms: jax.Array) -> jax.Array:
    """The first row whose cumulative mass exceeds u * total: float64 [B] in [0, 1) -> int32 [B]."""
    cumulative = jnp.cumsum(mass)
    total = cumulative[-1]
    target = jnp.minimum(jnp.floor(uniforms * total.astype(jnp.float64)).astype(jnp.int64), total - 1)
    return jnp.searchsorted(cumulative, target, side="right").astype(jnp.int32)


def _balanced(p: jax.Array, domain: jax.Array, n_domains: int, alpha: float) -> jax.Array:
    """An equal share to each domain that has rows, p^alpha inside it."""
    largest = jax.ops.segment_max(p, domain, n_domains)
    power = _powers(p, largest[domain], alpha)
    mass = _units(power, power > 0)
    total = jax.ops.segment_sum(mass, domain, n_domains)
    return _parts(_part(mass, total[domain]) / jnp.sum(total > 0), mass > 0)


def _powers(p: jax.Array, largest: jax.Array, alpha: float) -> jax.Array:
    """(p / largest)^alpha, 1 where the largest is 0; float32 [N]."""
    power = jnp.where(p > 0, (p / largest) ** jnp.float32(alpha), 0)
    return jnp.where(largest > 0, power, jnp.ones_like(power))


def _units(power: jax.Array, reachable: jax.Array) -> jax.Array:
    """Numbers of at most 1 as whole units, of which 1 is worth 2^52 / N; int64 [N]."""
    unit = jnp.floor(power.astype(jnp.float64) * (_UNITS / power.shape[0])).astype(jnp.int64)
    return jnp.where(reachable, jnp.maximum(unit, 1), 0)


def _parts(part: jax.Array, reachable: jax.Array) -> jax.Array:
    """Parts of one whole, float64 [N], as units of 2^-52 of it; int64 [N]."""
    unit = jnp.floor(part * _UNITS).astype(jnp.int64)
    return jnp.where(reachable, jnp.maximum(unit, 1), 0)


def _part(mass: jax.Array, total: jax.Array) -> jax.Array:
    return mass.astype(jnp.float64) / total.astype(jnp.float64)
