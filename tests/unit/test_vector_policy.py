"""The built-in policy of a market of vector actions, behind the protocol and in the online learner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_memory.config import OnlineSettings, PolicySettings
from janus_memory.errors import CheckpointError
from janus_memory.policy.packing import pack_policy, unpack_policy
from janus_memory.policy.protocol import Batch
from janus_memory.policy.q_policy import QPolicy
from janus_memory.replay.online.online_learner import OnlineLearner
from janus_memory.store.arrays import array_digest, read_arrays, subtree
from janus_memory.transition import MarketSpec, Transitions
from tests.unit.replay_definition import f8
from tests.unit.vector_rows import BOX, plain_choice, plain_vector_td, random_vector_problem

_LOW, _HIGH = (tuple(map(float, side)) for side in BOX)
SPEC = MarketSpec("fx", ("x", "y", "z"), "vector", 2, (), _LOW, _HIGH)
SMALL = PolicySettings(hidden=(8,), gamma=0.9, learning_rate=1e-2, polyak=0.1)


def make_batch(n: int, seed: int = 0) -> Batch:
    rows = random_vector_problem(n, seed=seed)
    return Batch(rows.x, rows.action, rows.reward, rows.next_x, rows.next_action, rows.done)


def trained_policy() -> QPolicy:
    """A policy whose target network has fallen behind."""
    policy = QPolicy(SPEC, SMALL, seed=1)
    for seed in range(5):
        policy.update(make_batch(16, seed), np.ones(16, np.float32))
    return policy


@pytest.mark.parametrize("n", [1, 5, 8])
def test_td_errors_losses_and_choices_follow_their_definitions(n: int, tmp_path: Path) -> None:
    """In the market's own units, whatever the batch is padded to."""
    policy, problem = trained_policy(), random_vector_problem(n, seed=9)
    policy.save(tmp_path / "policy")
    arrays = read_arrays(tmp_path / "policy")[0]
    fast, target = (f8(subtree(arrays, prefix)) for prefix in ("fast/", "target/"))
    expected = plain_vector_td(fast, fast, problem, SMALL.gamma)
    np.testing.assert_allclose(policy.td_errors(make_batch(n, 9)), expected, rtol=1e-4, atol=1e-5)
    choice = policy.action_distribution(problem.x)
    np.testing.assert_allclose(choice, plain_choice(fast, problem.x), rtol=1e-4, atol=1e-5)
    assert choice.dtype == np.float32
    ahead = plain_vector_td(target, target, problem, SMALL.gamma) - plain_vector_td(
        target, target, problem, 0.0
    )
    delta = np.abs(plain_vector_td(fast, fast, problem, 0.0) + ahead)
    huber = np.where(delta <= 1, delta**2 / 2, delta - 0.5)
    np.testing.assert_allclose(
        policy.update(make_batch(n, 9), np.ones(n, np.float32)), huber, rtol=1e-4, atol=1e-5
    )


def test_rows_of_weight_zero_teach_neither_critic_nor_head() -> None:
    """Padding is such a row: six rows among ten of no weight leave the network of six rows alone."""
    short, long = QPolicy(SPEC, SMALL, seed=1), QPolicy(SPEC, SMALL, seed=1)
    both = Batch.concatenate([make_batch(6, 3), make_batch(10, 4)])
    weights = np.zeros(16, np.float32)
    weights[:6] = 16 / 6
    for _ in range(2):  # Adam's first step does not feel the size of a gradient; its second one does
        short.update(make_batch(6, 3), np.ones(6, np.float32))
        long.update(both, weights)
    x = make_batch(20, 5).state
    np.testing.assert_allclose(
        short.action_distribution(x), long.action_distribution(x), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(short.td_errors(both), long.td_errors(both), rtol=1e-3, atol=1e-5)


def test_saved_and_loaded_goes_on_bit_for_bit(tmp_path: Path) -> None:
    policy, other = trained_policy(), QPolicy(SPEC, SMALL, seed=2)
    unpack_policy(other, pack_policy(policy))
    batch, weights = make_batch(7, 1), np.ones(7, np.float32)
    assert policy.update(batch, weights).tobytes() == other.update(batch, weights).tobytes()
    assert pack_policy(policy).tobytes() == pack_policy(other).tobytes()
    discrete = QPolicy(MarketSpec("fx", ("x", "y", "z"), "discrete", 2), SMALL, seed=0)
    discrete.save(tmp_path / "discrete")
    with pytest.raises(CheckpointError, match="arrays"):
        policy.load(tmp_path / "discrete")


def test_the_online_learner_climbs_a_reward_of_vectors() -> None:
    """A reward that rises towards a corner of the box: the head goes there; a restored learner goes on bit for bit."""
    rng, n = np.random.default_rng(0), 640
    state = rng.uniform(-1, 1, (n, 3)).astype(np.float32)
    action = rng.uniform(BOX[0], BOX[1], (n, 2)).astype(np.float32)
    reward, best = action[:, 0] - action[:, 1], np.array([BOX[1, 0], BOX[0, 1]])
    rows = Transitions.of(
        SPEC, timestamp=np.arange(n), state=state, next_state=state, action=action, reward=reward, done=1
    )
    settings = OnlineSettings(policy=SMALL, replays=4)
    learner = OnlineLearner(SPEC, QPolicy(SPEC, settings.policy, 1), settings, seed=2)
    before = np.abs(learner.policy.action_distribution(state) - best).mean()
    learner.observe(rows.take(slice(0, 480)))
    other = OnlineLearner.restore(SPEC, QPolicy(SPEC, settings.policy, 9), settings, learner.snapshot())
    for one in (learner, other):
        one.observe(rows.take(slice(480, None)))
        one.flush()
    assert array_digest(learner.snapshot()) == array_digest(other.snapshot())
    assert np.abs(learner.policy.action_distribution(state) - best).mean() < 0.5 * before


def test_a_preset_builds_a_policy_of_vectors() -> None:
    learner = OnlineLearner.from_preset("fast", SPEC)
    assert learner.policy.action_distribution(np.zeros((3, 3), np.float32)).shape == (3, 2)
