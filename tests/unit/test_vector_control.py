"""Small control problems whose best action is known in closed form, solved by the head through replay alone."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from janus_memory.config import PolicySettings, ReplaySettings
from janus_memory.logic import KnowledgeBase
from janus_memory.policy.box import in_market_units
from janus_memory.policy.networks import chosen
from janus_memory.replay.night.learner import LearnerState, begin_night, init_learner
from janus_memory.replay.night.problem import ReplayProblem, VectorColumns
from janus_memory.replay.night.swr import learn

F4 = NDArray[np.float32]

_REPLAY = ReplaySettings(batch=64, strategy="uniform")


def _problem(state: F4, action: F4, reward: F4, next_state: F4, box: F4, *, ends: bool) -> ReplayProblem:
    """Rows without rules and without known next actions."""
    n = len(state)
    return ReplayProblem(
        x=state,
        action=action,
        reward=reward.astype(np.float32),
        next_x=next_state,
        next_action=np.full_like(action, np.nan),
        done=np.full(n, ends, np.uint8),
        violation=np.zeros(n, np.float32),
        policy_truth=np.zeros((n, 0, 0), np.float32),
        rule_weight=np.zeros(0, np.float32),
        timestamp=np.zeros(n, np.int64),
        domain=np.zeros(n, np.int32),
        vector=VectorColumns(box, state, KnowledgeBase.parse((), ("s",))),
    )


def _trained(problem: ReplayProblem, policy: PolicySettings, iterations: int) -> LearnerState:
    assert problem.vector is not None
    d, m = problem.x.shape[1], problem.vector.box.shape[1]
    begun = begin_night(init_learner(d, m, policy, 1, "vector"), 2)
    return learn(begun, problem, _REPLAY, policy, 0, iterations, iterations)[0]


def _chosen(learner: LearnerState, problem: ReplayProblem, state: F4) -> F4:
    assert problem.vector is not None
    weights = {name: jnp.asarray(value) for name, value in learner.fast.items()}
    return in_market_units(np.asarray(chosen(weights, jnp.asarray(state))), problem.vector.box)


def test_a_quadratic_reward_is_climbed_to_its_known_top() -> None:
    """R = -|a - a*(s)|^2 in a box that is neither centred nor square: a*(s) within a twentieth of its width."""
    rng, n = np.random.default_rng(0), 1000
    box = np.array([[0, -10], [4, -6]], np.float32)
    state = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    action = rng.uniform(box[0], box[1], (n, 2)).astype(np.float32)

    def best(state: F4) -> F4:
        return np.array([2, -8], np.float32) + np.float32(1.2) * np.stack((state[:, 0], -state[:, 1]), axis=1)

    reward = -((action - best(state)) ** 2).sum(axis=1)
    problem = _problem(state, action, reward, state, box, ends=True)
    policy = PolicySettings(hidden=(32, 32), learning_rate=3e-3, huber=100.0)
    fresh = rng.uniform(-1, 1, (500, 2)).astype(np.float32)
    errors = [
        float(np.abs(_chosen(_trained(problem, policy, steps), problem, fresh) - best(fresh)).mean())
        for steps in (0, 1200)
    ]
    assert errors[0] > 0.5
    assert errors[1] < 0.2


def test_a_linear_quadratic_regulator_is_found_from_others_actions() -> None:
    """S' = s + a, r = -(s^2 + a^2), random actions: bootstrapping from Q(s', pi(s')) finds Riccati's gain."""
    rng, n, gamma = np.random.default_rng(0), 1000, 0.8
    box = np.array([[-1], [1]], np.float32)
    state = rng.uniform(-1, 1, (n, 1)).astype(np.float32)
    action = rng.uniform(-1, 1, (n, 1)).astype(np.float32)
    following = state + action
    reward = -(state**2 + action**2)[:, 0]
    problem = _problem(state, action, reward, following, box, ends=False)
    policy = PolicySettings(hidden=(32, 32), learning_rate=3e-3, gamma=gamma, polyak=0.02, huber=10.0)
    value = 0.0
    for _ in range(100):  # V(s) = -value s^2, the discrete Riccati equation
        value = 1 + gamma * value - (gamma * value) ** 2 / (1 + gamma * value)
    gain = gamma * value / (1 + gamma * value)
    fresh = np.linspace(-1, 1, 101, dtype=np.float32)[:, None]
    error = np.abs(_chosen(_trained(problem, policy, 1500), problem, fresh) + np.float32(gain) * fresh)
    myopic = np.abs(gain * fresh).mean()  # r alone is best at a = 0
    assert myopic > 0.2
    assert error.mean() < 0.05
