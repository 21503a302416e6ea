"""What a network says of rows, whichever kind of action it knows: Q(s, a), what follows, and the head's gain.

Pure, traceable JAX functions. Shapes: n rows, d features; actions int32 [n] (discrete), or float32 [n, m] in units
of the market's box (vector).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from janus_memory.policy.losses import bootstrap, ended, select
from janus_memory.policy.networks import action_value, chosen, forward, is_vector

if TYPE_CHECKING:
    from janus_memory.policy.networks import Weights

__all__ = ["following", "gain", "known_or", "taken"]


def taken(weights: Weights, x: jax.Array, action: jax.Array) -> jax.Array:
    """Q(s, a) of the action taken; [n]."""
    if is_vector(weights):
        return action_value(weights, x, action)
    return select(forward(weights, x), action)


def following(weights: Weights, next_x: jax.Array, next_action: jax.Array, done: jax.Array) -> jax.Array:
    """Value of what follows: 0 where done, Q(s', a') where a' is known, else max_a Q(s', a) or Q(s', pi(s')); [n]."""
    if not is_vector(weights):
        return bootstrap(forward(weights, next_x), next_action, done)
    action = known_or(next_action, chosen(weights, next_x))
    return ended(action_value(weights, next_x, action), done)


def known_or(next_action: jax.Array, otherwise: jax.Array) -> jax.Array:
    """Each row's next action, or the other one where it is a row of NaN; [n, m]."""
    return jnp.where(jnp.isnan(next_action).any(axis=1, keepdims=True), otherwise, next_action)


def gain(critic: Weights, x: jax.Array, choice: jax.Array) -> jax.Array:
    """Q(s, pi(s)) of a head's choice [n, m], the critic's weights held; [n].

    So its slope reaches the head alone: the deterministic policy gradient (Silver et al. 2014, Lillicrap et al. 2015).
    """
    return action_value(jax.lax.stop_gradient(critic), x, choice)
