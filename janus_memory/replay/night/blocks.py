"""Rows on the device, and the TD errors of all rows in fixed blocks, whoever holds which block (E7).

Rows are cut by `replay.block_rows` alone, so a row's bits do not depend on how many workers there are. A block is
made once a night; most rows' next state is another row's state, and each distinct state is evaluated once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from janus_memory.policy.grounding import VectorGround
from janus_memory.policy.losses import ended, td_error
from janus_memory.policy.networks import Weights, action_value, chosen, forward, is_vector
from janus_memory.policy.training import Batch
from janus_memory.policy.values import known_or
from janus_memory.replay.night.problem import distinct_states

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.replay.night.problem import ReplayProblem
    from janus_memory.store.arrays import Arrays

__all__ = ["Block", "batch_of", "block_of", "block_td", "blocks_of", "td_errors"]

# The number of distinct states is filled up to a multiple of it, so that few shapes are ever compiled.
_STATES = 512


class Block(NamedTuple):
    """Rows on the device, as their TD errors need them.

    Attributes:
        states: the distinct states of n rows, float32 [U, d].
        here, there: where each row's state and next state lie in them, int32 [n].
        action, next_action: as `training.Batch` has them.
        reward: float32 [n].
        done: uint8 [n].
    """

    states: jax.Array
    here: jax.Array
    there: jax.Array
    action: jax.Array
    next_action: jax.Array
    reward: jax.Array
    done: jax.Array


def blocks_of(n: int, size: int) -> list[slice]:
    """The fixed blocks of n rows: every block holds `size` rows but the last."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def batch_of(problem: ReplayProblem, rows: slice | NDArray[np.int32]) -> Batch:
    """Some rows of a problem, as training takes them."""
    return Batch(
        x=jnp.asarray(problem.x[rows]),
        action=jnp.asarray(problem.network_action()[rows]),
        reward=jnp.asarray(problem.reward[rows]),
        next_x=jnp.asarray(problem.next_x[rows]),
        next_action=jnp.asarray(problem.network_next_action()[rows]),
        done=jnp.asarray(problem.done[rows]),
        policy_truth=jnp.asarray(problem.policy_truth[rows]),
        rule_weight=jnp.asarray(problem.rule_weight),
        quantifiers=problem.quantifiers,
        ground=_ground_of(problem, rows),
    )


def block_of(problem: ReplayProblem, rows: slice) -> Block:
    """Some rows of a problem that `check_problem` has passed."""
    states, here, there = distinct_states(problem.x[rows], problem.next_x[rows])
    filled = np.zeros((-(-len(states) // _STATES) * _STATES, states.shape[1]), np.float32)
    filled[: len(states)] = states
    columns = (problem.network_action(), problem.network_next_action(), problem.reward, problem.done)
    return Block(*(jnp.asarray(c) for c in (filled, here, there, *(column[rows] for column in columns))))


def block_td(fast: Weights, block: Block, gamma: float) -> jax.Array:
    """TD error delta of every row with the online network (E7); float32 [n]. Traceable."""
    if is_vector(fast):
        choice = chosen(fast, block.states)[block.there]
        next_q = action_value(fast, block.states[block.there], known_or(block.next_action, choice))
        q = action_value(fast, block.states[block.here], block.action)
        return td_error(q, block.reward, ended(next_q, block.done), gamma)
    return _discrete_td(forward(fast, block.states), block, gamma)


def _discrete_td(q: jax.Array, block: Block, gamma: float) -> jax.Array:
    """TD errors from Q of the distinct states, [U, A], by `losses.bootstrap`; float32 [n].

    Each row reads one number for either side from a flat table, of which every state's largest Q is a part: reading a
    row's A values from a matrix takes a fifth of an iteration in XLA on a processor.
    """
    n_states, n_actions = q.shape
    table = jnp.concatenate([q.reshape(-1), q.max(axis=1)])
    known, largest = block.there * n_actions + block.next_action, n_states * n_actions + block.there
    following = _read(table, jnp.where(block.next_action >= 0, known, largest))
    taken = _read(table, block.here * n_actions + block.action)
    return td_error(taken, block.reward, ended(following, block.done), gamma)


def _read(table: jax.Array, place: jax.Array) -> jax.Array:
    """Entries of a column; `check_problem` has seen that actions lie inside."""
    return table.at[place].get(mode="promise_in_bounds", wrap_negative_indices=False)


def td_errors(fast: Arrays, block: Block, gamma: float) -> NDArray[np.float32]:
    """TD errors of a block under the online weights `fast`; float32 [n]."""
    weights = {name: jnp.asarray(value) for name, value in fast.items()}
    return np.asarray(_compiled(weights, block, gamma))


def _ground_of(problem: ReplayProblem, rows: slice | NDArray[np.int32]) -> VectorGround | None:
    if problem.vector is None or not len(problem.rule_weight):
        return None
    of = problem.vector
    return VectorGround(jnp.asarray(of.state[rows]), jnp.asarray(of.box), of.rules)


_compiled = jax.jit(block_td, static_argnames=("gamma",))
