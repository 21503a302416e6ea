"""Phase 1 against its definition: one loop in plain numpy, a chain with a known answer, and its contracts."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.config import PolicySettings, ReplaySettings
from janus_memory.errors import CheckpointError, InsufficientData, ReplayError
from janus_memory.replay.night.blocks import block_of, td_errors
from janus_memory.replay.night.learner import LearnerState, begin_night, init_learner
from janus_memory.replay.night.problem import ReplayProblem, distinct_states
from janus_memory.replay.night.swr import learn
from janus_memory.store.arrays import array_digest
from tests.unit.replay_definition import f8, plain_night
from tests.unit.replay_rows import plain_forward, plain_td, random_problem

_POLICY = PolicySettings(hidden=(6,), learning_rate=0.01)
_REPLAY = ReplaySettings(batch=8)


def _learner(policy: PolicySettings = _POLICY, seed: int = 4) -> LearnerState:
    return begin_night(init_learner(3, 3, policy, seed), seed + 1)


@pytest.mark.parametrize(
    ("strategy", "normalise"),
    [
        ("uniform", "none"),
        ("prioritized_loss", "batch"),
        ("prioritized_loss", "buffer"),
        ("prioritized_recency", "none"),
        ("mixed", "buffer"),
        ("domain_balanced", "batch"),
    ],
)
def test_three_iterations_equal_the_definition(strategy: Any, normalise: Any) -> None:
    """Priorities, draws, weights, loss, Adam and Polyak of plain float64 numpy give the same learner."""
    policy, problem, total = PolicySettings(hidden=(4,), polyak=0.1), random_problem(40, seed=8), 3
    replay = ReplaySettings(batch=8, strategy=strategy, normalise=normalise)
    after, chunk = learn(_learner(policy), problem, replay, policy, 0, total, total)
    plain = plain_night(_learner(policy), problem, replay, policy, total)
    assert chunk.replay_count.tolist() == plain.count.tolist()
    found = (chunk.loss, chunk.mean_abs_td, chunk.satisfaction, chunk.effective_sample_size)
    np.testing.assert_allclose(found, plain.record, rtol=1e-4)
    fast, target = f8(after.fast), f8(after.target)
    for name in plain.fast:
        np.testing.assert_allclose(fast[name], plain.fast[name], rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(target[name], plain.target[name], rtol=1e-4, atol=1e-5)


@given(st.sampled_from([1, 2, 30]), st.integers(0, 10_000))
@settings(deadline=None, max_examples=15)
def test_td_errors_equal_the_definition_in_any_block(n: int, seed: int) -> None:
    """E7's delta, whole or from the middle on."""
    state, problem = _learner(), random_problem(n, seed=seed)
    expected = plain_td(f8(state.fast), f8(state.fast), problem, _POLICY.gamma)
    for rows in (slice(0, n), slice(n // 2, n)):
        got = td_errors(state.fast, block_of(problem, rows), _POLICY.gamma)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected[rows], rtol=1e-4, atol=1e-5)


def test_replay_of_a_known_chain_finds_its_values() -> None:
    """Three states, two actions, next actions known: Q converges to the solution of Q = R + gamma P Q.

    Every (state, action) has one successor pair, so the values are a 6 x 6 linear system.
    """
    gamma, follow = 0.7, [3, 4, 0, 5, 2, 1]
    reward = np.array([1.0, -0.5, 0.3, 2.0, 0.0, -1.0])
    expected = np.linalg.solve(np.eye(6) - gamma * np.eye(6)[follow], reward)
    pair = np.arange(6)
    eye = np.eye(3, dtype=np.float32)
    chain = ReplayProblem(
        x=eye[pair // 2],
        action=(pair % 2).astype(np.int32),
        reward=reward.astype(np.float32),
        next_x=eye[np.array(follow) // 2],
        next_action=(np.array(follow) % 2).astype(np.int32),
        done=np.zeros(6, np.uint8),
        violation=np.zeros(6, np.float32),
        policy_truth=np.zeros((6, 0, 2), np.float32),
        rule_weight=np.zeros(0, np.float32),
        timestamp=np.zeros(6, np.int64),
        domain=np.zeros(6, np.int32),
    )
    policy = PolicySettings(hidden=(), gamma=gamma, learning_rate=0.01, polyak=0.1)
    state = begin_night(init_learner(3, 2, policy, 0), 1)
    state, chunk = learn(state, chain, ReplaySettings(batch=32), policy, 0, 3000, 3000)
    q = plain_forward(f8(state.fast), eye)
    np.testing.assert_allclose(q.reshape(-1), expected, atol=0.02)
    assert chunk.mean_abs_td[-1] < 0.02 < chunk.mean_abs_td[0]
    assert (chunk.satisfaction == 1).all()


def test_logic_alone_teaches_the_policy_to_obey() -> None:
    """With no rewards and a heavy logic term the policy learns the action that the rule allows."""
    rows = random_problem(50, n_rules=1)
    truth = np.zeros((50, 1, 3), np.float32)
    truth[np.arange(50), 0, (rows.x[:, 0] > 0).astype(int)] = 1
    rows = dataclasses.replace(rows, policy_truth=truth, reward=np.zeros(50, np.float32))
    policy = PolicySettings(hidden=(16,), learning_rate=0.02, lambda_logic=50.0, gamma=0.0)
    _, chunk = learn(_learner(policy), rows, _REPLAY, policy, 0, 200, 200)
    assert chunk.satisfaction[0] < 0.5
    assert chunk.satisfaction[-10:].mean() > 0.85


def test_chunks_of_any_length_equal_the_whole() -> None:
    """Ten chunks of 30, uneven chunks and one of 300 end in the same bytes and report the same iterations."""
    problem, whole = random_problem(30), _learner()
    whole, reference = learn(whole, problem, _REPLAY, _POLICY, 0, 300, 300)
    for cuts in (range(0, 301, 30), (0, 1, 128, 129, 257, 257, 300)):
        state, counts, losses = _learner(), np.zeros(30, np.int32), []
        for start, stop in zip(list(cuts)[:-1], list(cuts)[1:], strict=True):
            state, chunk = learn(state, problem, _REPLAY, _POLICY, start, stop, 300)
            counts += chunk.replay_count
            losses.append(chunk.loss)
        assert array_digest(state.snapshot()) == array_digest(whole.snapshot())
        assert counts.tolist() == reference.replay_count.tolist()
        assert np.concatenate(losses).tobytes() == reference.loss.tobytes()
    assert reference.replay_count.sum() == 300 * _REPLAY.batch


def test_a_restored_learner_goes_on_as_if_never_stopped() -> None:
    """A snapshot taken in mid-night, restored, ends in the bytes of the night that was not interrupted."""
    problem = random_problem(20)
    half, _ = learn(_learner(), problem, _REPLAY, _POLICY, 0, 7, 20)
    again = LearnerState.restore({name: value.copy() for name, value in half.snapshot().items()})
    assert array_digest(again.snapshot()) == array_digest(half.snapshot())
    ends = [learn(state, problem, _REPLAY, _POLICY, 7, 20, 20)[0] for state in (half, again)]
    assert array_digest(ends[0].snapshot()) == array_digest(ends[1].snapshot())
    with pytest.raises(CheckpointError, match="lacks key, target"):
        LearnerState.restore({"step": np.array(1), "fast/w0": np.zeros(1)})


def test_a_night_begins_with_a_new_key_and_the_old_weights() -> None:
    """Weights, target and optimiser carry over; key and step do not; other seeds draw other batches."""
    problem = random_problem(20)
    before, _ = learn(_learner(), problem, _REPLAY, _POLICY, 0, 5, 5)
    night = begin_night(before, 99)
    assert night.step == 0
    assert night.key.tolist() == [0, 99]
    assert begin_night(before, (7 << 32) | 5).key.tolist() == [7, 5]
    for part in ("fast", "target", "opt"):
        assert getattr(night, part) is getattr(before, part)
    counts = [
        learn(begin_night(before, s), problem, _REPLAY, _POLICY, 0, 5, 5)[1].replay_count for s in (1, 2)
    ]
    assert counts[0].tolist() != counts[1].tolist()


def test_learning_leaves_its_arguments_alone() -> None:
    """The learner that was passed in keeps its bytes (the caller may retry from it)."""
    state = _learner()
    before = array_digest(state.snapshot())
    after, _ = learn(state, random_problem(20), _REPLAY, _POLICY, 0, 3, 3)
    assert array_digest(state.snapshot()) == before != array_digest(after.snapshot())


@pytest.mark.parametrize("n", [1, 2])
def test_the_smallest_nights(n: int) -> None:
    """One row is drawn every time; two rows share the draws."""
    _, chunk = learn(_learner(), random_problem(n), _REPLAY, _POLICY, 0, 4, 4)
    assert chunk.replay_count.sum() == 32
    assert chunk.replay_count.shape == (n,)
    assert np.isfinite(chunk.loss).all()


def test_all_zero_priorities_are_drawn_uniformly() -> None:
    """Without a floor, with nothing to learn, every row has the same chance and weight."""
    rows = random_problem(16, n_rules=0)
    zero = np.zeros(16, np.float32)
    rows = dataclasses.replace(rows, reward=zero, violation=zero)
    state = _learner()
    state = dataclasses.replace(state, fast={k: np.zeros_like(v) for k, v in state.fast.items()})
    state = dataclasses.replace(state, target=state.fast)
    replay = ReplaySettings(batch=64, priority_floor=0.0)
    _, chunk = learn(state, rows, replay, _POLICY, 0, 50, 50)
    assert (chunk.effective_sample_size == 16).all()
    assert (chunk.loss == 0).all()
    # 3200 draws over 16 rows: 200 each, deviation 14; five of them on either side.
    assert (np.abs(chunk.replay_count - 200) < 70).all()


def test_surprising_rows_are_replayed_more() -> None:
    """A row with a far larger reward is drawn far above its uniform share."""
    rows = random_problem(50)
    reward = rows.reward.copy()
    reward[17] = 100.0
    _, chunk = learn(_learner(), dataclasses.replace(rows, reward=reward), _REPLAY, _POLICY, 0, 40, 40)
    assert chunk.replay_count.argmax() == 17
    assert chunk.replay_count[17] > 3 * 320 / 50


@pytest.mark.parametrize("column", ["x", "next_x", "reward", "violation", "policy_truth", "rule_weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(column: str, value: float) -> None:
    """Nothing is computed; the message names the column and the row."""
    rows = random_problem(5)
    bad = getattr(rows, column).copy()
    bad[1] = value
    with pytest.raises(ReplayError, match=f"`{column}`.*not finite.*row 1"):
        learn(_learner(), dataclasses.replace(rows, **{column: bad}), _REPLAY, _POLICY, 0, 1, 1)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("action", np.full(5, 3, np.int32), "leaves"),
        ("action", np.full(5, -1, np.int32), "leaves"),
        ("next_action", np.full(5, -2, np.int32), "leaves"),
        ("violation", np.full(5, 1.5, np.float32), "leaves"),
        ("x", np.zeros((5, 4), np.float32), "shape"),
        ("done", np.zeros(4, np.uint8), "shape"),
        ("policy_truth", np.zeros((5, 2, 2), np.float32), "shape"),
        ("rule_weight", np.zeros(2, np.float32), "all zero"),
    ],
)
def test_rows_that_do_not_fit_are_refused(column: str, value: NDArray[Any], message: str) -> None:
    """Actions, shapes and weights outside of what the market has are refused before anything is computed."""
    changed: dict[str, Any] = {column: value}
    with pytest.raises(ReplayError, match=message):
        learn(_learner(), dataclasses.replace(random_problem(5), **changed), _REPLAY, _POLICY, 0, 1, 1)


def test_no_rows_and_foreign_chunks_are_refused() -> None:
    """Each with the error of its kind; a chunk must begin where the learner stands."""
    rows = random_problem(5)
    with pytest.raises(InsufficientData, match="no rows"):
        learn(_learner(), random_problem(0), _REPLAY, _POLICY, 0, 1, 1)
    for start, stop, total in ((1, 2, 3), (0, 4, 3), (0, -1, 3)):
        with pytest.raises(ReplayError, match="resume from the checkpoint"):
            learn(_learner(), rows, _REPLAY, _POLICY, start, stop, total)


def test_training_that_diverges_is_refused_with_what_to_do() -> None:
    """A learning rate beyond reason ends in an error that names the iteration, not in NaN weights."""
    policy = PolicySettings(hidden=(6,), learning_rate=1e30)
    with pytest.raises(ReplayError, match=r"finite numbers at replay iteration \d+.*learning_rate"):
        learn(_learner(policy), random_problem(10), _REPLAY, policy, 0, 20, 20)


def test_distinct_states_point_back_to_every_row() -> None:
    """Shared states are kept once; indexing gives x and next_x back bit for bit."""
    rows = random_problem(50)
    states, here, there = distinct_states(rows.x, rows.next_x)
    assert states[here].tobytes() == rows.x.tobytes()
    assert states[there].tobytes() == rows.next_x.tobytes()
    unique = {row.tobytes() for row in np.concatenate((rows.x, rows.next_x))}
    assert len(states) == len(unique) < 100
