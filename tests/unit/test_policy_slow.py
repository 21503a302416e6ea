"""The gated slow pass (E19, E20) against its definition in plain numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from janus_memory.config import PolicySettings
from janus_memory.errors import ReplayError
from janus_memory.policy.networks import init_weights
from janus_memory.policy.slow import slow_update
from janus_memory.replay.night.problem import ReplayProblem
from tests.unit.replay_rows import plain_td, random_problem

_POLICY = PolicySettings(hidden=(), eta_sleep=0.1)


def _plain_pass(
    slow: dict[str, NDArray[np.float64]],
    target: dict[str, NDArray[np.float64]],
    problem: ReplayProblem,
    gate: NDArray[np.float32],
    batch: int,
) -> dict[str, NDArray[np.float64]]:
    """Row by row, batch by batch, for a network without hidden layers: dL/dQ(s, a) = -clip(delta, -1, 1)."""
    weights = {name: value.copy() for name, value in slow.items()}
    for start in range(0, len(problem.x), batch):
        rows = range(start, min(start + batch, len(problem.x)))
        own = plain_td(weights, weights, problem, 0.0)  # r - Q(s, a) at the slow weights
        ahead = plain_td(target, target, problem, _POLICY.gamma) - plain_td(target, target, problem, 0.0)
        step = {name: np.zeros_like(value) for name, value in weights.items()}
        for i in rows:
            pull = gate[i] * -np.clip(own[i] + ahead[i], -_POLICY.huber, _POLICY.huber)
            step["w0"][:, problem.action[i]] += pull * problem.x[i]
            step["b0"][problem.action[i]] += pull
        for name in weights:
            weights[name] -= _POLICY.eta_sleep * step[name] / len(rows)
    return weights


@pytest.mark.parametrize(("n", "batch"), [(1, 4), (2, 2), (10, 4), (8, 4)])
def test_slow_pass_is_gated_descent_batch_by_batch(n: int, batch: int) -> None:
    """One pass in the given order, mean over each batch's own rows (the last one shorter), frozen bootstrap."""
    problem = random_problem(n, seed=n)
    slow, target = (init_weights(3, 3, _POLICY, seed) for seed in (1, 2))
    gate = np.random.default_rng(3).random(n).astype(np.float32)
    got = slow_update(slow, problem, gate, target, _POLICY, batch)
    f8 = [{name: value.astype(np.float64) for name, value in w.items()} for w in (slow, target)]
    expected = _plain_pass(f8[0], f8[1], problem, gate, batch)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name].astype(np.float64), value, rtol=1e-5, atol=1e-6)
        assert got[name].dtype == np.float32
        assert not np.array_equal(got[name], slow[name])


def test_closed_gates_and_empty_nights_change_nothing() -> None:
    """With every gate 0, or no rows at all, the slow weights keep their bits."""
    slow = init_weights(3, 3, PolicySettings(hidden=(5,)), seed=1)
    closed = slow_update(slow, random_problem(7), np.zeros(7, np.float32), slow, _POLICY, 4)
    empty = slow_update(slow, random_problem(0), np.zeros(0, np.float32), slow, _POLICY, 4)
    for name, value in slow.items():
        assert closed[name].tobytes() == empty[name].tobytes() == value.tobytes()


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_bad_gates_and_rows_are_refused() -> None:
    """NaN gates, gates above 1, one gate too few and NaN rows are refused; training that explodes too."""
    slow, problem = init_weights(3, 3, _POLICY, seed=1), random_problem(4)
    for gate in (np.full(4, np.nan), np.full(4, 1.5), np.ones(3)):
        with pytest.raises(ReplayError, match="slow weights are unchanged"):
            slow_update(slow, problem, gate.astype(np.float32), slow, _POLICY, 4)
    ones = np.ones(4, np.float32)
    bad = dataclasses.replace(problem, reward=np.array([0, 1, np.nan, 2], np.float32))
    with pytest.raises(ReplayError, match=r"`reward`.*row 2"):
        slow_update(slow, bad, ones, slow, _POLICY, 4)
    fierce = PolicySettings(hidden=(), eta_sleep=1e39)
    with pytest.raises(ReplayError, match="eta_sleep"):
        slow_update(slow, problem, ones, slow, fierce, 4)
