"""Rules on a domain of rows: what holds of no rows, how much a verdict rests on, and how rules are weighed."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_memory.config import LogicSettings, RuleSettings
from janus_memory.errors import ConfigError, RuleError
from janus_memory.logic import KnowledgeBase, Quantifiers, rule_truths, sat_agg, satisfaction
from janus_memory.logic.connectives import exists, forall, quantified
from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("fx", ("x", "y"), "discrete", 2)
TEXTS = {
    "every": "x > 0",
    "some": "exists: x > 0",
    "limit": "x > 0 implies y < 0",
    "twice": "(x > 1 implies y < 0) and (x < -1 ~ 0.5 implies y > 0)",
    "denied": "not (x > 0 implies y < 0)",
}


def base(*names: str) -> KnowledgeBase:
    rules = [RuleSettings(name=name, text=TEXTS[name]) for name in names]
    return KnowledgeBase.parse(rules, SPEC.features, n_actions=2)


def rows_of(*states: tuple[float, float]) -> Transitions:
    rows = Transitions.empty(SPEC, len(states))
    rows.state[:] = np.array(states).reshape(-1, 2)
    return rows


def test_on_no_rows_all_holds_and_nothing_exists_and_neither_rests_on_anything() -> None:
    """Truth 1 and 0, both with support 0; SatAgg by the quantifiers."""
    rules = base("every", "some")
    truths = rules.truths(rows_of())
    assert rule_truths(truths, rules.quantifiers).tolist() == [1, 0]
    assert rules.conditions(rows_of()).sum(axis=0).tolist() == [0, 0]
    assert sat_agg(truths, np.ones(2)) == 1
    assert sat_agg(truths, np.ones(2), rules.quantifiers) == pytest.approx(1 - np.sqrt(0.5))


def test_truths_and_support_by_hand() -> None:
    """A condition's truth is its rule's support on a row; a denied implication is not an implication."""
    rules, rows = base(*TEXTS), rows_of((2, 1), (1, -1), (-1, 1), (0, 1))
    conditions = rules.conditions(rows)
    assert conditions[:, [0, 1, 2, 4]].sum(axis=0).tolist() == [4, 4, 2, 4]
    half = [1 / (1 + np.exp(z)) for z in (6, 4, 0, 2)]
    assert conditions[:, 3].tolist() == pytest.approx([1, *half[1:]])
    closed = rule_truths(rules.truths(rows), rules.quantifiers)
    assert closed[[0, 1, 2, 4]].tolist() == pytest.approx(
        [1 - np.sqrt(0.5), np.sqrt(0.5), 0.5, 1 - np.sqrt(0.75)]
    )


@pytest.mark.parametrize(("p", "expected"), [(1.0, 0.75), (2.0, 0.5), (4.0, 1 - 0.25**0.25)])
def test_p_decides_how_much_the_worst_rows_count(p: float, expected: float) -> None:
    """One row of four breaks the rule."""
    rules = base("limit")
    truths = rules.truths(rows_of((1, 1), (1, -1), (0, 0), (0, 1)))
    assert rule_truths(truths, Quantifiers(p_forall=p))[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["p_forall", "p_exists", "p_rules"])
@pytest.mark.parametrize("bad", [np.nan, 0.5, -1.0, np.inf])
def test_a_setting_that_gives_no_mean_is_refused(name: str, bad: float) -> None:
    """By its key, where the rules are read."""
    logic = LogicSettings(**{name: bad})
    with pytest.raises(ConfigError, match=rf"logic\.{name} = .*>= 1"):
        KnowledgeBase.parse([], SPEC.features, n_actions=2, logic=logic)


def test_each_p_reaches_its_own_mean() -> None:
    """Forall with 1, exists with 3, SatAgg with 4; by hand."""
    rules = [RuleSettings(name=name, text=TEXTS[name]) for name in ("every", "some")]
    logic = LogicSettings(p_forall=1, p_exists=3, p_rules=4)
    base = KnowledgeBase.parse(rules, SPEC.features, n_actions=2, logic=logic)
    truths = base.truths(rows_of((1, 0), (-1, 0), (-1, 0), (-1, 0)))
    closed = [0.25, 0.25 ** (1 / 3)]
    assert rule_truths(truths, base.quantifiers).tolist() == pytest.approx(closed)
    expected = 1 - ((0.75**4 + (1 - closed[1]) ** 4) / 2) ** 0.25
    assert satisfaction(truths, base.weights, base.quantifiers) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [np.nan, 0.5, 0.0, -1.0, np.inf])
def test_a_p_that_gives_no_mean_is_refused(bad: float) -> None:
    with pytest.raises(RuleError, match="p >= 1"):
        forall(np.ones(2), bad)


def test_nan_is_refused_in_a_condition_too() -> None:
    with pytest.raises(RuleError, match=r"'limit'.*NaN or infinity"):
        base("limit").conditions(rows_of((np.nan, 1)))


def test_weighted_p_mean_error_by_hand() -> None:
    """1 - (sum w (1 - a)^p / sum w)^(1/p)."""
    truths, weights = np.array([1.0, 0.5, 0.0]), np.array([2.0, 1.0, 1.0])
    assert forall(truths, 1, weights=weights) == pytest.approx(1 - 1.5 / 4)
    assert forall(truths, 2, weights=weights) == pytest.approx(1 - np.sqrt(1.25 / 4))
    assert forall(truths, 6, weights=weights) == pytest.approx(1 - ((0.5**6 + 1) / 4) ** (1 / 6))
    assert forall(truths, 2, weights=np.array([1.0, 0.0, 0.0])) == 1
    assert forall(truths, 2, weights=np.zeros(3)) == 1
    assert forall(np.column_stack([truths, truths]), 2, weights=weights).tolist() == pytest.approx(
        [1 - np.sqrt(1.25 / 4)] * 2
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_weight_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(RuleError, match="weight is NaN"):
        forall(np.ones(2), weights=np.array([1.0, bad]))


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 4)), min_size=1, max_size=6),
    st.sampled_from([1.0, 2.0, 6.0]),
)
def test_a_weight_is_so_many_copies(pairs: list[tuple[float, int]], p: float) -> None:
    """A rule of weight 3 counts as three rules of weight 1; the scale of all weights does not count."""
    truths = np.array([[truth for truth, _ in pairs]])
    counts = np.array([count for _, count in pairs])
    how = Quantifiers(p_forall=p, p_rules=p)
    copied = satisfaction(np.repeat(truths, counts, axis=1), np.ones(counts.sum()), how)
    assert satisfaction(truths, counts.astype(np.float64), how) == pytest.approx(copied, abs=1e-7)
    assert satisfaction(truths, counts * 0.37, how) == pytest.approx(copied, abs=1e-7)


def test_existential_rules_are_joined_by_their_own_quantifier_under_jax_too() -> None:
    truths, kinds = np.array([[0.2, 0.2], [0.9, 0.9]]), Quantifiers((1,))
    closed = [1 - np.sqrt((0.64 + 0.01) / 2), np.sqrt((0.04 + 0.81) / 2)]
    error = np.mean((1 - np.array(closed)) ** 2)
    for given_truths in (truths, jnp.asarray(truths)):
        assert np.asarray(rule_truths(given_truths, kinds)).tolist() == pytest.approx(closed)
        assert float(sat_agg(given_truths, np.ones(2), kinds)) == pytest.approx(1 - np.sqrt(error))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("eps", [0.0, 1e-4])
def test_joining_rules_in_one_pass_changes_no_bit(p: float, eps: float) -> None:
    """`quantified` is `exists` where it is asked for and `forall` elsewhere, bit for bit; also of one rule and no rows."""
    rng = np.random.default_rng(5)
    for n, some in ((333, [True, False, False, True]), (7, [True]), (7, [False]), (0, [True, False])):
        truths = rng.random((n, len(some)))
        one = quantified(truths, np.array(some), p, eps)
        apart = np.asarray(np.where(np.array(some), exists(truths, p, eps), forall(truths, p, eps)))
        assert one.tobytes() == apart.tobytes()
