"""L_logic alone trains a policy: its gradient reaches the network, and every step satisfies the rules more."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from janus_memory.config import PolicySettings, RuleSettings
from janus_memory.logic import KnowledgeBase, Quantifiers, sat_agg
from janus_memory.logic.connectives import STABLE
from janus_memory.policy import training
from janus_memory.policy.grounding import VectorGround
from janus_memory.policy.losses import policy_satisfaction
from janus_memory.policy.networks import Weights, forward, init_weights
from janus_memory.policy.optimisers import init_optimiser
from janus_memory.store.arrays import Arrays

N = 96
POLICY = PolicySettings(hidden=(16,), learning_rate=3e-3, lambda_logic=1.0)
DISCRETE = (
    RuleSettings(name="flat in a fall", text="x < -0.3 ~ 0.1 implies action == 1"),
    RuleSettings(name="not against y", text="not (y > 0.5 ~ 0.2 and action == 0)", weight=2.0),
)
VECTOR = (
    RuleSettings(name="small where x is large", text="abs(x) > 0.5 ~ 0.2 implies abs(action[0]) < 0.2 ~ 0.1"),
    RuleSettings(name="with y", text="action[1] * y >= 0 ~ 0.2", weight=2.0),
)


def states(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((N, 2), np.float32)


def make_batch(x: NDArray[np.float32]) -> training.Batch:
    """Rewards pay for the unsafe action, which nothing but the rules speaks against."""
    rules = KnowledgeBase.parse(DISCRETE, ("x", "y"), n_actions=3)
    table, used, _ = rules.policy_truths(x)
    assert len(used) == 2
    action = np.zeros(N, np.int32)
    return training.Batch(
        x=jnp.asarray(x),
        action=jnp.asarray(action),
        reward=jnp.full(N, 10.0),
        next_x=jnp.asarray(x),
        next_action=jnp.full(N, -1, jnp.int32),
        done=jnp.zeros(N, jnp.uint8),
        policy_truth=jnp.asarray(table),
        rule_weight=jnp.asarray(rules.weights, jnp.float32),
    )


def _reckless() -> Arrays:
    """A network that likes the unsafe action in every state."""
    fast = init_weights(2, 3, POLICY, seed=1)
    fast["b1"] = np.array([3, 0, 0], np.float32)
    return fast


def test_only_the_rules_are_trained_and_satisfaction_rises_at_every_step() -> None:
    """TD errors of weight 0: from a policy that breaks the rules to one that obeys, without one step back."""
    batch = make_batch(states())
    step = jax.jit(functools.partial(training.train_step, policy=POLICY))
    fast = _reckless()
    trained = training.to_device(fast, fast, init_optimiser(fast, POLICY), POLICY)
    reached = []
    for _ in range(300):
        trained, loss, satisfied = step(trained, batch, jnp.zeros(N))
        assert float(loss) == pytest.approx(1 - float(satisfied), abs=1e-6)
        reached.append(float(satisfied))
    assert (np.diff(reached) > 0).all()
    assert reached[0] < 0.6
    assert reached[-1] > 0.9


def test_an_existential_rule_trains_the_policy_too() -> None:
    """`exists: action == 2`, grounded on the batch as a whole: content sooner than `forall: action == 2`, and rising."""
    table = np.zeros((N, 1, 3), np.float32)
    table[:, 0, 2] = 1
    step, fast = jax.jit(functools.partial(training.train_step, policy=POLICY)), _reckless()
    reached: dict[str, list[float]] = {"exists": [], "forall": []}
    for kind, how in (("exists", Quantifiers((0,), p_exists=8)), ("forall", Quantifiers(p_forall=8))):
        batch = make_batch(states())._replace(
            policy_truth=jnp.asarray(table), rule_weight=jnp.ones(1), quantifiers=how
        )
        trained = training.to_device(fast, fast, init_optimiser(fast, POLICY), POLICY)
        for _ in range(100):
            trained, _, satisfied = step(trained, batch, jnp.zeros(N))
            reached[kind].append(float(satisfied))
    assert (np.diff(reached["exists"]) > 0).all()
    assert reached["exists"][-1] > 0.9
    assert reached["exists"][0] > 2 * reached["forall"][0]


def test_without_rules_or_without_their_weight_nothing_is_trained() -> None:
    """The same steps with lambda 0 leave the network where it was: it was L_logic that moved it."""
    policy = PolicySettings(hidden=(16,), lambda_logic=0.0)
    fast = _reckless()
    trained = training.to_device(fast, fast, init_optimiser(fast, policy), policy)
    step = jax.jit(functools.partial(training.train_step, policy=policy))
    after, _, satisfied = step(trained, make_batch(states()), jnp.zeros(N))
    assert float(satisfied) < 0.6
    for name, before in fast.items():
        assert np.array_equal(np.asarray(after.fast[name]), before)


def _differences(loss: Callable[[Weights], jax.Array], weights: Weights) -> tuple[float, float]:
    """The slope along one random direction: by the gradient, and by central differences; both in float64."""
    rng = np.random.default_rng(5)
    direction = {name: jnp.asarray(rng.standard_normal(w.shape)) for name, w in weights.items()}
    gradient = jax.jit(jax.grad(loss))(weights)
    value = jax.jit(loss)
    along = sum(float(jnp.vdot(gradient[name], direction[name])) for name in weights)
    step = 1e-6

    def at(sign: float) -> float:
        return float(value({name: w + sign * step * direction[name] for name, w in weights.items()}))

    return along, (at(1) - at(-1)) / (2 * step)


def _in_float64(n_out: int) -> Weights:
    fast = init_weights(2, n_out, POLICY, seed=1)
    return {name: jnp.asarray(value, jnp.float64) for name, value in fast.items()}


def test_the_gradient_of_a_softmax_policy_equals_finite_differences() -> None:
    """L_logic of sum_a pi(a|s) truth(s, a), by the network's weights."""
    with jax.enable_x64(True):  # noqa: FBT003  (its only argument)
        batch = make_batch(states())
        loss = functools.partial(_softmax_loss, batch=batch)
        by_gradient, by_difference = _differences(loss, _in_float64(3))
    assert abs(by_gradient) > 1e-2
    assert by_gradient == pytest.approx(by_difference, rel=1e-6)


def _softmax_loss(weights: Weights, *, batch: training.Batch) -> jax.Array:
    q = forward(weights, batch.x)
    return 1 - policy_satisfaction(q, batch.policy_truth, batch.rule_weight, POLICY.temperature)


def _vector_loss(weights: Weights, *, x: NDArray[np.float32]) -> jax.Array:
    """L_logic of truth(s, pi(s)): the traced rules over a network of two action components in [-1, 1]."""
    rules = KnowledgeBase.parse(VECTOR, ("x", "y"))
    truth, _, left_out = rules.policy_truth_function()
    assert left_out == ()
    action = jnp.tanh(forward(weights, jnp.asarray(x)))
    satisfied: jax.Array = sat_agg(truth(x, action), rules.weights, rules.quantifiers, STABLE)
    return 1 - satisfied


def test_the_gradient_of_a_vector_policy_equals_finite_differences() -> None:
    """Through every connective of the rules, by the network's weights."""
    with jax.enable_x64(True):  # noqa: FBT003  (its only argument)
        loss = functools.partial(_vector_loss, x=states().astype(np.float64))
        by_gradient, by_difference = _differences(loss, _in_float64(2))
    assert abs(by_gradient) > 1e-2
    assert by_gradient == pytest.approx(by_difference, rel=1e-6)


def test_a_head_obeys_when_only_the_rules_are_trained() -> None:
    """TD errors and gains of weight 0: satisfaction at pi(s) rises at every step, and the critic keeps its bits."""
    rules, fast = (
        KnowledgeBase.parse(VECTOR, ("x", "y"), action_dim=2),
        init_weights(2, 2, POLICY, 1, "vector"),
    )
    x = jnp.asarray(states())
    batch = make_batch(states())._replace(
        action=jnp.zeros((N, 2)),
        next_action=jnp.full((N, 2), jnp.nan),
        policy_truth=jnp.zeros((N, 2, 0)),
        rule_weight=jnp.asarray(rules.weights, jnp.float32),
        ground=VectorGround(x, jnp.array([[-1.0, -1.0], [1.0, 1.0]]), rules),
    )
    # A head that breaks the first rule everywhere.
    fast["pi/b1"] = np.array([1.5, 0], np.float32)
    policy = PolicySettings(hidden=(16,), lambda_logic=1.0)
    step = jax.jit(functools.partial(training.train_step, policy=policy))
    trained = training.to_device(fast, fast, init_optimiser(fast, policy), policy)
    reached = []
    for _ in range(200):
        trained, loss, satisfied = step(trained, batch, jnp.zeros(N))
        assert float(loss) == pytest.approx(1 - float(satisfied), abs=1e-6)
        reached.append(float(satisfied))
    assert (np.diff(reached) > 0).all()
    assert reached[-1] > reached[0] + 0.2
    for name in fast:
        assert np.array_equal(np.asarray(trained.fast[name]), fast[name]) == name.startswith("q/")
