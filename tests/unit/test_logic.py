"""Fuzzy connectives, quantifiers and the knowledge base."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.config import RuleSettings
from janus_memory.errors import RuleError
from janus_memory.logic import KnowledgeBase, Quantifiers, connectives, rule_truths, satisfaction, violations
from janus_memory.logic.connectives import (
    STABLE,
    conjunction,
    disjunction,
    exists,
    forall,
    implication,
    negation,
)
from janus_memory.logic.presets import EXAMPLE_RULES
from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("fx", ("x", "y"), "discrete", 3, ("short", "flat", "long"))
DEMO_FEATURES = ("volatility_24h", "position", "position_pnl", "drawdown")

truth = st.floats(0, 1).map(np.float64)
many = st.lists(st.floats(0, 1), min_size=1, max_size=8).map(lambda v: np.array(v, np.float64))
eps = st.sampled_from([0.0, STABLE])


def rule(text: str, name: str = "r", weight: float = 1.0) -> RuleSettings:
    return RuleSettings(name=name, text=text, weight=weight)


def base(*texts: str) -> KnowledgeBase:
    rules = [rule(text, f"r{number}") for number, text in enumerate(texts)]
    return KnowledgeBase.parse(rules, SPEC.features, SPEC.action_names)


def make_rows(n: int, seed: int = 0) -> Transitions:
    rng = np.random.default_rng(seed)
    rows = Transitions.empty(SPEC, n)
    rows.state[:] = rng.standard_normal((n, 2))
    rows.next_state[:] = rng.standard_normal((n, 2))
    rows.reward[:] = rng.standard_normal(n)
    rows.action[:] = rng.integers(0, 3, n)
    return rows


def one_row(
    x: float, y: float = 0.0, action: int = 0, reward: float = 0.0, next_x: float = 0.0
) -> Transitions:
    rows = Transitions.empty(SPEC, 1)
    rows.state[0] = x, y
    rows.next_state[0] = next_x, 0
    rows.action[0], rows.reward[0] = action, reward
    return rows


@pytest.mark.parametrize(
    ("a", "b", "both", "either", "then"),
    [
        (0, 0, 0, 0, 1),
        (0, 1, 0, 1, 1),
        (1, 0, 0, 1, 0),
        (1, 1, 1, 1, 1),
        (0.5, 0.5, 0.25, 0.75, 0.75),
        (0.25, 0.5, 0.125, 0.625, 0.875),
        (0.5, 0, 0, 0.5, 0.5),
    ],
)
def test_truth_table(a: float, b: float, both: float, either: float, then: float) -> None:
    """Worked by hand; the corners are classical logic. The stable variants stay within 2 eps of it."""
    left, right = np.float64(a), np.float64(b)
    for e in (0.0, STABLE):
        found = [op(left, right, e) for op in (conjunction, disjunction, implication)]
        assert np.abs(np.array(found) - [both, either, then]).max() <= 2 * e


def test_stable_variants_by_hand() -> None:
    """With eps = 0.1: pi0(0) = 0.1 and pi0(1) = 1 where a zero hurts, pi1(1) = 0.9 and pi1(0) = 0 where a one does."""
    zero, one = np.zeros(1), np.ones(1)
    assert conjunction(zero, zero, 0.1) == pytest.approx(0.01)
    assert conjunction(one, one, 0.1) == 1
    assert disjunction(one, one, 0.1) == pytest.approx(0.99)
    assert disjunction(zero, zero, 0.1) == 0
    assert implication(zero, one, 0.1) == pytest.approx(0.99)
    assert implication(one, zero, 0.1) == 0
    assert forall(one, 2, 0.1) == pytest.approx(0.9)
    assert exists(zero, 2, 0.1) == pytest.approx(0.1)


@given(truth, truth, truth, eps)
def test_connectives_keep_their_laws(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], e: float
) -> None:
    """Range, symmetry, De Morgan, contraposition, and more truth in gives more truth out."""
    for op in (conjunction, disjunction, implication):
        assert 0 <= op(a, b, e) <= 1
    assert conjunction(a, b, e) == conjunction(b, a, e)
    assert disjunction(a, b, e) == pytest.approx(disjunction(b, a, e), abs=1e-15)
    assert negation(conjunction(a, b)) == pytest.approx(disjunction(negation(a), negation(b)), abs=1e-15)
    assert implication(a, b) == pytest.approx(disjunction(negation(a), b), abs=1e-15)
    assert implication(a, b) == pytest.approx(implication(negation(b), negation(a)), abs=1e-15)
    low, high = min(b, c), max(b, c)
    assert conjunction(a, low, e) <= conjunction(a, high, e)
    assert disjunction(a, low, e) <= disjunction(a, high, e) + 1e-15
    assert implication(a, low, e) <= implication(a, high, e) + 1e-15
    assert implication(high, a, e) <= implication(low, a, e) + 1e-15


@pytest.mark.parametrize(
    ("values", "p", "every", "some"),
    [
        ([0.5, 0.5], 2, 0.5, 0.5),
        ([1, 0], 2, 1 - np.sqrt(0.5), np.sqrt(0.5)),
        ([0.2, 0.4, 0.9], 1, 0.5, 0.5),
        ([0.4, 1.0], 2, 1 - np.sqrt(0.18), np.sqrt(0.58)),
        ([1, 1, 1], 2, 1, 1),
        ([0, 0], 2, 0, 0),
        ([0.3], 3, 0.3, 0.3),
        ([1, 0.25], 2.5, 1 - (0.75**2.5 / 2) ** 0.4, ((1 + 0.25**2.5) / 2) ** 0.4),
        ([], 2, 1, 0),
    ],
)
def test_quantifiers_by_hand(values: list[float], p: float, every: float, some: float) -> None:
    """p-mean-error and p-mean; on an empty domain all is true and nothing exists."""
    a = np.array(values, np.float64)
    assert forall(a, p) == pytest.approx(every, abs=1e-12)
    assert exists(a, p) == pytest.approx(some, abs=1e-12)
    assert forall(a, p, STABLE) == pytest.approx(every, abs=3e-4)
    assert exists(a, p, STABLE) == pytest.approx(some, abs=3e-4 if some else 2e-4)


@given(many, st.sampled_from([1.0, 2.0, 5.0]), eps)
def test_quantifiers_keep_their_laws(a: NDArray[np.float64], p: float, e: float) -> None:
    """Between the worst and the best, free of order, dual to one another, stricter with p."""
    for found in (forall(a, p), exists(a, p)):
        assert a.min() - 1e-12 <= found <= a.max() + 1e-12
    assert 0 <= forall(a, p, e) <= 1
    assert 0 <= exists(a, p, e) <= 1
    assert forall(a[::-1], p) == pytest.approx(float(forall(a, p)), abs=1e-12)
    assert forall(1 - a, p) == pytest.approx(1 - float(exists(a, p)), abs=1e-12)
    assert forall(a, p + 1) <= forall(a, p) + 1e-12


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1, np.inf])
def test_what_is_no_truth_is_refused(bad: float) -> None:
    """NaN and values outside [0, 1] never pass, on either side of any connective."""
    a, b = np.array([0.5, bad]), np.array([0.5, 0.5])
    for op in (connectives.conjunction, connectives.disjunction, connectives.implication):
        for pair in ((a, b), (b, a)):
            with pytest.raises(RuleError, match="NaN or outside"):
                op(*pair)
    for single in (negation, forall, exists):
        with pytest.raises(RuleError, match="NaN or outside"):
            single(a)


def test_p_below_one_is_refused() -> None:
    """Not a mean any more."""
    with pytest.raises(RuleError, match="p >= 1"):
        forall(np.array([0.5]), 0.5)


HALF = 1 / (1 + np.exp(-1))


@pytest.mark.parametrize(
    ("text", "rows", "expected"),
    [
        ("x < 1", one_row(0.5), 1),
        ("x < 1", one_row(1), 0),
        ("x <= 1", one_row(1), 1),
        ("x >= 1", one_row(1), 1),
        ("x > 1", one_row(1), 0),
        ("x == 1", one_row(1), 1),
        ("x != 1", one_row(1), 0),
        ("x < 1 ~ 0.5", one_row(1), 0.5),
        ("x < 1 ~ 0.5", one_row(0.5), HALF),
        ("x > 1 ~ 0.5", one_row(1.5), HALF),
        ("x >= 1 ~ 0.5", one_row(0.5), 1 - HALF),
        ("x == 1 ~ 0.5", one_row(1.5), np.exp(-0.5)),
        ("x != 1 ~ 0.5", one_row(1.5), 1 - np.exp(-0.5)),
        ("x > 0 ~ 1e-300", one_row(3e38), 1),
        ("x * x * x * x * x * x * x * x * x < 0 ~ 1", one_row(3e38), None),
        ("action == long", one_row(0, action=2), 1),
        ("action == long", one_row(0, action=1), 0),
        ("action != 2", one_row(0, action=2), 0),
        ("reward > 0.5", one_row(0, reward=1), 1),
        ("next.x > x", one_row(1, next_x=2), 1),
        ("abs(x - y) == 3", one_row(1, 4), 1),
        ("-x + 2 * y - 1 == 6", one_row(1, 4), 1),
        ("2 * (x + y) == 10", one_row(1, 4), 1),
        ("(2 * x) + y == 6", one_row(1, 4), 1),
        ("x - y - 1 == -4", one_row(1, 4), 1),
        ("not x > 0 and y > 0", one_row(1, 4), 0),
        ("not (x > 0 and y < 0)", one_row(1, 4), 1),
        ("x < 0 and y < 0 or y > 0", one_row(1, 4), 1),
        ("x > 0 or y > 0 implies x < 0", one_row(1, 4), 0),
        ("x < 0 implies y < 0 implies x < 0", one_row(1, 4), 1),
        ("(x > 0 implies y < 0) implies x < 0", one_row(1, 4), 1),
        ("x > 1 ~ 1 and x > 1 ~ 1", one_row(1), 0.25),
        ("x > 1 ~ 1 or x > 1 ~ 1", one_row(1), 0.75),
        ("x > 1 ~ 1 implies x > 1 ~ 1", one_row(1), 0.75),
    ],
)
def test_rules_on_one_row_by_hand(text: str, rows: Transitions, expected: float | None) -> None:
    """Comparisons, arithmetic and precedence; the outer quantifier does not count on one row."""
    for quantified in (text, f"forall: {text}", f"exists: {text}"):
        knowledge = base(quantified)
        if expected is None:
            with pytest.raises(RuleError, match=r"r0.*NaN or infinity"):
                knowledge.truths(_overflowing(rows))
        else:
            assert knowledge.truths(rows)[0, 0] == pytest.approx(expected, abs=1e-12)


def _overflowing(rows: Transitions) -> Transitions:
    assert (rows.state[0, 0] > 1e38).all()
    return rows


@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_batch_equals_its_rows(n: int) -> None:
    """Truths and violations of a row have the same bits in every batch."""
    knowledge = base("x < 0 ~ 0.3 implies action == flat", "exists: reward > 0 ~ 1 or next.y < y ~ 0.2")
    rows = make_rows(n)
    whole = knowledge.truths(rows)
    assert whole.shape == (n, 2)
    assert whole.dtype == np.float64
    parts = [knowledge.truths(rows.take(slice(i, i + 1))) for i in range(n)]
    assert b"".join(p.tobytes() for p in parts) == whole.tobytes()
    each = b"".join(violations(p, knowledge.weights).tobytes() for p in parts)
    assert each == violations(whole, knowledge.weights).tobytes()


def test_the_stable_variant_is_within_reach_of_the_plain_one() -> None:
    """`eps` reaches the connectives of a rule."""
    text, rows = rule("x < 0 and y < 0 implies x > y"), make_rows(50)
    plain = KnowledgeBase.parse([text], SPEC.features).truths(rows)
    stable = KnowledgeBase.parse([text], SPEC.features, eps=STABLE).truths(rows)
    assert 0 < np.abs(plain - stable).max() <= 3 * STABLE


def test_violations_by_hand() -> None:
    """Weighted mean of what is missing: 0 none violated, 1 all."""
    truths = np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [0.5, 1.0]])
    assert violations(truths, np.array([1.0, 3.0])).tolist() == [0, 1, 0.25, 0.125]
    assert violations(truths, np.array([0.0, 0.0])).tolist() == [0, 0, 0, 0]
    assert violations(np.zeros((3, 0)), np.zeros(0)).tolist() == [0, 0, 0]


def test_satisfaction_by_hand() -> None:
    """SatAgg: p-mean-error over rules of each rule's own quantifier over the rows."""
    truths = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert satisfaction(truths, np.ones(2)) == pytest.approx(1 - np.sqrt(0.5))
    # Rule 0: forall, 1 - sqrt(1/2); rule 1: exists, sqrt(1/2). Weights 1 to 3.
    kinds = Quantifiers((1,))
    assert rule_truths(truths, kinds).tolist() == pytest.approx([1 - np.sqrt(0.5), np.sqrt(0.5)])
    error = (0.5 + 3 * (1 - np.sqrt(0.5)) ** 2) / 4
    assert satisfaction(truths, np.array([1.0, 3.0]), kinds) == pytest.approx(1 - np.sqrt(error))
    assert satisfaction(np.zeros((2, 2)), np.ones(2)) == 0
    assert satisfaction(np.zeros((2, 0)), np.zeros(0)) == 1
    assert satisfaction(np.zeros((0, 2)), np.ones(2)) == 1
    assert satisfaction(np.zeros((0, 2)), np.ones(2), Quantifiers((0, 1))) == 0


@given(many, st.floats(0.1, 10))
def test_satisfaction_falls_when_one_truth_falls_and_ignores_the_scale_of_weights(
    a: NDArray[np.float64], scale: float
) -> None:
    """More violated is never more satisfied."""
    truths, weights = a[:, None] * np.array([1.0, 0.5]), np.array([1.0, 2.0])
    worse = truths.copy()
    worse[0] *= 0.5
    assert satisfaction(worse, weights) <= satisfaction(truths, weights) + 1e-12
    assert satisfaction(truths, scale * weights) == pytest.approx(satisfaction(truths, weights), abs=1e-9)


def test_policy_truths_equal_truths_of_rows_that_took_the_action() -> None:
    """The table is the rules' own truth for each action; what needs the outcome is left out and named."""
    knowledge = base(
        "x < 0 ~ 0.3 implies action == flat",
        "reward > 0",
        "y > 0",
        "next.x < 0 or action == long",
        "exists: y > 0",
    )
    rows = make_rows(20)
    table, used, left = knowledge.policy_truths(rows.state)
    assert table.shape == (20, 3, 3)
    assert table.dtype == np.float32
    assert (used, left) == (("r0", "r2", "r4"), ("r1", "r3"))
    assert knowledge.quantifiers_of(used) == Quantifiers((2,))
    for action in range(3):
        rows.action[:] = action
        expected = knowledge.truths(rows)[:, [0, 2, 4]].astype(np.float32)
        assert table[:, :, action].tobytes() == expected.tobytes()


@pytest.mark.parametrize("n", [0, 1])
def test_policy_truths_without_rules_or_rows(n: int) -> None:
    """Shapes hold at the edges."""
    state = np.zeros((n, 2), np.float32)
    assert base().policy_truths(state)[0].shape == (n, 0, 3)
    assert base("x < 1").policy_truths(state)[0].shape == (n, 1, 3)


def test_vector_actions_are_judged_by_component() -> None:
    """action[i] is a number; a component that does not exist and a table of actions are refused."""
    spec = MarketSpec("v", ("x", "y"), "vector", 2)
    rows = Transitions.empty(spec, 2)
    rows.action[:] = [[0.5, 2.0], [0.5, -2.0]]
    knowledge = KnowledgeBase.parse([rule("action[1] > action[0]")], spec.features)
    assert knowledge.truths(rows)[:, 0].tolist() == [1, 0]
    with pytest.raises(RuleError, match=r"'r'.*action\[2\]"):
        KnowledgeBase.parse([rule("action[2] > 0")], spec.features).truths(rows)
    with pytest.raises(RuleError, match="discrete"):
        knowledge.policy_truths(rows.state)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("text", ["x < 1", "x == 1 ~ 2", "y > abs(x) ~ 1"])
def test_rows_that_are_not_finite_are_refused_by_the_rules_name(text: str, bad: float) -> None:
    """NaN is never a truth of 0."""
    rows = make_rows(3)
    rows.state[1, 0] = bad
    with pytest.raises(RuleError, match=r"'r0'.*NaN or infinity"):
        base(text).truths(rows)


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
def test_a_weight_that_is_no_weight_is_refused(weight: float) -> None:
    """By the rule's name."""
    with pytest.raises(RuleError, match="'r': weight"):
        KnowledgeBase.parse([rule("x < 1", weight=weight)], SPEC.features)


def test_two_rules_of_one_name_are_refused() -> None:
    """A report names rules."""
    with pytest.raises(RuleError, match="'r' occurs twice"):
        KnowledgeBase.parse([rule("x < 1"), rule("y < 1")], SPEC.features)


def _demo_row(
    volatility: float, position: float, pnl: float, drawdown: float, action: int
) -> NDArray[np.float64]:
    knowledge = KnowledgeBase.parse(EXAMPLE_RULES, DEMO_FEATURES, SPEC.action_names)
    rows = Transitions.empty(MarketSpec("d", DEMO_FEATURES, "discrete", 3, SPEC.action_names), 1)
    rows.state[0] = volatility, position, pnl, drawdown
    rows.action[0] = action
    return np.asarray(knowledge.truths(rows)[0])


def test_the_examples_judge_as_they_are_named() -> None:
    """An ordinary row satisfies all three; each breach breaks its own rule, and the flat action mends it."""
    assert (_demo_row(0.0008, 1, 0.0, 0.0, 2) > 0.97).all()
    assert _demo_row(0.0008, 1, 0.0, -0.02, 2)[0] < 0.05
    assert _demo_row(0.0025, 1, 0.0, 0.0, 2)[1] < 0.05
    assert _demo_row(0.0025, 0, 0.0, 0.0, 2)[1] > 0.97
    assert _demo_row(0.0008, 1, -0.01, 0.0, 2)[2] < 0.05
    assert _demo_row(0.0008, -1, -0.01, 0.0, 0)[2] < 0.05
    assert _demo_row(0.0008, -1, -0.01, 0.0, 2)[2] > 0.97
    assert (_demo_row(0.0025, 1, -0.01, -0.02, 1) > 0.97).all()


def test_the_examples_all_train_the_policy() -> None:
    """None mentions the reward or the next state."""
    knowledge = KnowledgeBase.parse(EXAMPLE_RULES, DEMO_FEATURES, SPEC.action_names)
    table, used, left = knowledge.policy_truths(np.array([[0.0025, 1, -0.01, -0.02]], np.float32))
    assert (len(used), left) == (3, ())
    assert (table[0, :, 1] > table[0, :, 2]).all()
