"""TD learning against the exact solution of a small Markov chain: the SARSA values are those of the linear solve.

Four states, two actions, a stochastic policy with known next actions, an end that is reached by chance. Every
probability is a multiple of a quarter, so sixteen rows a (state, action) pair say the whole law: the mean over the rows
is the expectation of the chain, and no sampling error stands between the learned values and

    Q(s, a) = sum_s' P(s' | s, a) (r(s, a, s') + gamma sum_a' pi(a' | s') Q(s', a')).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from janus_memory.config import PolicySettings, ReplaySettings
from janus_memory.policy.networks import forward
from janus_memory.policy.training import to_arrays, to_device, train_step
from janus_memory.replay.night.blocks import batch_of
from janus_memory.replay.night.learner import LearnerState, begin_night, init_learner
from janus_memory.replay.night.problem import ReplayProblem
from janus_memory.replay.night.swr import learn

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GAMMA = 0.9
_END = 4
_TOLERANCE = 1e-2
# In quarters: where each of the eight (state, action) pairs leads (the last column is the end), and the policy.
_NEXT = np.array(
    [
        [1, 2, 1, 0, 0],
        [0, 1, 3, 0, 0],
        [2, 0, 0, 2, 0],
        [0, 0, 1, 2, 1],
        [1, 1, 1, 0, 1],
        [0, 3, 0, 1, 0],
        [1, 0, 0, 1, 2],
        [0, 0, 2, 2, 0],
    ]
)
_POLICY = np.array([[1, 3], [2, 2], [3, 1], [2, 2]])
_STATES, _ACTIONS = _POLICY.shape
# A seldom large reward among small ones: what priorities are about.
_REWARD = np.random.default_rng(3).normal(size=(8, 5)) * np.where(_NEXT == 1, 3.0, 0.5)


def _exact() -> NDArray[np.float64]:
    """Q of every pair by the linear solve; float64 [8]."""
    probability = _NEXT[:, :_END] / 4
    lead = (probability[:, :, None] * (_POLICY / 4)[None]).reshape(8, 8)
    reward = (_NEXT / 4 * _REWARD).sum(axis=1)
    return np.linalg.solve(np.eye(8) - _GAMMA * lead, reward)


def _chain() -> ReplayProblem:
    """128 rows: each (s, a, s', a') as often as sixteen steps from (s, a) meet it."""
    rows = [
        (pair // _ACTIONS, pair % _ACTIONS, following, action, _REWARD[pair, following])
        for pair in range(8)
        for following in range(_END + 1)
        for action in range(_ACTIONS)
        for _ in range(_NEXT[pair, following] * (_POLICY[following, action] if following < _END else 2))
    ]
    state, action, following, next_action, reward = (np.array(column) for column in zip(*rows, strict=True))
    n = len(rows)
    eye = np.eye(_STATES, dtype=np.float32)
    return ReplayProblem(
        x=eye[state],
        action=action.astype(np.int32),
        reward=reward.astype(np.float32),
        next_x=eye[np.minimum(following, _END - 1)],
        next_action=next_action.astype(np.int32),
        done=(following == _END).astype(np.uint8),
        violation=np.zeros(n, np.float32),
        policy_truth=np.zeros((n, 0, _ACTIONS), np.float32),
        rule_weight=np.zeros(0, np.float32),
        timestamp=np.zeros(n, np.int64),
        domain=np.zeros(n, np.int32),
    )


def _policy(rate: float, hidden: tuple[int, ...] = ()) -> PolicySettings:
    # The Huber loss is squared as far as any error here: its linear part would find medians, not means.
    return PolicySettings(gamma=_GAMMA, hidden=hidden, learning_rate=rate, polyak=0.1, huber=1e3)


def _learner(policy: PolicySettings) -> LearnerState:
    return begin_night(init_learner(_STATES, _ACTIONS, policy, 4), 5)


def _error(learner: LearnerState) -> float:
    """Largest distance of a learned value from the exact one."""
    q = forward(to_device(learner.fast, learner.target, learner.opt, _policy(0.0)).fast, jnp.eye(_STATES))
    return float(np.abs(np.asarray(q).reshape(-1) - _exact()).max())


def _replayed(beta: float, batch: int, stages: tuple[tuple[float, int], ...]) -> LearnerState:
    """Exact prioritized replay, large steps first, then small ones, which leave little of the batches' chance."""
    replay = ReplaySettings(batch=batch, alpha=1.0, beta_start=beta, beta_end=beta, normalise="none")
    learner, problem = _learner(_policy(0.02)), _chain()
    for rate, steps in stages:
        learner, _ = learn(begin_night(learner, steps), problem, replay, _policy(rate), 0, steps, steps)
    return learner


def test_the_rows_say_the_law_of_the_chain() -> None:
    """By an independent road: the exact values satisfy the mean of the rows' Bellman equations."""
    chain, q = _chain(), _exact().reshape(_STATES, _ACTIONS)
    following = q[chain.next_x.argmax(axis=1), chain.next_action] * (chain.done == 0)
    delta = chain.reward + _GAMMA * following - q[chain.x.argmax(axis=1), chain.action]
    pair = chain.x.argmax(axis=1) * _ACTIONS + chain.action
    assert np.bincount(pair).tolist() == [16] * 8
    np.testing.assert_allclose(np.bincount(pair, delta) / 16, 0, atol=1e-6)


@pytest.mark.parametrize("hidden", [(), (16,)])
def test_training_steps_on_all_rows_reach_the_linear_solve(hidden: tuple[int, ...]) -> None:
    policy = _policy(0.01, hidden)
    learner, problem = _learner(policy), _chain()
    trained = to_device(learner.fast, learner.target, learner.opt, policy)
    rows, weight = batch_of(problem, slice(None)), jnp.ones(len(problem))
    step = jax.jit(lambda trained: train_step(trained, rows, weight, policy)[0])
    assert _error(learner) > 1
    for _ in range(2000):
        trained = step(trained)
    fast, target, opt = to_arrays(trained)
    assert _error(LearnerState(fast, target, opt, learner.key, 0)) < _TOLERANCE


def test_prioritized_replay_reaches_it_with_whole_importance_weights() -> None:
    """Beta 1 undoes what drawing by priority does to the mean (E9), however strongly rows are preferred."""
    assert _error(_replayed(1.0, 512, ((0.02, 1500), (0.001, 2500)))) < _TOLERANCE


def test_without_importance_weights_it_ends_elsewhere() -> None:
    """The same law unweighted: surprising rows count too often, and the values are not the chain's."""
    assert _error(_replayed(0.0, 128, ((0.02, 600), (0.002, 600)))) > 50 * _TOLERANCE
