"""The slow weights: one gated pass of plain gradient descent over newly consolidated rows (E19, E20).

For each batch of rows in total order: W <- W - eta_sleep * mean_i g_i * dL_i/dW, the gradient taken at the
slow weights. g_i = g_recall * g_logic where the row passed (E20), else 0; a row with gate 0 still counts in
the mean. L_i is Huber(delta_i), bootstrapped from the target weights that are given: the night's target
network. It has seen the whole replay, so a single slow pass follows what the night has learned; a bootstrap
from the slow weights themselves would move a value one row back a night. A vector market's slow head climbs the Q of
the same target network, for the same reason: L_i is Huber(delta_i) - Q_target(s_i, pi_slow(s_i)).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from janus_memory.errors import ReplayError
from janus_memory.policy.losses import huber, td_error
from janus_memory.policy.networks import Weights, chosen, is_vector
from janus_memory.policy.values import following, gain, taken
from janus_memory.replay.night.problem import ReplayProblem, check_fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.config import PolicySettings
    from janus_memory.store.arrays import Arrays

__all__ = ["slow_update"]


def slow_update(  # noqa: PLR0917  (one call site; what E19 takes, in its order)
    slow: Arrays,
    problem: ReplayProblem,
    gate: NDArray[np.float32],
    target: Arrays,
    policy: PolicySettings,
    batch: int,
) -> Arrays:
    """The slow weights after one pass over the rows of `problem`, in the order given.

    Args:
        slow: weights before the night (`policy.networks`).
        problem: the newly consolidated rows in total order; may be empty.
        gate: g_recall * g_logic * indicator, float32 [N] in [0, 1].
        target: weights that the loss bootstraps from.
        policy: gamma, Huber width and eta_sleep.
        batch: rows of one step; the last step takes the rest and is averaged over those alone.

    Raises:
        ReplayError: rows or gates that cannot be used, or weights that left the finite numbers.
    """
    if not len(problem):
        return dict(slow)
    check_fit(problem, slow)
    if gate.shape != (len(problem),) or not ((gate >= 0) & (gate <= 1)).all():
        raise ReplayError(
            f"gates of shape {gate.shape} for {len(problem)} rows must be one number in [0, 1] for each row; "
            "the slow weights are unchanged; look at the recall and logic gates of this night"
        )
    action, next_action = problem.network_action(), problem.network_next_action()
    columns = (problem.x, action, problem.reward, problem.next_x, next_action, problem.done)
    batches = tuple(_batched(column, batch) for column in (*columns, gate.astype(np.float32)))
    counts = np.minimum(len(problem) - np.arange(0, len(problem), batch), batch).astype(np.float32)
    after = _pass(_tree(slow), _tree(target), batches, counts, policy)
    result: Arrays = {name: np.asarray(value) for name, value in after.items()}
    if not all(np.isfinite(value).all() for value in result.values()):
        raise ReplayError(
            "the slow pass left the finite numbers; the slow weights are unchanged; lower policy.eta_sleep, or "
            "look for extreme rewards in the night's report"
        )
    return result


@functools.partial(jax.jit, static_argnames=("policy",))
def _pass(
    slow: Weights,
    target: Weights,
    batches: tuple[jax.Array, ...],
    counts: jax.Array,
    policy: PolicySettings,
) -> Weights:
    """Scan over batches [n_batches, B, ...] of which the first `counts` rows are real."""

    def step(weights: Weights, inputs: tuple[tuple[jax.Array, ...], jax.Array]) -> tuple[Weights, None]:
        (x, action, reward, next_x, next_action, done, gate), count = inputs
        follows = following(target, next_x, next_action, done)

        def loss(weights: Weights) -> jax.Array:
            delta = td_error(taken(weights, x, action), reward, follows, policy.gamma)
            each = huber(delta, policy.huber)
            if is_vector(weights):
                each -= gain(target, x, chosen(weights, x))
            return jnp.sum(gate * each) / count

        gradient = jax.grad(loss)(weights)
        return jax.tree.map(lambda w, g: w - policy.eta_sleep * g, weights, gradient), None

    after, _ = jax.lax.scan(step, slow, (batches, counts))
    return after


def _batched(column: NDArray[np.generic], batch: int) -> NDArray[np.generic]:
    """[N, ...] -> [ceil(N / batch), batch, ...], padded with zeros (whose gate is zero too)."""
    n_batches = -(-len(column) // batch)
    padded = np.zeros((n_batches * batch, *column.shape[1:]), column.dtype)
    padded[: len(column)] = column
    return padded.reshape(n_batches, batch, *column.shape[1:])


def _tree(arrays: Arrays) -> Weights:
    return {name: jnp.asarray(value) for name, value in arrays.items()}
