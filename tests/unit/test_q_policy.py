"""The built-in policy behind the protocol: one step against plain numpy, padding without a trace, files."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.config import PolicySettings
from janus_memory.errors import CheckpointError, ConfigError, ReplayError
from janus_memory.policy.packing import pack_policy, unpack_policy
from janus_memory.policy.protocol import Batch, Policy
from janus_memory.policy.q_policy import QPolicy
from janus_memory.store.arrays import read_arrays
from janus_memory.transition import MarketSpec
from tests.unit.replay_rows import plain_following, plain_forward

SPEC = MarketSpec("fx", ("a", "b", "c"), "discrete", 3)
SMALL = PolicySettings(hidden=(8,), gamma=0.9, learning_rate=1e-2, polyak=0.1)


def make_batch(n: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        state=rng.standard_normal((n, 3)).astype(np.float32),
        action=rng.integers(0, 3, n).astype(np.int32),
        reward=rng.standard_normal(n).astype(np.float32),
        next_state=rng.standard_normal((n, 3)).astype(np.float32),
        next_action=rng.integers(-1, 3, n).astype(np.int32),
        done=(rng.random(n) < 0.3).astype(np.uint8),
    )


def taken(batch: Batch, rows: slice) -> Batch:
    names = [f.name for f in dataclasses.fields(Batch)]
    return Batch(**{name: getattr(batch, name)[rows] for name in names})


def saved(policy: QPolicy, folder: Path) -> dict[str, NDArray[np.float64]]:
    """The file's arrays in float64."""
    policy.save(folder / "policy")
    return {name: value.astype(np.float64) for name, value in read_arrays(folder / "policy")[0].items()}


def network(arrays: dict[str, NDArray[np.float64]], prefix: str) -> dict[str, NDArray[np.float64]]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def plain_delta(
    arrays: dict[str, NDArray[np.float64]], batch: Batch, follow_by: str, gamma: float
) -> NDArray[np.float64]:
    """Delta by the definition in float64; what follows is valued by the `follow_by` network."""
    next_q = plain_forward(network(arrays, follow_by), batch.next_state)
    action, next_action = batch.action.astype(np.int32), batch.next_action.astype(np.int32)
    following = plain_following(next_q, next_action, batch.done)
    q = plain_forward(network(arrays, "fast/"), batch.state)[np.arange(len(batch)), action]
    return np.asarray(batch.reward + gamma * following - q)


def trained_policy() -> QPolicy:
    """A policy whose target network has fallen behind."""
    policy = QPolicy(SPEC, SMALL, seed=1)
    for seed in range(5):
        policy.update(make_batch(16, seed), np.ones(16, np.float32))
    return policy


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_td_errors_and_losses_follow_their_definitions(n: int, tmp_path: Path) -> None:
    """Both networks have their place: the online one bootstraps delta, the target the loss."""
    policy, batch = trained_policy(), make_batch(n, seed=9)
    arrays = saved(policy, tmp_path)
    np.testing.assert_allclose(
        policy.td_errors(batch), plain_delta(arrays, batch, "fast/", SMALL.gamma), rtol=1e-4, atol=1e-5
    )
    delta = plain_delta(arrays, batch, "target/", SMALL.gamma)
    huber = np.where(np.abs(delta) <= 1, delta**2 / 2, np.abs(delta) - 0.5)
    weights = np.linspace(0.2, 1.0, n).astype(np.float32)
    np.testing.assert_allclose(policy.update(batch, weights), huber, rtol=1e-4, atol=1e-5)


def test_nothing_of_no_rows() -> None:
    """No rows have no TD errors, and cannot be learned from."""
    policy = QPolicy(SPEC, SMALL, seed=1)
    assert policy.td_errors(make_batch(0)).shape == (0,)
    with pytest.raises(ConfigError, match="without rows"):
        policy.update(make_batch(0), np.zeros(0, np.float32))


@settings(max_examples=15)
@given(n=st.integers(1, 12), heavy=st.integers(1, 12))
def test_rows_of_weight_zero_and_padding_leave_the_same_gradient(n: int, heavy: int) -> None:
    """Rows teach the same alone and among others that weigh nothing, where their share of the mean is made up for."""
    batch = make_batch(n + heavy, seed=3)
    short, long = QPolicy(SPEC, SMALL, seed=1), QPolicy(SPEC, SMALL, seed=1)
    weights = np.zeros(n + heavy, np.float32)
    weights[:n] = (n + heavy) / n
    for policy in (
        short,
        long,
    ):  # Adam's first step does not feel the size of a gradient; its second one does
        policy.update(make_batch(8, seed=4), np.ones(8, np.float32))
    short.update(taken(batch, slice(n)), np.ones(n, np.float32))
    long.update(batch, weights)
    np.testing.assert_allclose(short.td_errors(batch), long.td_errors(batch), rtol=1e-3, atol=1e-5)


def test_the_first_step_is_adams(tmp_path: Path) -> None:
    """Adam's first step moves each weight by the rate against its gradient's sign; the target follows by Polyak."""
    policy, batch = QPolicy(SPEC, SMALL, seed=1), make_batch(6)
    before = saved(policy, tmp_path)
    policy.update(batch, np.ones(6, np.float32))
    after = saved(policy, tmp_path)
    moved = after["fast/b1"] - before["fast/b1"]
    # dL/db of the last layer: minus the clipped delta, summed over the rows that took the action, over n.
    delta = np.clip(plain_delta(before, batch, "target/", SMALL.gamma), -1, 1)
    gradient = -np.array([delta[batch.action == a].sum() for a in range(3)]) / 6
    np.testing.assert_allclose(moved, -SMALL.learning_rate * np.sign(gradient), rtol=1e-3)
    np.testing.assert_allclose(after["target/b1"], before["target/b1"] + SMALL.polyak * moved, rtol=1e-5)


def test_learning_lowers_the_loss_of_what_is_taught() -> None:
    """On one batch of episode ends the loss falls by nine tenths."""
    policy = QPolicy(SPEC, SMALL, seed=1)
    batch = dataclasses.replace(make_batch(32), done=np.ones(32, np.uint8))
    losses = [policy.update(batch, np.ones(32, np.float32)).mean() for _ in range(400)]
    assert losses[-1] < 0.1 * losses[0]


def test_the_distribution_is_a_softmax() -> None:
    """Of Q / temperature: colder is greedier, and each row sums to one."""
    states = make_batch(5).state
    warm = QPolicy(SPEC, SMALL, seed=1).action_distribution(states)
    cold = QPolicy(SPEC, PolicySettings(hidden=(8,), temperature=0.5), seed=1).action_distribution(states)
    np.testing.assert_allclose(warm.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(cold, warm**2 / (warm**2).sum(axis=1, keepdims=True), rtol=1e-4)


def test_few_sizes_are_compiled() -> None:
    """Batches of 1 to 40 rows have seven shapes, one for each power of two."""
    policy = QPolicy(SPEC, SMALL, seed=1)
    sizes = {policy._padded(make_batch(n)).x.shape for n in range(1, 41)}
    assert sizes == {(2**power, 3) for power in range(7)}


def test_saved_and_loaded_goes_on_bit_for_bit() -> None:
    """The optimiser's state and the target are part of the file."""
    policy, other = trained_policy(), QPolicy(SPEC, SMALL, seed=2)
    unpack_policy(other, pack_policy(policy))
    for seed in range(3):
        batch, weights = make_batch(7, seed), np.ones(7, np.float32)
        assert policy.update(batch, weights).tobytes() == other.update(batch, weights).tobytes()
    assert pack_policy(policy).tobytes() == pack_policy(other).tobytes()


def test_what_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    """Rows that make it diverge and another network's file are refused with the reason."""
    policy = trained_policy()
    before = pack_policy(policy).tobytes()
    extreme = dataclasses.replace(make_batch(4), reward=np.full(4, 3e38, np.float32))
    with pytest.raises(ReplayError, match="finite"):
        policy.update(extreme, np.full(4, 3e38, np.float32))
    QPolicy(SPEC, PolicySettings(hidden=(4,)), seed=0).save(tmp_path / "other")
    with pytest.raises(CheckpointError, match="arrays"):
        policy.load(tmp_path / "other")
    assert pack_policy(policy).tobytes() == before


class _Forgetful(QPolicy):
    def save(self, path: Path) -> None:
        """Writes elsewhere, as numpy does that adds a suffix."""
        super().save(path.with_suffix(".other"))


def test_a_policy_that_saves_elsewhere_is_told() -> None:
    """A snapshot without the policy's weights would not be one."""
    with pytest.raises(CheckpointError, match="exactly that file"):
        pack_policy(_Forgetful(SPEC, SMALL, seed=0))


def test_it_is_a_policy() -> None:
    """The type checker holds the protocol; at run time every method is there."""
    policy: Policy = QPolicy(SPEC, SMALL, seed=0)
    seeds = [pack_policy(QPolicy(SPEC, SMALL, seed)).tobytes() for seed in (0, 0, 1)]
    assert pack_policy(policy).tobytes() == seeds[0]
    assert [left == right for left, right in pairwise(seeds)] == [True, False]
