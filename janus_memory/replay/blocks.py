"""TD errors of all rows in fixed blocks: what a night asks of its workers, whoever holds which block (E7).

Rows are cut by `replay.block_rows` alone, so a row's bits do not depend on how many workers there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from janus_memory.policy.training import Batch, online_td

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.replay.problem import ReplayProblem
    from janus_memory.store.arrays import Arrays

__all__ = ["blocks_of", "td_errors"]


def blocks_of(n: int, size: int) -> list[slice]:
    """The fixed blocks of n rows: every block holds `size` rows but the last."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def td_errors(fast: Arrays, problem: ReplayProblem, gamma: float, rows: slice) -> NDArray[np.float32]:
    """TD errors delta of one block with the online network; float32, one per row of the block.

    Args:
        fast: the online network's weights.
        problem: rows that `check_problem` has passed.
        gamma: the discount.
        rows: the block.
    """
    block = Batch(
        x=jnp.asarray(problem.x[rows]),
        action=jnp.asarray(problem.action[rows]),
        reward=jnp.asarray(problem.reward[rows]),
        next_x=jnp.asarray(problem.next_x[rows]),
        next_action=jnp.asarray(problem.next_action[rows]),
        done=jnp.asarray(problem.done[rows]),
        # A TD error asks no rule.
        policy_truth=jnp.zeros((0, 0, 0)),
        rule_weight=jnp.zeros(0),
    )
    return np.asarray(_td({name: jnp.asarray(value) for name, value in fast.items()}, block, gamma))


_td = jax.jit(online_td, static_argnames=("gamma",))
