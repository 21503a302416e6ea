"""One training step of the Q-network: what the night and the online learner share (SPEC sections 2.5, 3 and 5).

An Adam step on the importance-weighted Huber loss of a batch (E11), bootstrapped from the target network, plus the
logic loss; then a Polyak step of the target. The functions are pure and traceable: the compiled night calls them
inside its loop, everyone else compiles them once. Shapes: B rows, d features, A actions, R rules.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]  # optax ships no types

from janus_memory.logic.quantifiers import UNIVERSAL, Quantifiers
from janus_memory.policy.losses import bootstrap, huber, policy_satisfaction, select, td_error
from janus_memory.policy.networks import Weights, forward
from janus_memory.store.arrays import Arrays, subtree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import PolicySettings

__all__ = ["Batch", "Trained", "init_optimiser", "online_td", "to_arrays", "to_device", "train_step"]


class Trained(NamedTuple):
    """What training changes, on the device.

    Attributes:
        fast: the online network's weights (`policy.networks`).
        target: the target network's.
        opt: Adam's state as optax lays it out.
    """

    fast: Weights
    target: Weights
    opt: optax.OptState


class Batch(NamedTuple):
    """Rows as training takes them.

    Attributes:
        x, next_x: standardised states, float32 [B, d].
        action: int32 [B]; next_action: int32 [B], -1 where not known.
        reward: float32 [B], scaled.
        done: uint8 [B].
        policy_truth: truth of each rule under each action, float32 [B, R, A]; R may be 0.
        rule_weight: float32 [R], non-negative, not all zero.
        quantifiers: of the R rules; no array, but part of what is compiled.
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


def train_step(
    trained: Trained, batch: Batch, weight: jax.Array, policy: PolicySettings
) -> tuple[Trained, jax.Array, jax.Array]:
    """One Adam step of the online network and one Polyak step of the target.

    Args:
        trained: before the step.
        batch: its rows.
        weight: importance weights, float32 [B] (E9, E10).
        policy: settings of the losses and both steps.

    Returns:
        After the step; L_total before it; SatAgg of the policy on the batch before it (1 without rules).
    """
    loss = functools.partial(_loss, target=trained.target, batch=batch, weight=weight, policy=policy)
    (value, satisfied), gradient = jax.value_and_grad(loss, has_aux=True)(trained.fast)
    change, opt = _optimiser(policy).update(gradient, trained.opt)
    fast = optax.apply_updates(trained.fast, change)
    target = optax.incremental_update(fast, trained.target, policy.polyak)
    return Trained(fast, target, opt), value, satisfied


def online_td(fast: Weights, batch: Batch, gamma: float) -> jax.Array:
    """TD error delta with the online network on both sides (E7); float32 [B]."""
    following = bootstrap(forward(fast, batch.next_x), batch.next_action, batch.done)
    return td_error(select(forward(fast, batch.x), batch.action), batch.reward, following, gamma)


def init_optimiser(fast: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Adam's state before its first step: `count` int32 [], and `mu/...`, `nu/...` of the weights' shapes."""
    opt: Arrays = {"count": np.array(0, np.int32)}
    for name, value in fast.items():
        opt[f"mu/{name}"] = np.zeros_like(value)
        opt[f"nu/{name}"] = np.zeros_like(value)
    return opt


def to_device(fast: Arrays, target: Arrays, opt: Arrays) -> Trained:
    """Stored arrays as training takes them; `opt` as `init_optimiser` names it."""
    adam = optax.ScaleByAdamState(
        count=jnp.asarray(opt["count"]), mu=_tree(subtree(opt, "mu/")), nu=_tree(subtree(opt, "nu/"))
    )
    return Trained(_tree(fast), _tree(target), (adam, optax.EmptyState()))


def to_arrays(trained: Trained) -> tuple[Arrays, Arrays, Arrays]:
    """The inverse of `to_device`: fast, target and optimiser as arrays of this process."""
    adam = trained.opt[0]
    opt: Arrays = {"count": np.asarray(adam.count)}
    opt |= {f"mu/{name}": np.asarray(value) for name, value in adam.mu.items()}
    opt |= {f"nu/{name}": np.asarray(value) for name, value in adam.nu.items()}
    fast: Arrays = {name: np.asarray(value) for name, value in trained.fast.items()}
    target: Arrays = {name: np.asarray(value) for name, value in trained.target.items()}
    return fast, target, opt


def _loss(
    fast: Weights, *, target: Weights, batch: Batch, weight: jax.Array, policy: PolicySettings
) -> tuple[jax.Array, jax.Array]:
    """L_total = mean w Huber(delta) + lambda (1 - SatAgg) (E11), and SatAgg."""
    q = forward(fast, batch.x)
    following = bootstrap(forward(target, batch.next_x), batch.next_action, batch.done)
    delta = td_error(select(q, batch.action), batch.reward, following, policy.gamma)
    loss = jnp.mean(weight * huber(delta, policy.huber))
    if not len(batch.rule_weight):
        return loss, jnp.ones_like(loss)
    satisfied = policy_satisfaction(
        q, batch.policy_truth, batch.rule_weight, policy.temperature, batch.quantifiers
    )
    return loss + policy.lambda_logic * (1 - satisfied), satisfied


def _optimiser(policy: PolicySettings) -> optax.GradientTransformation:
    return optax.adam(policy.learning_rate)


def _tree(arrays: Mapping[str, NDArray[np.generic]]) -> Weights:
    return {name: jnp.asarray(value) for name, value in arrays.items()}
