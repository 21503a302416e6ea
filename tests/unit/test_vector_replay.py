"""Vector actions in replay: values, losses and whole iterations against plain numpy, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from janus_memory.config import PolicySettings, ReplaySettings
from janus_memory.errors import ReplayError
from janus_memory.policy.networks import action_size_of, init_weights, is_vector, state_size_of
from janus_memory.policy.slow import slow_update
from janus_memory.replay.night import stepwise, swr
from janus_memory.replay.night.blocks import batch_of, block_of, blocks_of, td_errors
from janus_memory.replay.night.learner import LearnerState, begin_night, init_learner
from janus_memory.replay.night.problem import ReplayProblem
from janus_memory.store.arrays import array_digest
from tests.unit.replay_definition import f8, plain_night
from tests.unit.replay_rows import random_problem
from tests.unit.vector_rows import (
    BOX,
    plain_choice,
    plain_value,
    plain_vector_td,
    random_vector_problem,
)

_POLICY = PolicySettings(hidden=(4,), polyak=0.1, learning_rate=0.01)
_REPLAY = ReplaySettings(batch=8)
_LAZY = ReplaySettings(batch=8, refresh="lazy", refresh_every=3)


def _learner(policy: PolicySettings = _POLICY) -> LearnerState:
    """One whose target has fallen behind, and whose head has left the middle of the box."""
    fast, target = (init_weights(3, 2, policy, seed, "vector") for seed in (4, 5))
    for weights in (fast, target):
        head = f"pi/w{len(policy.hidden)}"
        weights[head] = (weights[head] * 100).astype(np.float32)
    return dataclasses.replace(
        begin_night(init_learner(3, 2, policy, 4, "vector"), 5), fast=fast, target=target
    )


def _stepped(state: LearnerState, problem: ReplayProblem, replay: ReplaySettings, total: int) -> Any:
    def refresh(fast: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        blocks = [block_of(problem, rows) for rows in blocks_of(len(problem), 16)]
        return np.concatenate([td_errors(fast, block, _POLICY.gamma) for block in blocks])

    return stepwise.learn(state, problem, replay, _POLICY, 0, total, total, refresh)


def test_the_weights_say_their_kind_and_sizes() -> None:
    """Two networks in one flat mapping; the head begins near the middle of the box."""
    weights = init_weights(3, 2, _POLICY, 0, "vector")
    assert is_vector(weights)
    assert (state_size_of(weights), action_size_of(weights)) == (3, 2)
    assert weights["q/w0"].shape == (5, 4)
    middle = plain_choice(f8(weights), np.random.default_rng(0).normal(size=(50, 3)))
    np.testing.assert_allclose(middle, np.tile(BOX.mean(axis=0), (50, 1)), atol=0.2)
    assert not is_vector(init_weights(3, 2, _POLICY, 0))


@pytest.mark.parametrize("n", [1, 2, 30])
def test_td_errors_equal_the_definition_in_any_block(n: int) -> None:
    """Q(s', a') where a' is known, Q(s', pi(s')) where it is not, 0 at an end; in the market's own units."""
    state, problem = _learner(), random_vector_problem(n, seed=n)
    expected = plain_vector_td(f8(state.fast), f8(state.fast), problem, _POLICY.gamma)
    for rows in (slice(0, n), slice(n // 2, n)):
        got = td_errors(state.fast, block_of(problem, rows), _POLICY.gamma)
        np.testing.assert_allclose(got, expected[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("strategy", "normalise"), [("prioritized_loss", "batch"), ("mixed", "buffer")])
@pytest.mark.parametrize("path", ["compiled", "stepwise", "lazy"])
def test_three_iterations_equal_the_definition(path: str, strategy: Any, normalise: Any) -> None:
    """Critic by the weighted Huber loss, head by w Q(s, pi(s)) and L_logic at pi(s): draws, records and weights."""
    base = _LAZY if path == "lazy" else _REPLAY
    replay = msgspec.structs.replace(base, strategy=strategy, normalise=normalise, parallel_min_rows=10)
    problem, total = random_vector_problem(40, seed=8), 3
    if path == "compiled":
        after, chunk = swr.learn(_learner(), problem, replay, _POLICY, 0, total, total)
        replay = msgspec.structs.replace(replay, parallel_min_rows=1000)
    else:
        after, chunk = _stepped(_learner(), problem, replay, total)
    plain = plain_night(_learner(), problem, replay, _POLICY, total)
    assert chunk.replay_count.tolist() == plain.count.tolist()
    found = (chunk.loss, chunk.mean_abs_td, chunk.satisfaction, chunk.effective_sample_size)
    np.testing.assert_allclose(found, plain.record, rtol=1e-4)
    fast, target = f8(after.fast), f8(after.target)
    for name in plain.fast:
        np.testing.assert_allclose(fast[name], plain.fast[name], rtol=1e-3, atol=5e-5)
        np.testing.assert_allclose(target[name], plain.target[name], rtol=1e-3, atol=2e-5)


def test_chunks_of_any_length_equal_the_whole_bit_for_bit() -> None:
    """A learner restored from its snapshot in mid-night goes on to the same bytes."""
    problem = random_vector_problem(40)
    whole, _ = swr.learn(_learner(), problem, _REPLAY, _POLICY, 0, 9, 9)
    half, _ = swr.learn(_learner(), problem, _REPLAY, _POLICY, 0, 4, 9)
    half = LearnerState.restore({name: value.copy() for name, value in half.snapshot().items()})
    again, _ = swr.learn(half, random_vector_problem(40), _REPLAY, _POLICY, 4, 9, 9)
    assert array_digest(again.snapshot()) == array_digest(whole.snapshot())


def test_rules_of_equal_texts_are_compiled_once() -> None:
    """Rows that came from another process carry rules that are equal and not the same: one compiled loop serves both."""
    first, second = (batch_of(random_vector_problem(4), slice(None)) for _ in range(2))
    assert first.ground is not None
    assert second.ground is not None
    assert first.ground.rules is not second.ground.rules
    assert (first.ground.rules, hash(first.ground.rules)) == (second.ground.rules, hash(second.ground.rules))
    before = swr._run._cache_size()  # type: ignore[attr-defined]  # jax's own count of what it has compiled
    for seed in (1, 2):
        swr.learn(_learner(), random_vector_problem(23, seed=seed), _REPLAY, _POLICY, 0, 1, 1)
    assert swr._run._cache_size() == before + 1  # type: ignore[attr-defined]  # as above


def test_the_slow_pass_is_gated_descent_on_critic_and_head() -> None:
    """One batch without hidden layers: dW = eta mean g (-dL/dW); the head climbs the target network's Q."""
    policy, n = PolicySettings(hidden=(), eta_sleep=0.1), 7
    problem, gate = random_vector_problem(n, rules=()), np.linspace(0, 1, n).astype(np.float32)
    slow, target = (init_weights(3, 2, policy, seed, "vector") for seed in (1, 2))
    got = f8(slow_update(slow, problem, gate, target, policy, n))
    own, far = f8(slow), f8(target)
    ahead = plain_vector_td(far, far, problem, policy.gamma) - plain_vector_td(far, far, problem, 0.0)
    delta = plain_vector_td(own, own, problem, 0.0) + ahead
    pull = (gate * np.clip(delta, -1, 1))[:, None]
    centre, half = BOX.mean(axis=0), (BOX[1] - BOX[0]) / 2
    inputs = np.c_[problem.x, (problem.action - centre) / half]
    np.testing.assert_allclose(got["q/w0"], own["q/w0"] + 0.1 * inputs.T @ pull / n, rtol=1e-4, atol=1e-6)
    step = 1e-6
    for at in np.ndindex(3, 2):
        sides = []
        for shift in (step, -step):
            moved = own["pi/w0"].copy()
            moved[at] += shift
            choice = plain_choice(own | {"pi/w0": moved}, problem.x)
            sides.append(float((gate * plain_value(far, problem.x, choice)).mean()))
        slope = (sides[0] - sides[1]) / (2 * step)
        assert got["pi/w0"][at] == pytest.approx(own["pi/w0"][at] + 0.1 * slope, rel=1e-4, abs=1e-6)
    assert not np.array_equal(got["pi/w0"], own["pi/w0"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("action", np.full((5, 2), np.nan, np.float32), r"`action` has 10 values that are not finite"),
        ("action", np.zeros((5, 3), np.float32), r"`action` has shape \(5, 3\), expected \(5, 2\)"),
        ("action", np.zeros(5, np.float32), r"`action` has shape \(5,\)"),
        ("next_action", np.array([[0, np.nan]] * 5, np.float32), r"`next_action` has 5 values that are not"),
        ("next_action", np.full((5, 2), np.inf, np.float32), r"`next_action` has 10 values"),
        ("policy_truth", np.zeros((5, 2, 3), np.float32), r"`policy_truth` has shape \(5, 2, 3\)"),
    ],
)
def test_rows_that_do_not_fit_are_refused(column: str, value: NDArray[Any], message: str) -> None:
    changed: dict[str, Any] = {column: value}
    with pytest.raises(ReplayError, match=message):
        swr.learn(
            _learner(), dataclasses.replace(random_vector_problem(5), **changed), _REPLAY, _POLICY, 0, 1, 1
        )


def test_a_learner_of_the_other_kind_is_refused() -> None:
    """Vector weights on rows of indices, and the other way round; before anything is computed."""
    discrete = begin_night(init_learner(3, 2, _POLICY, 4), 5)
    with pytest.raises(ReplayError, match="knows discrete actions and the rows have vector actions"):
        swr.learn(discrete, random_vector_problem(5), _REPLAY, _POLICY, 0, 1, 1)
    with pytest.raises(ReplayError, match="knows vector actions and the rows have discrete actions"):
        swr.learn(_learner(), random_problem(5, n_actions=2), _REPLAY, _POLICY, 0, 1, 1)
