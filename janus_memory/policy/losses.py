"""What the policy is trained on: TD errors, the Huber loss and the logic loss (SPEC sections 3 to 5).

Everything here is a pure, traceable JAX function of float32 arrays. Shapes: n rows, A actions, R rules.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from janus_memory.logic.quantifiers import UNIVERSAL, Quantifiers

__all__ = ["bootstrap", "ended", "huber", "policy_satisfaction", "satisfaction", "select", "td_error"]

# Truths are drawn this far below 1, which keeps the square root's slope finite there (stable variant).
TRUTH_MARGIN = 1e-4

# To a compiled function quantifiers are part of its shape, not of its numbers.
jax.tree_util.register_static(Quantifiers)


def select(q: jax.Array, action: jax.Array) -> jax.Array:
    """Q(s, a) of the action taken: [n, A], int32 [n] -> [n]."""
    return jnp.take_along_axis(q, action[:, None], axis=1)[:, 0]


def bootstrap(next_q: jax.Array, next_action: jax.Array, done: jax.Array) -> jax.Array:
    """Value of what follows: 0 where done, Q(s', a') where a' is known, else max_a Q(s', a).

    Args:
        next_q: Q(s', .) [n, A].
        next_action: int32 [n], -1 where not known.
        done: uint8 [n].
    """
    known = select(next_q, jnp.maximum(next_action, 0))
    return ended(jnp.where(next_action >= 0, known, next_q.max(axis=1)), done)


def ended(value: jax.Array, done: jax.Array) -> jax.Array:
    """The value [n], or 0 where nothing follows; done uint8 [n]."""
    return jnp.where(done > 0, jnp.zeros_like(value), value)


def td_error(q_taken: jax.Array, reward: jax.Array, following: jax.Array, gamma: float) -> jax.Array:
    """The TD error delta = r + gamma Q(s', a') - Q(s, a) (E7), all [n]."""
    return reward + gamma * following - q_taken


def huber(delta: jax.Array, width: float) -> jax.Array:
    """delta^2 / 2 up to `width`, linear beyond it, with a continuous slope."""
    size = jnp.abs(delta)
    inside = jnp.minimum(size, width)
    return inside * (size - inside / 2)


def satisfaction(
    truths: jax.Array, rule_weight: jax.Array, quantifiers: Quantifiers = UNIVERSAL
) -> jax.Array:
    """SatAgg of the rules over a batch, stable variant: a scalar in [0, 1].

    forall is the p-mean-error over the batch, exists the p-mean, SatAgg the weighted p-mean-error over the rules.

    Args:
        truths: [n, R] in [0, 1], R >= 1.
        rule_weight: [R], non-negative, not all zero.
        quantifiers: which rules are existential, and every p.
    """
    share = rule_weight / rule_weight.sum()
    miss = 1.0 - (1.0 - TRUTH_MARGIN) * truths
    if quantifiers.is_plain:
        # forall_r = 1 - sqrt(mean miss^2), and SatAgg needs (1 - forall_r)^2: root and square cancel.
        return 1.0 - jnp.sqrt(jnp.sum(share * jnp.mean(miss * miss, axis=0)))
    misses = _p_mean(miss, quantifiers.p_forall)
    if quantifiers.existential:
        chosen = np.array(quantifiers.existential)
        near = truths[:, chosen] + TRUTH_MARGIN * (1.0 - truths[:, chosen])
        misses = misses.at[chosen].set(1.0 - (1.0 - TRUTH_MARGIN) * _p_mean(near, quantifiers.p_exists))
    return 1.0 - _p_mean(misses, quantifiers.p_rules, share)


def _p_mean(values: jax.Array, p: float, share: jax.Array | None = None) -> jax.Array:
    """(mean values^p)^(1/p) over the first axis of values > 0; `share` [n] weighs it and sums to 1."""
    # Over the largest, whose power is 1: a power of all of them could vanish in float32, and 0 has no root's slope.
    largest = jax.lax.stop_gradient(values.max(axis=0))
    powers = (values / largest) ** p
    mean = powers.mean(axis=0) if share is None else jnp.sum(share * powers)
    return largest * mean ** (1.0 / p)


def policy_satisfaction(
    q: jax.Array,
    policy_truth: jax.Array,
    rule_weight: jax.Array,
    temperature: float,
    quantifiers: Quantifiers = UNIVERSAL,
) -> jax.Array:
    """SatAgg of the rules grounded on the policy: truth(s) = sum_a softmax(Q / temperature)_a T[s, r, a].

    Args:
        q: [n, A].
        policy_truth: T, [n, R, A].
        rule_weight: [R].
        temperature: of the softmax, > 0.
        quantifiers: of the rules.
    """
    share = jax.nn.softmax(q / temperature, axis=1)
    return satisfaction(jnp.sum(policy_truth * share[:, None, :], axis=2), rule_weight, quantifiers)
