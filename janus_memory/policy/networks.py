"""The networks: ReLU multilayer perceptrons over standardised states, for discrete and for vector actions.

Weights are a flat mapping of float32 arrays, so that a set of weights is at once a JAX tree and `Arrays` that can be
stored. Their names say the kind of action:

- discrete: `w0, b0, w1, b1, ...`, state -> Q of each action;
- vector: `q/w0, ...`, (state, action) -> Q, and `pi/w0, ...`, state -> action, the deterministic head. A vector
  action is in units of the market's box (`policy.box`) here: every component of pi(s) lies in (-1, 1) by a tanh.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import PolicySettings
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import ActionKind

__all__ = [
    "Weights",
    "action_size_of",
    "action_value",
    "chosen",
    "forward",
    "init_weights",
    "is_vector",
    "state_size_of",
]

Weights = dict[str, jax.Array]
_Array = TypeVar("_Array", bound="np.ndarray | jax.Array")

_CRITIC, _HEAD = "q/", "pi/"
# A head that starts near the middle of the box: a tanh far out has no slope (Lillicrap et al. 2015, section 7).
_HEAD_START = 0.01


def init_weights(
    state_size: int, action_size: int, policy: PolicySettings, seed: int, kind: ActionKind = "discrete"
) -> Arrays:
    """He-normal weights and zero biases, float32; equal for equal arguments on every machine.

    Args:
        state_size: number of features d.
        action_size: number of discrete actions, or components of a vector action.
        policy: says the hidden layers.
        seed: decides the draws.
        kind: of the market's actions.

    Raises:
        ConfigError: no state features, no action, or an empty hidden layer.
    """
    rng = np.random.default_rng(seed)
    if kind == "discrete":
        return _layers((state_size, *policy.hidden, action_size), rng)
    critic = _layers((state_size + action_size, *policy.hidden, 1), rng)
    head = _layers((state_size, *policy.hidden, action_size), rng, _HEAD_START)
    named = ((_CRITIC, critic), (_HEAD, head))
    return {prefix + name: value for prefix, part in named for name, value in part.items()}


def forward(weights: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    """One perceptron: float32 [n, inputs] -> float32 [n, outputs]; of discrete weights, Q(s, a) of every action."""
    last = _last(weights)
    for layer in range(last):
        x = jnp.maximum(x @ weights[f"w{layer}"] + weights[f"b{layer}"], 0)
    return x @ weights[f"w{last}"] + weights[f"b{last}"]


def action_value(weights: Mapping[str, jax.Array], x: jax.Array, action: jax.Array) -> jax.Array:
    """Q(s, a) of vector weights: states [n, d] and actions [n, m] in units of the box -> [n]."""
    return forward(_part(weights, _CRITIC), jnp.concatenate((x, action), axis=1))[:, 0]


def chosen(weights: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    """pi(s) of vector weights: states [n, d] -> actions [n, m] in units of the box."""
    return jnp.tanh(forward(_part(weights, _HEAD), x))


def is_vector(weights: Mapping[str, np.ndarray | jax.Array]) -> bool:
    """Whether these weights are of vector actions."""
    return _CRITIC + "w0" in weights


def state_size_of(weights: Mapping[str, np.ndarray | jax.Array]) -> int:
    """Number of state features d that these weights take."""
    return int(_acting(weights)["w0"].shape[0])


def action_size_of(weights: Mapping[str, np.ndarray | jax.Array]) -> int:
    """Number of discrete actions, or of components of a vector action, that these weights know."""
    acting = _acting(weights)
    return int(acting[f"b{_last(acting)}"].shape[0])


def _layers(sizes: tuple[int, ...], rng: np.random.Generator, last_scale: float = 1.0) -> Arrays:
    """A perceptron's weights; those of its last layer times `last_scale`."""
    if min(sizes) < 1:
        raise ConfigError(
            f"every layer of a network needs at least one unit, got {sizes} (features, `policy.hidden`, actions); "
            "nothing was started; set `action_names`, `n_actions` or `action_dim`, and layers of at least 1"
        )
    weights: Arrays = {}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        scale = np.sqrt(2.0 / n_in) * (last_scale if layer == len(sizes) - 2 else 1.0)
        draw: NDArray[np.float64] = rng.standard_normal((n_in, n_out)) * scale
        weights[f"w{layer}"] = draw.astype(np.float32)
        weights[f"b{layer}"] = np.zeros(n_out, np.float32)
    return weights


def _last(weights: Mapping[str, np.ndarray | jax.Array]) -> int:
    return len(weights) // 2 - 1


def _acting(weights: Mapping[str, _Array]) -> Mapping[str, _Array]:
    """The perceptron from states to actions."""
    return _part(weights, _HEAD) if is_vector(weights) else weights


def _part(weights: Mapping[str, _Array], prefix: str) -> dict[str, _Array]:
    return {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
