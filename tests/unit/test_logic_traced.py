"""Rules under JAX: the same truths as in numpy, their gradients, and what a value that is not finite becomes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from janus_memory.config import RuleSettings
from janus_memory.errors import RuleError
from janus_memory.logic import KnowledgeBase, connectives
from janus_memory.logic.connectives import STABLE, conjunction, disjunction, exists, forall, implication

FEATURES = ("x", "y")
TEXTS = (
    "x < 0 ~ 0.5 implies action[0] < 0.2 ~ 0.3",
    "abs(action[0]) + abs(action[1]) * 2 < 1 ~ 0.25",
    "not (action[1] > x ~ 1 and y > 0 ~ 0.5) or action[0] * y == 0.1 ~ 0.4",
    "action[0] != 0.3 ~ 0.5 implies x - action[1] >= 0 ~ 2",
    "x > 0 implies action[0] < y ~ 1",
    "1 < 2",
)
Numbers = NDArray[np.float32]


def base(*texts: str, n_actions: int = 0) -> KnowledgeBase:
    rules = [RuleSettings(name=f"r{number}", text=text) for number, text in enumerate(texts)]
    return KnowledgeBase.parse(rules, FEATURES, n_actions=n_actions)


def make_rows(n: int, seed: int = 0) -> tuple[Numbers, Numbers]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2), np.float32), rng.standard_normal((n, 2), np.float32)


@pytest.mark.parametrize("eps", [0.0, STABLE, 0.1])
@pytest.mark.parametrize("n", [0, 1, 57])
def test_traced_truths_are_those_of_numpy(n: int, eps: float) -> None:
    """Compiled in float32 they differ by rounding only; in numpy they are float64."""
    truth, used, left_out = base(*TEXTS).policy_truth_function(eps)
    assert (used, left_out) == (("r0", "r1", "r2", "r3", "r4", "r5"), ())
    state, action = make_rows(n)
    exact, traced = truth(state, action), jax.jit(truth)(state, action)
    assert exact.shape == traced.shape == (n, 6)
    assert (exact.dtype, traced.dtype) == (np.float64, np.float32)
    assert np.abs(exact - np.asarray(traced)).max(initial=0) < 3e-6


def test_a_state_of_numpy_meets_a_traced_action() -> None:
    """One JAX array is enough to make the whole evaluation JAX's."""
    truth, _, _ = base(*TEXTS).policy_truth_function()
    state, action = make_rows(9)
    mixed = jax.jit(lambda a: truth(state, a))(action)
    assert mixed.tobytes() == jax.jit(truth)(state, action).tobytes()


def test_gradients_by_the_action_equal_finite_differences() -> None:
    """Of every rule, the differences taken in numpy's float64; not all of them are zero."""
    truth, used, _ = base(*TEXTS).policy_truth_function()
    state, action = make_rows(12, seed=3)
    slopes = jax.jacrev(lambda a: truth(jnp.asarray(state), a).sum(axis=0))(action)
    step = 1e-6
    for component in range(2):
        nudge = np.zeros(2)
        nudge[component] = step
        exact = action.astype(np.float64)
        expected = (truth(state, exact + nudge) - truth(state, exact - nudge)) / (2 * step)
        assert np.abs(np.asarray(slopes)[:, :, component].T - expected).max() < 1e-4
    assert (np.abs(slopes).max(axis=(1, 2)) > 0.1).tolist() == [True] * (len(used) - 1) + [False]


def test_rules_on_the_outcome_are_left_out_and_named() -> None:
    """A policy does not know the reward or the next state."""
    rules = base("reward > 0", "action[0] > 0", "next.x < 0", "exists: action[0] > 0")
    truth, used, left_out = rules.policy_truth_function()
    assert (used, left_out) == (("r1", "r3"), ("r0", "r2"))
    assert truth(*make_rows(4)).shape == (4, 2)
    nothing, _, _ = base("reward > 0").policy_truth_function()
    assert nothing(*make_rows(4)).shape == jax.jit(nothing)(*make_rows(4)).shape == (4, 0)


def test_discrete_markets_have_a_table_instead() -> None:
    """And are told so."""
    with pytest.raises(RuleError, match="policy_truths"):
        base("action == 1", n_actions=3).policy_truth_function()


def test_a_component_that_does_not_exist_is_refused_while_tracing() -> None:
    """By the rule's name, before anything is compiled."""
    truth, _, _ = base("x < 1", "action[2] > 0").policy_truth_function()
    with pytest.raises(RuleError, match=r"'r1'.*action\[2\]"):
        jax.jit(truth)(*make_rows(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "text", ["action[0] < 1", "action[0] == 1 ~ 2", "not x > 0 or abs(action[0]) > y ~ 1"]
)
def test_a_traced_truth_of_what_is_not_finite_is_nan(text: str, bad: float) -> None:
    """Never 0 or 1: it cannot be refused, so it stays visible. In numpy it is refused. Other rows keep theirs."""
    truth, _, _ = base(text).policy_truth_function()
    state, action = make_rows(3)
    kept = np.asarray(jax.jit(truth)(state, action))[[0, 2], 0]
    action[1, 0] = bad
    traced = np.asarray(jax.jit(truth)(state, action))[:, 0]
    assert np.isnan(traced[1])
    assert (traced[[0, 2]] == kept).all()
    assert np.isnan(forall(jnp.asarray(traced)))
    with pytest.raises(RuleError, match=r"'r0'.*NaN or infinity"):
        truth(state, action)


@pytest.mark.parametrize("operator", ["<", ">=", "==", "!="])
@pytest.mark.parametrize("far", [0.0, 1e3, 3e38])
def test_truths_and_slopes_far_from_a_limit_are_finite(operator: str, far: float) -> None:
    """However small the softness: 0 or 1, and no slope that is NaN."""
    truth, _, _ = base(f"action[0] {operator} 0 ~ 1e-300").policy_truth_function()
    action = np.full((1, 2), far, np.float32)
    state = np.zeros((1, 2), np.float32)
    value, slope = jax.value_and_grad(lambda a: truth(state, a).sum())(action)
    assert float(value) == truth(state, action)[0, 0]
    assert np.isfinite(slope).all()


def test_the_stable_variant_has_a_slope_where_the_plain_one_has_none() -> None:
    """Two false parts of a conjunction: neither alone can improve the plain truth."""
    zero = jnp.zeros(2)
    plain = jax.grad(lambda a: conjunction(a[0], a[1]))(zero)
    stable = jax.grad(lambda a: conjunction(a[0], a[1], STABLE))(zero)
    assert plain.tolist() == [0, 0]
    assert stable == pytest.approx([STABLE * (1 - STABLE)] * 2, rel=1e-4)
    assert not np.isfinite(jax.grad(forall)(jnp.ones(3))).any()
    for p in (2, 50):
        assert np.isfinite(jax.grad(lambda a, p=p: forall(a, p, STABLE))(jnp.ones(3))).all()
        assert np.isfinite(jax.grad(lambda a, p=p: exists(a, p, STABLE))(jnp.zeros(3))).all()


@pytest.mark.parametrize("p", [1.0, 2.0, 2.5, 6.0])
def test_connectives_and_quantifiers_agree_between_the_namespaces(p: float) -> None:
    """Worked on the same numbers; weights and empty domains too."""
    rng = np.random.default_rng(1)
    a, b, weights = rng.random((40, 3)), rng.random((40, 3)), rng.random(40)
    for eps in (0.0, STABLE):
        for op in (conjunction, disjunction, implication):
            assert np.abs(op(jnp.asarray(a), jnp.asarray(b), eps) - op(a, b, eps)).max() < 1e-6
        for quantifier in (forall, exists):
            assert np.abs(quantifier(jnp.asarray(a), p, eps) - quantifier(a, p, eps)).max() < 1e-6
    traced = jax.jit(lambda t, w: forall(t, p, weights=w))(a, weights)
    assert np.abs(traced - forall(a, p, weights=weights)).max() < 1e-6
    assert connectives.forall(jnp.zeros((0, 2))).tolist() == [1, 1]
    assert connectives.exists(jnp.zeros((0, 2))).tolist() == [0, 0]


def test_a_traced_judgement_of_whole_rows_is_that_of_numpy() -> None:
    """Reward and next state included; one JAX array among the four is enough."""
    truth = base("next.x > x ~ 1 implies reward > 0 ~ 2", "action[0] * reward < 1").truth_function()
    (state, action), (next_state, _) = make_rows(20), make_rows(20, seed=1)
    reward = next_state[:, 1]
    exact = truth(state, action, next_state, reward)
    traced = jax.jit(lambda r: truth(state, action, next_state, r))(reward)
    assert (exact.dtype, traced.dtype, exact.shape) == (np.float64, np.float32, (20, 2))
    assert np.abs(exact - np.asarray(traced)).max() < 1e-6
    assert 0.1 < exact[:, 0].mean() < 0.9
