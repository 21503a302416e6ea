"""The Q-network: a ReLU multilayer perceptron over standardised states, one output per discrete action.

Weights are a flat mapping `w0, b0, w1, b1, ...` of float32 arrays, `w` of shape [inputs, outputs], so
that a set of weights is at once a JAX tree and `Arrays` that can be stored.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from janus_memory.config import PolicySettings
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import MarketSpec

__all__ = ["Weights", "forward", "init_weights", "n_actions_of", "require_discrete", "state_size_of"]

Weights = dict[str, jax.Array]


def require_discrete(spec: MarketSpec) -> None:
    """Refuse a market whose actions are vectors.

    Raises:
        ConfigError: the market has vector actions, for which there is no policy yet.
    """
    if spec.action_kind != "discrete":
        raise ConfigError(
            f"market {spec.name}: vector actions (action_dim = {spec.action_size}) have no policy yet; nothing "
            "was started; set `action_names` or `n_actions` to trade discrete actions"
        )


def init_weights(state_size: int, n_actions: int, policy: PolicySettings, seed: int) -> Arrays:
    """He-normal weights and zero biases, float32; equal for equal arguments on every machine.

    Raises:
        ConfigError: no state features, fewer than one action, or an empty hidden layer.
    """
    sizes = (state_size, *policy.hidden, n_actions)
    if n_actions < 1:
        raise ConfigError(
            f"the Q-network needs discrete actions, got n_actions = {n_actions}: vector actions have no policy "
            "yet; set `action_names` or `n_actions` in the market's settings"
        )
    if min(sizes) < 1:
        raise ConfigError(f"every layer of the Q-network needs at least one unit, got {sizes}")
    rng = np.random.default_rng(seed)
    weights: Arrays = {}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        draw = rng.standard_normal((n_in, n_out)) * np.sqrt(2.0 / n_in)
        weights[f"w{layer}"] = draw.astype(np.float32)
        weights[f"b{layer}"] = np.zeros(n_out, np.float32)
    return weights


def forward(weights: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    """Q(s, a) for every action: float32 [n, d] -> float32 [n, A]. Traceable."""
    last = len(weights) // 2 - 1
    for layer in range(last):
        x = jnp.maximum(x @ weights[f"w{layer}"] + weights[f"b{layer}"], 0)
    return x @ weights[f"w{last}"] + weights[f"b{last}"]


def state_size_of(weights: Mapping[str, np.ndarray | jax.Array]) -> int:
    """Number of state features d that these weights take."""
    return int(weights["w0"].shape[0])


def n_actions_of(weights: Mapping[str, np.ndarray | jax.Array]) -> int:
    """Number of discrete actions A that these weights know."""
    return int(weights[f"b{len(weights) // 2 - 1}"].shape[0])
