"""The optimiser by name (optax), and its state as arrays that can be stored under the settings that made it.

A state's arrays are named after optax's own fields: Adam's are `count`, and `mu/...` and `nu/...` of the weights'
names. An optimiser without a memory, plain `sgd`, has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from janus_memory.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import PolicySettings
    from janus_memory.policy.networks import Weights
    from janus_memory.store.arrays import Arrays

__all__ = ["fits", "init_optimiser", "optimiser", "state_arrays", "state_from"]


def optimiser(policy: PolicySettings) -> optax.GradientTransformation:
    """The optimiser that the settings name, with their learning rate and optax's own defaults otherwise."""
    return getattr(optax, policy.optimiser)(policy.learning_rate)


def init_optimiser(fast: Mapping[str, NDArray[np.generic] | jax.Array], policy: PolicySettings) -> Arrays:
    """The optimiser's state before its first step, for weights `fast`."""
    return state_arrays(optimiser(policy).init({name: jnp.asarray(value) for name, value in fast.items()}))


def fits(opt: Arrays, fast: Arrays, policy: PolicySettings) -> bool:
    """Whether a stored state is one of this optimiser and these weights, by names and shapes.

    Adam's kin (adabelief, adam, adamw, nadam, radam) have equal ones, and so take each other's.
    """
    wanted = init_optimiser(fast, policy)
    return {n: v.shape for n, v in opt.items()} == {n: v.shape for n, v in wanted.items()}


def state_arrays(state: optax.OptState) -> Arrays:
    """A state as named arrays of this process."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def state_from(opt: Arrays, fast: Weights, policy: PolicySettings) -> optax.OptState:
    """The inverse of `state_arrays`.

    Raises:
        CheckpointError: the arrays are not a state of this optimiser.
    """
    like = jax.eval_shape(optimiser(policy).init, fast)
    paths, tree = jax.tree_util.tree_flatten_with_path(like)
    names = [_name(path) for path, _ in paths]
    if set(names) != set(opt):
        raise CheckpointError(
            f"the optimiser's state holds {sorted(opt) or 'nothing'}, {policy.optimiser} needs "
            f"{sorted(names) or 'nothing'}; nothing was changed; set policy.optimiser to what it was"
        )
    return jax.tree_util.tree_unflatten(tree, [jnp.asarray(opt[name]) for name in names])


def _name(path: tuple[object, ...]) -> str:
    """Fields and keys on the way to an array; places in optax's chains are left out."""
    keys = (getattr(key, "name", getattr(key, "key", None)) for key in path)
    return "/".join(str(key) for key in keys if key is not None)
