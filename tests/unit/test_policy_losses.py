"""Losses of the policy against plain numpy, and the Q-network's shapes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_memory.config import PolicySettings
from janus_memory.errors import ConfigError
from janus_memory.logic import Quantifiers
from janus_memory.policy.losses import bootstrap, huber, policy_satisfaction, satisfaction
from janus_memory.policy.networks import action_size_of, forward, init_weights, state_size_of
from tests.unit.replay_rows import plain_forward


def test_bootstrap_table() -> None:
    """Done gives 0, a known action its value, an unknown one the best; done wins over both."""
    q = jnp.array([[1.0, 5.0], [1.0, 5.0], [1.0, 5.0], [-3.0, -7.0]])
    value = bootstrap(q, jnp.array([0, -1, 0, -1]), jnp.array([0, 0, 1, 0], jnp.uint8))
    assert np.asarray(value).tolist() == [1.0, 5.0, 0.0, -3.0]


def test_huber_table() -> None:
    """Square within the width, straight beyond: 0.5, 1 * (3 - 0.5), width 2: 2 * (3 - 1)."""
    assert np.asarray(huber(jnp.array([1.0, -3.0, 0.0]), 1.0)).tolist() == [0.5, 2.5, 0.0]
    assert float(huber(jnp.array(3.0), 2.0)) == 4.0


HOW = [
    Quantifiers(),
    Quantifiers((1,)),
    Quantifiers((0, 2), p_forall=3, p_exists=1, p_rules=1.5),
    Quantifiers((0, 1, 2), p_exists=50, p_rules=50),
    Quantifiers(p_forall=50, p_rules=4),
]


@given(st.sampled_from([1, 5]), st.sampled_from(HOW), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_satisfaction_joins_rows_by_each_rules_quantifier_and_then_rules(
    n: int, how: Quantifiers, seed: int
) -> None:
    """p-mean-error or p-mean over rows, then the weighted p-mean-error, each written out; the margin is 1e-4."""
    rng = np.random.default_rng(seed)
    truths, weight = rng.random((n, 3)), rng.uniform(0.1, 2, 3)
    every = 1 - ((1 - truths) ** how.p_forall).mean(axis=0) ** (1 / how.p_forall)
    some = (truths**how.p_exists).mean(axis=0) ** (1 / how.p_exists)
    closed = np.where([rule in how.existential for rule in range(3)], some, every)
    share = weight / weight.sum()
    expected = 1 - (share * (1 - closed) ** how.p_rules).sum() ** (1 / how.p_rules)
    got = satisfaction(jnp.asarray(truths, jnp.float32), jnp.asarray(weight, jnp.float32), how)
    assert float(got) == pytest.approx(expected, abs=4e-4)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradient_of_a_satisfied_or_broken_rule_is_finite(how: Quantifiers, value: float) -> None:
    """At truth 1 everywhere the root's slope would be infinite, at 0 that of `exists`; the stable variant's is finite."""
    slope = jax.grad(lambda t: satisfaction(t, jnp.ones(3), how))(jnp.full((4, 3), value))
    assert np.isfinite(np.asarray(slope)).all()
    assert (np.asarray(slope) >= 0).all()
    assert np.asarray(slope).max() > 0


def test_an_existential_rule_is_content_with_one_row() -> None:
    """The best row's slope is the steepest under `exists`, the worst row's under `forall`."""
    truths = jnp.array([[0.1], [0.5], [0.9]])
    some, every = (
        jax.grad(lambda t, how=how: satisfaction(t, jnp.ones(1), how))(truths)[:, 0]
        for how in (Quantifiers((0,)), Quantifiers())
    )
    assert some[0] < some[1] < some[2]
    assert every[0] > every[1] > every[2]


def test_policy_satisfaction_weighs_truths_with_the_softmax() -> None:
    """One row, one rule true only for action 1: its truth is that action's probability at the temperature."""
    q, table = jnp.array([[0.0, 2.0]]), jnp.array([[[0.0, 1.0]]])
    expected = 1 / (1 + np.exp(-2.0 / 0.5))
    assert float(policy_satisfaction(q, table, jnp.ones(1), 0.5)) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("hidden", [(), (7,), (8, 5)])
def test_forward_equals_plain_numpy(hidden: tuple[int, ...]) -> None:
    """The network is a ReLU perceptron, also without hidden layers; sizes are read off its weights."""
    weights = init_weights(4, 3, PolicySettings(hidden=hidden), seed=1)
    x = np.random.default_rng(2).normal(size=(6, 4)).astype(np.float32)
    got = forward({name: jnp.asarray(value) for name, value in weights.items()}, jnp.asarray(x))
    plain = {name: value.astype(np.float64) for name, value in weights.items()}
    np.testing.assert_allclose(got, plain_forward(plain, x), rtol=1e-4, atol=1e-5)
    assert (state_size_of(weights), action_size_of(weights)) == (4, 3)


def test_a_network_without_actions_or_with_an_empty_layer_is_refused() -> None:
    """The message names the sizes and the settings they come from."""
    with pytest.raises(ConfigError, match="n_actions"):
        init_weights(3, 0, PolicySettings(), seed=0)
    with pytest.raises(ConfigError, match=r"policy\.hidden"):
        init_weights(3, 2, PolicySettings(hidden=(0,)), seed=0, kind="vector")
