"""What rules say of given rows: support, breaches, the worst, and what trains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_memory.config import RuleSettings
from janus_memory.errors import RuleError
from janus_memory.logic.explanation import Explanation, RuleEffect, explain, read_rules
from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("m", ("a", "b"), "discrete", 2, ("stay", "go"))
VECTOR = MarketSpec("v", ("a", "b"), "vector", 1)


def rows_of(values: list[tuple[float, float, int]]) -> Transitions:
    """Rows of (a, b, action), a second apart, the newest first."""
    n = len(values)
    return Transitions.of(
        SPEC,
        timestamp=np.arange(n, 0, -1),
        transition_id=[f"t{k}" for k in range(n)],
        state=np.array([v[:2] for v in values]).reshape(n, 2),
        action=np.array([v[2] for v in values], int),
    )


def effects(texts: list[str], rows: Transitions, n_worst: int = 3) -> Explanation:
    rules = [RuleSettings(name=f"r{k}", text=text) for k, text in enumerate(texts)]
    read = read_rules(rules, SPEC)
    return explain(read, SPEC, rows, [np.arange(len(rows))] if len(rows) else [], n_worst=n_worst)


def effect(text: str, rows: Transitions, n_worst: int = 3) -> RuleEffect:
    return effects([text], rows, n_worst).rules[0]


ROWS = rows_of([(1, 0, 0), (1, 1, 1), (0, 1, 1), (0, 0, 0)])


@pytest.mark.parametrize(
    ("text", "support", "broken"),
    [
        ("a > 0 implies action == go", 2, 1),
        ("a > 0 implies b > 0 implies action == stay", 1, 1),
        ("(a > 0 implies action == go) and (b > 0 implies action == go)", 3, 1),
        ("(a > 0 implies action == go) or (b > 0 implies action == stay)", 1, 0),
        ("(a > 0 implies action == go) and action == go", 4, 2),
        ("action == go", 4, 2),
        ("not (a > 0 implies action == go)", 4, 3),
        ("a > 5 implies action == go", 0, 0),
        ("a > 1 ~ 0.1 implies action == go", 2, 0),
        ("a > 1.01 ~ 0.1 implies action == go", 0, 0),
    ],
)
def test_support_and_breaches_by_hand(text: str, support: int, broken: int) -> None:
    """Rows (a, b, action): (1, 0, stay), (1, 1, go), (0, 1, go), (0, 0, stay); a half counts as support."""
    found = effect(text, ROWS)
    assert (found.support, found.broken) == (support, broken)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 1)), min_size=1, max_size=12),
    st.sampled_from(["a > 0 ~ 0.3", "a > 0 ~ 0.3 and b < 1 ~ 0.5", "not a > b ~ 1"]),
)
def test_only_rows_to_which_a_rule_applies_can_break_it(
    values: list[tuple[float, float, int]], condition: str
) -> None:
    """A simple implication is never less true than its condition is false."""
    found = effect(f"{condition} implies action == go", rows_of(values))
    assert found.broken <= found.support


def test_the_worst_rows_come_first_and_ties_in_the_total_order() -> None:
    """Rows that are wholly true are not shown; later rows of ROWS are older."""
    assert effect("a > 0 implies action == go", ROWS).worst.tolist() == [0]
    assert effect("action == go", ROWS).worst.tolist() == [3, 0]
    assert effect("b > 0.5 ~ 0.5", ROWS).worst.tolist() == [3, 0, 2]
    assert effect("action == go", ROWS, n_worst=0).worst.tolist() == []


def test_truth_over_episodes_is_by_the_rules_own_quantifier() -> None:
    """Two episodes: truths (0, 1, 1) and (0,); forall 1 - sqrt(mean (1 - t)^2), exists sqrt(mean t^2)."""
    read = read_rules([RuleSettings(name=q, text=f"{q}: action == go") for q in ("forall", "exists")], SPEC)
    episodes = [np.array([0, 1, 2]), np.array([3])]
    every, some = explain(read, SPEC, ROWS, episodes, n_worst=0).rules
    assert every.satisfaction["min"] == 0.0
    assert every.satisfaction["mean"] == pytest.approx((1 - (1 / 3) ** 0.5) / 2)
    assert some.satisfaction["mean"] == pytest.approx((2 / 3) ** 0.5 / 2)
    assert some.satisfaction["median"] == pytest.approx(some.satisfaction["mean"])


def test_without_rows_there_is_no_support_and_no_truth() -> None:
    found = effects(["a > 0 implies action == go"], rows_of([]))
    (rule,) = found.rules
    assert (rule.support, rule.broken, dict(rule.satisfaction), len(rule.worst)) == (0, 0, {}, 0)
    assert len(found.episodes) == 0


def test_a_component_that_the_market_does_not_have_is_refused_before_any_row() -> None:
    with pytest.raises(RuleError, match=r"rule 'r', column 8: action\[1\] does not exist; actions have 1"):
        read_rules([RuleSettings(name="r", text="action[1] > 0 ~ 1")], VECTOR)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("action[0] > 1 ~ 0.1", ""),
        ("a > 1 implies action[0] > 1 ~ 0.1 and action[0] < 2", ""),
        ("a > 1 ~ 0.1 implies action[0] > 1", "compares the action without softness (~)"),
        ("action[0] > reward ~ 1", "mentions reward"),
        ("next.b > a", "mentions next.b"),
        ("b > 0 ~ 1", "same truth whatever is done"),
    ],
)
def test_a_rule_that_cannot_train_says_why(text: str, told: str) -> None:
    (rule,) = read_rules([RuleSettings(name="r", text=text)], VECTOR)
    assert told in rule.not_training
    assert bool(rule.not_training) == bool(told)
