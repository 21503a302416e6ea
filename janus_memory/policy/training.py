"""One training step of the networks: what the night and the online learner share (SPEC sections 2.5, 3 and 5).

An optimiser's step on the importance-weighted Huber loss of a batch (E11), bootstrapped from the target network, plus the
logic loss; then a Polyak step of the target. A vector market's head learns in the same step, by the deterministic
policy gradient and the logic loss (docs/decisions/0012). The functions are pure and traceable: the compiled night calls them
inside its loop, everyone else compiles them once. Shapes: B rows, d features, A actions, R rules.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from janus_memory.logic.quantifiers import UNIVERSAL, Quantifiers
from janus_memory.policy.losses import huber, policy_satisfaction, satisfaction, select, td_error
from janus_memory.policy.networks import Weights, chosen, forward, is_vector
from janus_memory.policy.optimisers import optimiser, state_arrays, state_from
from janus_memory.policy.values import following, gain, taken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import PolicySettings
    from janus_memory.policy.grounding import VectorGround
    from janus_memory.store.arrays import Arrays

__all__ = ["Batch", "Trained", "online_td", "to_arrays", "to_device", "train_step"]


class Trained(NamedTuple):
    """What training changes, on the device.

    Attributes:
        fast: the online network's weights (`policy.networks`).
        target: the target network's.
        opt: the optimiser's state as optax lays it out.
    """

    fast: Weights
    target: Weights
    opt: optax.OptState


# How many of a batch's fields have an entry for each row.
_OF_ROWS = 7


class Batch(NamedTuple):
    """Rows as training takes them.

    Attributes:
        x, next_x: standardised states, float32 [B, d].
        action: int32 [B], or float32 [B, m] in units of the market's box.
        next_action: as the action; -1 or a row of NaN where not known.
        reward: float32 [B], scaled.
        done: uint8 [B].
        policy_truth: truth of each rule under each discrete action, float32 [B, R, A]; R may be 0.
        rule_weight: float32 [R], non-negative, not all zero.
        quantifiers: of the R rules; no array, but part of what is compiled.
        ground: of the R rules where actions are vectors; None without rules, or where actions are discrete.
    """

    x: jax.Array
    action: jax.Array
    reward: jax.Array
    next_x: jax.Array
    next_action: jax.Array
    done: jax.Array
    policy_truth: jax.Array
    rule_weight: jax.Array
    quantifiers: Quantifiers = UNIVERSAL
    ground: VectorGround | None = None

    def take(self, rows: jax.Array) -> Batch:
        """Some of the rows, int32 [n]."""
        of_rows = {name: getattr(self, name)[rows] for name in self._fields[:_OF_ROWS]}
        return self._replace(**of_rows, ground=self.ground and self.ground.take(rows))


class _Judged(NamedTuple):
    """What the online network says of a batch: Q(s, a) [B], SatAgg of its choices, and a head's Q(s, pi(s)) [B]."""

    taken: jax.Array
    satisfied: jax.Array | None
    gain: jax.Array | None


def train_step(
    trained: Trained, batch: Batch, weight: jax.Array, policy: PolicySettings
) -> tuple[Trained, jax.Array, jax.Array]:
    """One step of the online network by its optimiser, and one Polyak step of the target.

    Args:
        trained: before the step.
        batch: its rows.
        weight: importance weights, float32 [B] (E9, E10).
        policy: settings of the losses and both steps.

    Returns:
        After the step; L_total before it; SatAgg of the policy on the batch before it (1 without rules).
    """
    loss = functools.partial(_loss, target=trained.target, batch=batch, weight=weight, policy=policy)
    (_, (value, satisfied)), gradient = jax.value_and_grad(loss, has_aux=True)(trained.fast)
    change, opt = optimiser(policy).update(gradient, trained.opt, trained.fast)
    fast = optax.apply_updates(trained.fast, change)
    target = optax.incremental_update(fast, trained.target, policy.polyak)
    return Trained(fast, target, opt), value, satisfied


def online_td(fast: Weights, batch: Batch, gamma: float) -> jax.Array:
    """TD error delta with the online network on both sides (E7); float32 [B]."""
    follows = following(fast, batch.next_x, batch.next_action, batch.done)
    return td_error(taken(fast, batch.x, batch.action), batch.reward, follows, gamma)


def to_device(fast: Arrays, target: Arrays, opt: Arrays, policy: PolicySettings) -> Trained:
    """Stored arrays as training takes them.

    Raises:
        CheckpointError: `opt` is not a state of the settings' optimiser.
    """
    weights = _tree(fast)
    return Trained(weights, _tree(target), state_from(opt, weights, policy))


def to_arrays(trained: Trained) -> tuple[Arrays, Arrays, Arrays]:
    """The inverse of `to_device`: fast, target and optimiser as arrays of this process."""
    fast: Arrays = {name: np.asarray(value) for name, value in trained.fast.items()}
    target: Arrays = {name: np.asarray(value) for name, value in trained.target.items()}
    return fast, target, state_arrays(trained.opt)


def _loss(
    fast: Weights, *, target: Weights, batch: Batch, weight: jax.Array, policy: PolicySettings
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """What is descended; L_total = mean w Huber(delta) + lambda (1 - SatAgg) (E11), and SatAgg.

    Of a vector market mean w Q(s, pi(s)) is taken off L_total: its slope reaches the head alone.
    """
    judged = _vector(fast, batch) if is_vector(fast) else _discrete(fast, batch, policy)
    follows = following(target, batch.next_x, batch.next_action, batch.done)
    delta = td_error(judged.taken, batch.reward, follows, policy.gamma)
    loss, satisfied = jnp.mean(weight * huber(delta, policy.huber)), judged.satisfied
    if satisfied is None:
        satisfied = jnp.ones_like(loss)
    else:
        loss += policy.lambda_logic * (1 - satisfied)
    descended = loss if judged.gain is None else loss - jnp.mean(weight * judged.gain)
    return descended, (loss, satisfied)


def _discrete(fast: Weights, batch: Batch, policy: PolicySettings) -> _Judged:
    q = forward(fast, batch.x)
    satisfied = None
    if len(batch.rule_weight):
        satisfied = policy_satisfaction(
            q, batch.policy_truth, batch.rule_weight, policy.temperature, batch.quantifiers
        )
    return _Judged(select(q, batch.action), satisfied, None)


def _vector(fast: Weights, batch: Batch) -> _Judged:
    choice, satisfied = chosen(fast, batch.x), None
    if batch.ground is not None:
        satisfied = satisfaction(batch.ground.truths(choice), batch.rule_weight, batch.quantifiers)
    return _Judged(taken(fast, batch.x, batch.action), satisfied, gain(fast, batch.x, choice))


def _tree(arrays: Mapping[str, NDArray[np.generic]]) -> Weights:
    return {name: jnp.asarray(value) for name, value in arrays.items()}
