"""The compiled evaluator says what the night's evaluator says, hands over only what is read, and refuses NaN."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import logic_rules
from janus_memory.config import LogicSettings, RuleSettings
from janus_memory.errors import RuleError
from janus_memory.logic import KnowledgeBase, rule_truths, satisfaction
from janus_memory.logic.compiled import compiled
from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("fx", ("x", "y", "z"), "vector", 2)


def base(*texts: str, logic: LogicSettings | None = None) -> KnowledgeBase:
    rules = [RuleSettings(name=f"r{k}", text=text, weight=1.0 + k) for k, text in enumerate(texts)]
    return KnowledgeBase.parse(rules, SPEC.features, action_dim=2, logic=logic or LogicSettings())


def rows_of(n: int) -> Transitions:
    rng, rows = np.random.default_rng(3), Transitions.empty(SPEC, n)
    for column in (rows.state, rows.next_state, rows.action, rows.reward):
        column[...] = rng.normal(size=column.shape)
    return rows


def assert_agrees(rules: KnowledgeBase, rows: Transitions) -> None:
    """Truths, quantified rules and SatAgg, to 1e-6 of float64."""
    judged, truths = compiled(rules)(rows), rules.truths(rows)
    assert judged.truths.shape == truths.shape
    np.testing.assert_allclose(judged.truths, truths, atol=1e-6)
    np.testing.assert_allclose(judged.closed, rule_truths(truths, rules.quantifiers), atol=1e-6)
    assert judged.satisfaction == pytest.approx(
        satisfaction(truths, rules.weights, rules.quantifiers), abs=1e-6
    )


@pytest.mark.parametrize("n", [0, 1, 2, 333])
def test_twenty_rules_of_a_desk_are_judged_as_at_night(n: int) -> None:
    """Named actions, both quantifiers, next state and reward; no rows, one, and not a power of two."""
    assert_agrees(logic_rules.knowledge(), logic_rules.transitions(n, seed=4))


@pytest.mark.parametrize("p_exists", [2.0, 3.0])
def test_vector_actions_weights_and_every_p(p_exists: float) -> None:
    """One pass over the rows where both quantifiers have one p, two where they differ."""
    texts = ("action[1] > x ~ 0.5", "exists: next.z > 1 ~ 0.2", "reward > 0 ~ 1 implies y > 0 ~ 1")
    assert_agrees(base(*texts, logic=LogicSettings(p_exists=p_exists, p_rules=4.0)), rows_of(50))


def test_without_rules_all_is_satisfied() -> None:
    judged = compiled(base())(rows_of(3))
    assert (judged.truths.shape, judged.closed.shape, judged.satisfaction) == ((3, 0), (0,), 1.0)


def test_a_second_call_leaves_the_first_answer_alone() -> None:
    """Rows are handed over where they lie: answers must not lie there too."""
    judge, rows = compiled(base("x > 0 ~ 1")), rows_of(40)
    first = judge(rows)
    kept = first.truths.copy()
    rows.state[:] = -5
    assert judge(rows).truths.max() < 0.01
    np.testing.assert_array_equal(first.truths, kept)


def test_nan_is_refused_by_the_rules_name_where_it_is_read() -> None:
    """A feature that no rule reads may be anything."""
    rules, rows = base("x > 0 ~ 1", "exists: next.z > 0 ~ 1"), rows_of(5)
    assert rules.columns_read() == ((0,), (2,))
    rows.state[1, 1] = rows.next_state[2, 0] = np.nan
    assert_agrees(rules, rows)
    rows.next_state[2, 2] = np.inf
    with pytest.raises(RuleError, match="rule 'r1' meets NaN or infinity"):
        compiled(rules)(rows)


def test_a_component_that_does_not_exist_is_refused() -> None:
    rows = Transitions.empty(MarketSpec("fx", SPEC.features, "vector", 1), 2)
    with pytest.raises(RuleError, match=r"rule 'r0': action\[1\] does not exist"):
        compiled(base("action[1] > 0 ~ 1"))(rows)
