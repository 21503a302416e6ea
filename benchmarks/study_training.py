"""How the studies train and judge: the night's own replay in process, chunk by chunk, and intervals over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from janus_memory.policy.losses import policy_satisfaction
from janus_memory.policy.networks import forward
from janus_memory.replay.night.blocks import block_of, td_errors
from janus_memory.replay.night.learner import begin_night, init_learner
from janus_memory.replay.night.swr import learn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from janus_memory.config import PolicySettings, ReplaySettings
    from janus_memory.replay.night.problem import ReplayProblem
    from janus_memory.store.arrays import Arrays

__all__ = ["Band", "Learned", "band", "trained"]

_forward = jax.jit(forward)
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Learned:
    """The fast weights after some updates, and how they were reached."""

    updates: int
    fast: Arrays
    policy: PolicySettings

    def greedy(self, x: NDArray[np.float32]) -> NDArray[np.int32]:
        """The action of the largest Q; float32 [m, d] -> int32 [m]."""
        action: NDArray[np.int32] = self._q(x).argmax(axis=1).astype(np.int32)
        return action

    def satisfaction(self, problem: ReplayProblem) -> float:
        """SatAgg of the rules grounded on softmax(Q / temperature) at the rows' states (1 - L_logic)."""
        q, truth, weight = self._q(problem.x), problem.policy_truth, problem.rule_weight
        value = policy_satisfaction(
            jnp.asarray(q),
            jnp.asarray(truth),
            jnp.asarray(weight),
            self.policy.temperature,
            problem.quantifiers,
        )
        return float(value)

    def greedy_satisfaction(self, problem: ReplayProblem) -> float:
        """The same of the policy that always takes the action of the largest Q."""
        one_hot = np.eye(problem.policy_truth.shape[2], dtype=np.float32)[self.greedy(problem.x)]
        truth, weight = jnp.asarray(problem.policy_truth), jnp.asarray(problem.rule_weight)
        return float(policy_satisfaction(jnp.asarray(one_hot), truth, weight, 1e-3, problem.quantifiers))

    def td(self, problem: ReplayProblem) -> NDArray[np.float32]:
        """TD error of each row, the online network on both sides (E7), in the scaled reward's unit."""
        return td_errors(self.fast, block_of(problem, slice(None)), self.policy.gamma)

    def _q(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(_forward(self.fast, x))


@dataclass(frozen=True, slots=True)
class Band:
    """Mean over seeds and its 95 % t interval; float64 [...]. One seed has no interval: low = high = mean."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def band(samples: NDArray[np.float64]) -> Band:
    """Over the first axis, the seeds."""
    n, mean = len(samples), samples.mean(axis=0)
    if n < 2:
        return Band(mean, mean, mean)
    reach = stats.t.ppf(0.5 + _LEVEL / 2, n - 1) * samples.std(axis=0, ddof=1) / np.sqrt(n)
    return Band(mean, mean - reach, mean + reach)


def trained(
    problem: ReplayProblem, replay: ReplaySettings, policy: PolicySettings, seed: int, every: int
) -> Iterator[Learned]:
    """A night's replay of `replay.iterations` updates from new weights; what is known before it and each `every`."""
    total, n_actions = replay.iterations, problem.policy_truth.shape[2]
    learner = begin_night(init_learner(problem.x.shape[1], n_actions, policy, seed), seed)
    yield Learned(0, learner.fast, policy)
    for start in range(0, total, every):
        stop = min(start + every, total)
        learner, _ = learn(learner, problem, replay, policy, start, stop, total)
        yield Learned(stop, learner.fast, policy)
