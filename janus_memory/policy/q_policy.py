"""The built-in policy: a Q-network with a target network, and a head where actions are vectors (SPEC section 5).

It takes the same step as the night (`policy.training`), compiled once for each size of batch. Batches are padded to
the next power of two with rows of weight 0, so few sizes are ever compiled.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from janus_memory.errors import CheckpointError, ConfigError, ReplayError
from janus_memory.policy import training
from janus_memory.policy.box import action_box, in_box_units, in_market_units
from janus_memory.policy.losses import huber, td_error
from janus_memory.policy.networks import chosen, forward, init_weights, is_vector
from janus_memory.policy.optimisers import init_optimiser
from janus_memory.policy.values import following, taken
from janus_memory.store.arrays import read_arrays, subtree, write_arrays

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from janus_memory.config import PolicySettings
    from janus_memory.policy.protocol import Batch
    from janus_memory.policy.training import Trained
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import MarketSpec

__all__ = ["QPolicy"]


class QPolicy:
    """A Q-network, with a deterministic head where the market's actions are vectors. Single writer."""

    def __init__(self, spec: MarketSpec, settings: PolicySettings, seed: int) -> None:
        """A network that has learned nothing; equal for equal arguments.

        Raises:
            ConfigError: a layer without units.
        """
        self._settings = settings
        self._box = action_box(spec) if spec.action_kind == "vector" else None
        fast = init_weights(spec.state_size, spec.action_size, settings, seed, spec.action_kind)
        self._trained = training.to_device(fast, fast, init_optimiser(fast, settings), settings)

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """TD errors delta with the online network on both sides (E7); float32 [n]."""
        if not len(batch):
            return np.zeros(0, np.float32)
        return np.asarray(_td(self._trained, self._padded(batch), self._settings))[: len(batch)]

    def update(self, batch: Batch, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """One step on mean_i w_i Huber(delta_i), the head's included (`policy.training`); one Polyak step of the target.

        Returns:
            Huber(delta) of each row before the step, bootstrapped from the target network; float32 [n].

        Raises:
            ConfigError: a batch without rows.
            ReplayError: the step left the finite numbers; the network is unchanged.
        """
        n = len(batch)
        if not n:
            raise ConfigError(
                "a batch without rows teaches nothing; the network is unchanged; pass one row or more"
            )
        padded = self._padded(batch)
        # The step averages over the padded rows too, which weigh nothing: scaled up, the mean is that of the n rows.
        size = len(padded.reward)
        weight = np.zeros(size, np.float32)
        weight[:n] = weights * np.float32(size / n)
        after, loss, finite = _step(self._trained, padded, weight, self._settings)
        if not finite:
            raise ReplayError(
                f"an update on {n} rows left the finite numbers; the network is unchanged; lower "
                "policy.learning_rate, give the learner a scale, or look for extreme rewards and states"
            )
        self._trained = after
        return np.asarray(loss)[:n]

    def action_distribution(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """softmax(Q / temperature) at each state [n, d], float32 [n, A]; or pi(s) in the market's units, float32 [n, m]."""
        n = len(states)
        x = np.zeros((_size(n), states.shape[1]), np.float32)
        x[:n] = states
        choice = np.asarray(_distribution(self._trained, x, self._settings))[:n]
        return choice if self._box is None else in_market_units(choice, self._box)

    def save(self, path: Path) -> None:
        """Write the weights of both networks and the optimiser's state."""
        parts = zip(("fast/", "target/", "opt/"), training.to_arrays(self._trained), strict=True)
        arrays: Arrays = {prefix + name: value for prefix, part in parts for name, value in part.items()}
        write_arrays(path, arrays, {})

    def load(self, path: Path) -> None:
        """Read what `save` wrote.

        Raises:
            CheckpointError: the file is not such a file, or of a network of another shape; the network is unchanged.
        """
        arrays, _ = read_arrays(path)
        fast, target, opt = (subtree(arrays, prefix) for prefix in ("fast/", "target/", "opt/"))
        for part, own in zip((fast, target, opt), training.to_arrays(self._trained), strict=True):
            found, known = _shapes(part), _shapes(own)
            if found != known:
                raise CheckpointError(
                    f"the network in {path} has the arrays {found}, this one {known}; the network is unchanged; "
                    "load it under the settings and the market it was saved with"
                )
        self._trained = training.to_device(fast, target, opt, self._settings)

    def _padded(self, batch: Batch) -> training.Batch:
        """The batch in a power of two of rows; those that fill it up are zeros, and rules there are none."""
        size = _size(len(batch))

        def filled(column: NDArray[np.generic]) -> jax.Array:
            padded = np.zeros((size, *column.shape[1:]), column.dtype)
            padded[: len(column)] = column
            return jnp.asarray(padded)

        def action(column: NDArray[np.int32] | NDArray[np.float32]) -> jax.Array:
            if self._box is None:
                return filled(column)
            return filled(in_box_units(column.astype(np.float32, copy=False), self._box))

        return training.Batch(
            x=filled(batch.state),
            action=action(batch.action),
            reward=filled(batch.reward),
            next_x=filled(batch.next_state),
            next_action=action(batch.next_action),
            done=filled(batch.done),
            policy_truth=jnp.zeros((size, 0, 0), jnp.float32),
            rule_weight=jnp.zeros(0, jnp.float32),
        )


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in sorted(arrays.items())}


def _size(n: int) -> int:
    """The next power of two, at least 1."""
    return 1 << max(n - 1, 0).bit_length()


@functools.partial(jax.jit, static_argnames=("policy",))
def _step(
    trained: Trained, batch: training.Batch, weight: jax.Array, policy: PolicySettings
) -> tuple[Trained, jax.Array, jax.Array]:
    """After the step; each row's loss before it; whether loss and weights are finite."""
    follows = following(trained.target, batch.next_x, batch.next_action, batch.done)
    delta = td_error(taken(trained.fast, batch.x, batch.action), batch.reward, follows, policy.gamma)
    loss = huber(delta, policy.huber)
    after, value, _ = training.train_step(trained, batch, weight, policy)
    finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((value, loss, after.fast))]
    return after, loss, jnp.stack(finite).all()


@functools.partial(jax.jit, static_argnames=("policy",))
def _td(trained: Trained, batch: training.Batch, policy: PolicySettings) -> jax.Array:
    return training.online_td(trained.fast, batch, policy.gamma)


@functools.partial(jax.jit, static_argnames=("policy",))
def _distribution(trained: Trained, x: jax.Array, policy: PolicySettings) -> jax.Array:
    if is_vector(trained.fast):
        return chosen(trained.fast, x)
    return jax.nn.softmax(forward(trained.fast, x) / policy.temperature, axis=1)
