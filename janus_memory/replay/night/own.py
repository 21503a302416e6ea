"""A user's own policy in the steps of a night (SPEC sections 3 and 5): asked row by block, never compiled.

Its TD errors are computed in the night's own process, in the fixed blocks of `replay.block_rows`: it is one object of
the user's environment, and to send its bytes to replay actors before every batch would cost more than asking it.
The rules' loss L_logic cannot reach its weights; rules act through the priorities (E7), and what it has learned is
measured against them by its `action_distribution`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.logic import satisfaction
from janus_memory.policy.protocol import Batch
from janus_memory.replay.night.blocks import blocks_of
from janus_memory.replay.night.stepwise import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.policy.guarded import GuardedPolicy
    from janus_memory.replay.night.problem import ReplayProblem

    F4 = NDArray[np.float32]
    I4 = NDArray[np.int32]

__all__ = ["OwnLearner", "gated_pass"]


class OwnLearner:
    """A policy and the rows it learns from (`replay.night.stepwise.StepLearner`).

    Raises:
        PolicyError: from every method, where the policy raised or answered something else than was asked for.
    """

    def __init__(self, policy: GuardedPolicy, problem: ReplayProblem, block_rows: int) -> None:
        self._policy = policy
        self._problem = problem
        self._blocks = blocks_of(len(problem), block_rows)

    def td_errors(self) -> F4:
        """TD errors of all rows, block after block; float32 [N]."""
        return np.concatenate([self._policy.td_errors(_batch(self._problem, rows)) for rows in self._blocks])

    def update(self, rows: I4, weight: F4, *, ask_td: bool) -> Step:
        """One update of the policy; the loss is the mean of weight times its rows' losses."""
        satisfied = self._satisfaction(rows)
        loss = self._policy.update(_batch(self._problem, rows), weight.copy())
        td = self._policy.td_errors(_batch(self._problem, rows)) if ask_td else None
        return Step(float(np.mean(weight * loss, dtype=np.float64)), satisfied, td)

    def _satisfaction(self, rows: I4) -> float:
        """SatAgg of the rules under truth(s) = sum_a pi(a|s) truth(s, a), or truth(s, pi(s)); 1 without rules."""
        problem = self._problem
        if not len(problem.rule_weight):
            return 1.0
        choice = self._policy.action_distribution(problem.x[rows])
        if problem.vector is None:
            truths = np.einsum("nra,na->nr", problem.policy_truth[rows], choice, dtype=np.float64)
            np.clip(truths, 0, 1, out=truths)  # float32 probabilities add up to 1 but for rounding
        else:
            # Plain, as the table of discrete actions is: no gradient passes here.
            truth, _, _ = problem.vector.rules.policy_truth_function(eps=0.0)
            truths = truth(problem.vector.state[rows], choice)
        return satisfaction(truths, problem.rule_weight.astype(np.float64), problem.quantifiers)


def gated_pass(policy: GuardedPolicy, problem: ReplayProblem, gate: F4, batch: int) -> None:
    """One pass of the slow copy over the newly consolidated rows, in their order (E19).

    Args:
        policy: the slow copy; changed in place.
        problem: the rows; may be empty.
        gate: g_recall * g_logic * indicator, float32 [N] in [0, 1]; the weights of its updates.
        batch: rows of one update; the last takes the rest.
    """
    for rows in blocks_of(len(problem), batch):
        policy.update(_batch(problem, rows), gate[rows].copy())


def _batch(problem: ReplayProblem, rows: slice | I4) -> Batch:
    """Copies: what a policy does to them does not reach the night's rows."""
    return Batch(
        state=problem.x[rows].copy(),
        action=problem.action[rows].copy(),
        reward=problem.reward[rows].copy(),
        next_state=problem.next_x[rows].copy(),
        next_action=problem.next_action[rows].copy(),
        done=problem.done[rows].copy(),
    )
