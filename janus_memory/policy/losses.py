"""What the policy is trained on: TD errors, the Huber loss and the logic loss (SPEC sections 3 to 5).

Everything here is a pure, traceable JAX function of float32 arrays. Shapes: n rows, A actions, R rules.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["bootstrap", "huber", "policy_satisfaction", "satisfaction", "select", "td_error"]

# Truths are drawn this far below 1, which keeps the square root's slope finite there (stable variant).
TRUTH_MARGIN = 1e-4


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
    value = jnp.where(next_action >= 0, known, next_q.max(axis=1))
    return jnp.where(done > 0, jnp.zeros_like(value), value)


def td_error(q_taken: jax.Array, reward: jax.Array, following: jax.Array, gamma: float) -> jax.Array:
    """The TD error delta = r + gamma Q(s', a') - Q(s, a) (E7), all [n]."""
    return reward + gamma * following - q_taken


def huber(delta: jax.Array, width: float) -> jax.Array:
    """delta^2 / 2 up to `width`, linear beyond it, with a continuous slope."""
    size = jnp.abs(delta)
    inside = jnp.minimum(size, width)
    return inside * (size - inside / 2)


def satisfaction(truths: jax.Array, rule_weight: jax.Array) -> jax.Array:
    """SatAgg of the rules over a batch, p = 2, stable variant: a scalar in [0, 1].

    forall is the p-mean-error over the batch, SatAgg the weighted p-mean-error over the rules.

    Args:
        truths: [n, R] in [0, 1], R >= 1.
        rule_weight: [R], non-negative, not all zero.
    """
    miss = 1.0 - (1.0 - TRUTH_MARGIN) * truths
    # forall_r = 1 - sqrt(mean miss^2), and SatAgg needs (1 - forall_r)^2: root and square cancel.
    per_rule = jnp.mean(miss * miss, axis=0)
    share = rule_weight / rule_weight.sum()
    return 1.0 - jnp.sqrt(jnp.sum(share * per_rule))


def policy_satisfaction(
    q: jax.Array, policy_truth: jax.Array, rule_weight: jax.Array, temperature: float
) -> jax.Array:
    """SatAgg of the rules grounded on the policy: truth(s) = sum_a softmax(Q / temperature)_a T[s, r, a].

    Args:
        q: [n, A].
        policy_truth: T, [n, R, A].
        rule_weight: [R].
        temperature: of the softmax, > 0.
    """
    share = jax.nn.softmax(q / temperature, axis=1)
    return satisfaction(jnp.sum(policy_truth * share[:, None, :], axis=2), rule_weight)
