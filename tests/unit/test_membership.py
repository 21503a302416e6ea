"""Membership functions: the shapes, how rules say them, how the settings draw them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_memory.config import LogicSettings, MarketSettings, MembershipSettings, RuleSettings, Settings
from janus_memory.errors import ConfigError, RuleError
from janus_memory.logic import KnowledgeBase
from janus_memory.logic.explanation import read_rules
from janus_memory.logic.membership import LARGEST, MAX_MEMBERSHIPS, Shape, read_memberships
from janus_memory.settings import dump_settings, load_settings
from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("fx", ("x", "y"), "discrete", 2, ("stay", "go"))
BELOW = MembershipSettings(shape="below", from_=1, to=3)
ABOVE = MembershipSettings(shape="above", from_=1, to=3)
TRIANGLE = MembershipSettings(shape="triangle", from_=0, centre=1, to=3)
TRAPEZOID = MembershipSettings(shape="trapezoid", from_=0, full_from=1, full_to=2, to=4)
BELL = MembershipSettings(shape="bell", centre=1, width=2)
SIGMOID = MembershipSettings(shape="sigmoid", centre=1, width=2)
ALL = {
    "low": BELOW,
    "high": ABOVE,
    "near": TRIANGLE,
    "usual": TRAPEZOID,
    "about": BELL,
    "large": SIGMOID,
}


def shape_of(one: MembershipSettings) -> Shape:
    return read_memberships({"word": one})["word"]


def base(*texts: str, n_actions: int = 2) -> KnowledgeBase:
    rules = [RuleSettings(name=f"r{number}", text=text) for number, text in enumerate(texts)]
    return KnowledgeBase.parse(rules, SPEC.features, n_actions=n_actions, memberships=ALL)


def rows_of(*x: float) -> Transitions:
    return Transitions.of(
        SPEC,
        timestamp=np.arange(len(x)),
        transition_id=[f"t{k}" for k in range(len(x))],
        state=np.array([(value, -value) for value in x]).reshape(-1, 2),
        action=np.arange(len(x)) % 2,
    )


@pytest.mark.parametrize(
    ("one", "degrees"),
    [
        (BELOW, [1, 1, 1, 0.5, 0, 0]),
        (ABOVE, [0, 0, 0, 0.5, 1, 1]),
        (TRIANGLE, [0, 0, 1, 0.5, 0, 0]),
        (TRAPEZOID, [0, 0, 1, 1, 0.5, 0]),
        (BELL, np.exp(-np.array([4, 1, 0, 1, 4, 81]) / 8)),
        (SIGMOID, 1 / (1 + np.exp(-np.array([-2, -1, 0, 1, 2, 9]) / 2))),
    ],
)
def test_shapes_by_hand(one: MembershipSettings, degrees: list[float]) -> None:
    """At -1, 0, 1, 2, 3 and 10, in numpy and under JAX."""
    values, shape = np.array([-1.0, 0, 1, 2, 3, 10]), shape_of(one)
    assert shape.degree(values, np).tolist() == pytest.approx(list(degrees), abs=1e-12)
    assert np.asarray(shape.degree(jnp.asarray(values), jnp)).tolist() == pytest.approx(
        list(degrees), abs=1e-6
    )


@given(st.sampled_from(list(ALL)), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
@settings(max_examples=200, deadline=None)
def test_a_degree_is_a_truth_and_moves_with_its_shape(
    word: str, x: float, scale: float, shift: float
) -> None:
    """In [0, 1] everywhere; the unit in which feature and shape are written does not count."""
    one = ALL[word]
    moved = {
        name: number * scale + (0 if name == "width" else shift) for name, number in one.numbers().items()
    }
    renamed = {"from_" if name == "from" else name: number for name, number in moved.items()}
    there = shape_of(MembershipSettings(shape=one.shape, **renamed))
    degree = shape_of(one).degree(np.array([x]), np)
    assert ((degree >= 0) & (degree <= 1)).all()
    assert there.degree(np.array([x * scale + shift]), np) == pytest.approx(degree, abs=1e-6)


def test_a_rule_says_a_word_of_any_number() -> None:
    """Features, sums, the next state, the reward; `is not` is the negation; connectives as usual."""
    rules = base(
        "x is low",
        "x is not low",
        "not x is low",
        "x - y is high and y is low",
        "next.x is low or reward is high",
        "2 is low",
    )
    truths = rules.truths(rows_of(2.0, 0.5))
    assert truths.tolist() == [[0.5, 0.5, 0.5, 1, 1, 0.5], [1, 0, 0, 0, 1, 0.5]]


def test_a_component_of_an_action_belongs_and_trains() -> None:
    """Traced under JAX with the slope of the shape, equal to numpy; and counted as soft."""
    text = "action[0] is near"
    truth, used, left_out = base(text, n_actions=0).policy_truth_function(eps=0.0)
    assert (used, left_out) == (("r0",), ())
    action = np.array([[-1.0], [0.25], [2.0], [9.0]], np.float32)
    state = np.zeros((4, 2), np.float32)
    assert np.asarray(jax.jit(truth)(state, action)) == pytest.approx(truth(state, action), abs=1e-6)
    slope = jax.grad(lambda a: truth(jnp.asarray(state), a).sum())(jnp.asarray(action))
    assert slope[:, 0].tolist() == [0, 1, -0.5, 0]
    vector = MarketSpec("v", SPEC.features, "vector", 1)
    (rule,) = read_rules([RuleSettings(name="r", text=text)], vector, ALL)
    assert rule.not_training == ""


@pytest.mark.parametrize("far", [0.0, 1e3, 3e38, -3e38])
def test_slopes_are_finite_everywhere(far: float) -> None:
    """Also of shapes as thin as they may be."""
    for shape in (*ALL.values(), MembershipSettings(shape="bell", centre=0, width=2e-30)):
        degree = shape_of(shape)
        value, slope = jax.value_and_grad(lambda x, degree=degree: degree.degree(x, jnp))(jnp.float32(far))
        assert 0 <= value <= 1
        assert np.isfinite(slope)


def test_nan_is_refused_and_a_traced_one_stays_visible() -> None:
    """As by a comparison."""
    rules, rows = base("x is low"), rows_of(1.0, 2.0)
    rows.state[1, 0] = np.nan
    with pytest.raises(RuleError, match=r"'r0': a membership meets NaN"):
        rules.truths(rows)
    traced = rules.truth_function()(jnp.asarray(rows.state), rows.action, rows.next_state, rows.reward)
    assert np.isnan(np.asarray(traced)[:, 0]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "column", "told"),
    [
        ("x is lw", 6, "unknown membership 'lw' (did you mean 'low'?)"),
        ("x is not hgh", 10, "unknown membership 'hgh' (did you mean 'high'?)"),
        ("x is y", 6, "unknown membership 'y'; known: low, high, near, usual, about, large"),
        ("state is low", 10, "unknown predicate 'low' (it is a membership: it is said of a number)"),
        ("state is lw", 10, "unknown predicate 'lw'; known: none; define it in [markets.NAME.predicates]"),
        ("z is low", 1, "unknown feature 'z'"),
        ("x is 3", 6, "did not expect '3'"),
        ("x si low", 3, "did not expect 'si'; expected"),
        ("x is", 5, "did not expect the end of the rule; expected a name, not"),
        ("action is low", 8, "did not expect 'is'"),
        ("x < 1 is low", 7, "did not expect 'is'"),
    ],
)
def test_a_refused_rule_names_column_and_nearest_word(text: str, column: int, told: str) -> None:
    with pytest.raises(RuleError) as caught:
        base(text)
    assert str(caught.value).startswith(f"rule 'r0', column {column}: {told}")


@pytest.mark.parametrize(
    ("name", "one", "told"),
    [
        ("a b", BELOW, "a name is up to 64 letters"),
        ("not", BELOW, "no word of the language"),
        ("n" * 65, BELOW, "a name is up to 64 letters"),
        (
            "w",
            MembershipSettings(shape="bellow", from_=0, to=1),
            "unknown shape 'bellow' (did you mean 'below'?)",
        ),
        ("w", MembershipSettings(shape="below", from_=0), "needs `to`; it takes from, to"),
        ("w", MembershipSettings(shape="below", from_=0, to=1, width=1), "has no `width`"),
        ("w", MembershipSettings(shape="below", from_=1, to=1), "from = 1 must lie below to = 1"),
        ("w", MembershipSettings(shape="above", from_=np.nan, to=1), "from = nan; use a number"),
        ("w", MembershipSettings(shape="above", from_=0, to=10 * LARGEST), "to = 1e+31; use a number"),
        ("w", MembershipSettings(shape="bell", centre=0, width=0), "width = 0; use a number above"),
        (
            "w",
            MembershipSettings(shape="trapezoid", from_=0, full_from=2, full_to=1, to=3),
            "full_from = 2 lies above full_to = 1",
        ),
    ],
)
def test_a_refused_membership_names_itself_and_what_it_takes(
    name: str, one: MembershipSettings, told: str
) -> None:
    with pytest.raises(RuleError, match="membership ") as caught:
        read_memberships({name: one})
    assert told in str(caught.value)
    assert "nothing was loaded" in str(caught.value)


def test_their_number_is_limited() -> None:
    many = {f"w{k}": BELOW for k in range(MAX_MEMBERSHIPS + 1)}
    with pytest.raises(RuleError, match=f"more than {MAX_MEMBERSHIPS}"):
        read_memberships(many)
    many.popitem()
    assert len(read_memberships(many)) == MAX_MEMBERSHIPS


def test_the_settings_file_draws_them(tmp_path: Path) -> None:
    """As docs/rules.md writes them; a dump is read back; a misspelt key names the nearest one."""
    file = tmp_path / "janus.toml"
    file.write_text(
        '[markets.m]\nfeatures = ["x"]\nn_actions = 2\n'
        '[markets.m.memberships]\ncalm = { shape = "below", from = 1, to = 3.5 }\n'
    )
    found = load_settings(file)
    calm = MembershipSettings(shape="below", from_=1.0, to=3.5)
    assert found.markets["m"].memberships == {"calm": calm}
    file.write_text(dump_settings(found))
    assert load_settings(file) == found
    file.write_text(file.read_text().replace("from =", "form ="))
    with pytest.raises(
        ConfigError, match=r"memberships\.calm\.form .*nearest one is .*memberships\.calm\.from"
    ):
        load_settings(file)


def test_a_memory_knows_the_memberships_and_every_p_it_was_made_with() -> None:
    """Its version changes with them."""
    market = MarketSettings(features=("x",), n_actions=2, memberships={"low": BELOW})
    moved = MarketSettings(features=("x",), n_actions=2, memberships={"low": ABOVE})
    versions = {
        Settings(markets={"m": one}, logic=logic).memory_version("m")
        for one in (market, moved)
        for logic in (LogicSettings(), LogicSettings(p_exists=3.0))
    }
    assert len(versions) == 4
