"""Fit a learned predicate to labelled rows: logistic regression with hidden layers, by Adam on all rows at once."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from janus_memory.errors import RuleError
from janus_memory.logic.learned import MAX_UNITS, Learned
from janus_memory.logic.refusals import known_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["fit_predicate"]

_Layers = list[tuple[jax.Array, jax.Array]]


def fit_predicate(
    features: Sequence[str],
    x: NDArray[np.floating],
    labels: NDArray[np.generic],
    *,
    hidden: Sequence[int] = (16,),
    steps: int = 500,
    learning_rate: float = 0.01,
    l2: float = 1e-3,
    seed: int,
) -> Learned:
    """A predicate that is true where the label is; equal for equal arguments on one machine.

    Args:
        features: names of the columns.
        x: [n, d], the user's own units.
        labels: [n], 0 or 1 (or truths between).
        hidden: units of the hidden layers; empty is logistic regression.
        steps: of Adam.
        learning_rate: of Adam.
        l2: weight of the squared weights in the loss, in standardised units.
        seed: decides the first weights.

    Raises:
        RuleError: rows, labels or settings that cannot be used; nothing was fitted.
    """
    rows, y = np.asarray(x, np.float64), np.asarray(labels, np.float64)
    _check(features, rows, y, steps)
    mean, sd = rows.mean(axis=0), rows.std(axis=0)
    flat = [name for name, spread in zip(features, sd, strict=True) if not spread > 0]
    if flat:
        raise RuleError(f"feature {flat[0]!r} has one value in all rows; nothing was fitted; leave it out")
    rng, sizes = np.random.default_rng(seed), [len(features), *hidden, 1]
    first: _Layers = [
        (
            jnp.asarray(rng.normal(0, np.sqrt(2 / n_in), (n_in, n_out)), jnp.float32),
            jnp.zeros(n_out, jnp.float32),
        )
        for n_in, n_out in pairwise(sizes)
    ]
    given = jnp.asarray((rows - mean) / sd, jnp.float32), jnp.asarray(y, jnp.float32)
    fitted = [
        (np.asarray(w, np.float64), np.asarray(b, np.float64))
        for w, b in _descend(first, given, steps, learning_rate, l2)
    ]
    (w, b), *rest = fitted
    # The first layer takes the features as they are.
    own = [(w / sd[:, None], b - (mean / sd) @ w), *rest]
    return Learned.of(features, own)[0]


@functools.partial(jax.jit, static_argnames=("steps", "learning_rate", "l2"))
def _descend(
    layers: _Layers, rows: tuple[jax.Array, jax.Array], steps: int, learning_rate: float, l2: float
) -> _Layers:
    optimiser = optax.adam(learning_rate)

    def step(_: int, carry: tuple[_Layers, optax.OptState]) -> tuple[_Layers, optax.OptState]:
        now, state = carry
        change, state = optimiser.update(jax.grad(_loss)(now, *rows, l2), state)
        return optax.apply_updates(now, change), state

    fitted: _Layers = jax.lax.fori_loop(0, steps, step, (layers, optimiser.init(layers)))[0]
    return fitted


def _loss(layers: _Layers, x: jax.Array, y: jax.Array, l2: float) -> jax.Array:
    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = layers[-1]
    losses = optax.sigmoid_binary_cross_entropy((x @ w + b)[:, 0], y)
    return jnp.mean(losses) + l2 * sum(jnp.sum(w * w) for w, _ in layers)


def _check(features: Sequence[str], x: NDArray[np.float64], y: NDArray[np.float64], steps: int) -> None:
    if x.shape != (len(y), len(features)) or y.ndim != 1 or steps < 1:
        raise RuleError(
            f"rows {x.shape} and labels {y.shape} for {len(features)} features, {steps} steps; nothing was fitted; "
            "give one column for each feature, one label for each row, and one step or more"
        )
    if len(features) > MAX_UNITS or len(set(features)) < len(features):
        raise RuleError(
            f"features {known_names(features)}: a predicate reads at most {MAX_UNITS}, each named once; "
            "nothing was fitted; leave some out"
        )
    if not (np.isfinite(x).all() and ((y >= 0) & (y <= 1)).all()):
        raise RuleError("a row is not finite or a label not in [0, 1]; nothing was fitted; repair the rows")
    if not (y > 0.5).any() or not (y < 0.5).any():
        raise RuleError("all labels are alike; nothing was fitted; give rows of both kinds")
