"""The rule language: what it reads, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_memory.cli.demo_settings import demo_market
from janus_memory.config import RuleSettings
from janus_memory.errors import RuleError
from janus_memory.logic import KnowledgeBase
from janus_memory.logic.grammar import MAX_CHARACTERS, MAX_DEPTH, ParsedRule, Vocabulary, parse_rule
from janus_memory.logic.presets import EXAMPLE_RULES, expand
from tests.soak.rule_fuzz import Tally, check

WORDS = Vocabulary(("drawdown", "volatility_24h", "next", "return-1h"), ("short", "flat", "long"), 3)
VECTOR = Vocabulary(("drawdown",), (), 0)


def read(text: str, vocabulary: Vocabulary = WORDS) -> ParsedRule:
    return parse_rule("my rule", text, vocabulary)


def refusal(text: str, vocabulary: Vocabulary = WORDS) -> str:
    with pytest.raises(RuleError) as caught:
        read(text, vocabulary)
    return str(caught.value)


@pytest.mark.parametrize(
    ("loose", "bracketed"),
    [
        ("drawdown<0", "drawdown < 0"),
        ("forall: drawdown < 0", "drawdown < 0"),
        ("((drawdown)) < ((0)) ~ .5", "(drawdown < 0. ~ 5e-1)"),
        ("not drawdown < 0 and action == long", "(not drawdown < 0) and (action == long)"),
        (
            "drawdown < 0 or drawdown > 1 and action == 1",
            "drawdown < 0 or (drawdown > 1 and action == flat)",
        ),
        (
            "drawdown < 0 implies drawdown < 1 implies drawdown < 2",
            "drawdown < 0 implies (drawdown < 1 implies drawdown < 2)",
        ),
        ("1 + 2 * drawdown - 3 < 0", "1 + (2 * drawdown) - 3 < 0"),
        ('"drawdown" < 0', "drawdown < 0"),
        ("drawdown\n\t< 0", "drawdown < 0"),
    ],
)
def test_texts_that_mean_the_same_read_the_same(loose: str, bracketed: str) -> None:
    """Precedence, associativity, spaces and quotes."""
    assert read(loose) == read(bracketed)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("drawdown < 0", "exists: drawdown < 0"),
        ("drawdown < 0", "drawdown <= 0"),
        ("drawdown < 0", "drawdown < 0 ~ 1"),
        ("drawdown < 0", "next.drawdown < 0"),
        (
            "(drawdown < 0 implies drawdown < 1) implies drawdown < 2",
            "drawdown < 0 implies drawdown < 1 implies drawdown < 2",
        ),
        ("(1 - drawdown) - 3 < 0", "1 - (drawdown - 3) < 0"),
        ("action == long", "action != long"),
        ('"next" < 0', "next.next < 0"),
    ],
)
def test_texts_that_mean_something_else_read_differently(one: str, other: str) -> None:
    """Nothing is read over."""
    assert read(one) != read(other)


def test_names_that_are_no_words_are_quoted() -> None:
    """A feature with a dash or named like a word of the language."""
    assert read('"return-1h" < next."return-1h" and "next" > 0').quantifier == "forall"


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("drawdwn < 1", 1, ["unknown feature 'drawdwn'", "did you mean 'drawdown'"]),
        ("drawdown < 1 and volatility < 1", 18, ["'volatility'", "did you mean 'volatility_24h'"]),
        ("next.drawdwn < 1", 6, ["did you mean 'drawdown'"]),
        ('"return-2h" < 1', 1, ["did you mean 'return-1h'"]),
        ("zzz < 1", 1, ["unknown feature 'zzz'", "known: drawdown, volatility_24h"]),
        ("action == flt", 11, ["unknown action 'flt'", "did you mean 'flat'"]),
        ("action == 3", 11, ["action 3 does not exist; there are 3"]),
        ("action == 1.5", 11, ["whole number"]),
        ("action < long", 8, ["only compared by == and !="]),
        ("action[0] > 1", 8, ["discrete"]),
        ("drawdown < 1 implis action == flat", 14, ["'implis'", "did you mean 'implies'"]),
        ("drawdown", 9, ["the end of the rule", "a comparison"]),
        ("drawdown <", 11, ["the end of the rule", "a number"]),
        ("", 1, ["the end of the rule", "forall"]),
        ("forall drawdown < 1", 8, ["'drawdown'", "expected :"]),
        ("drawdown < 1 @", 14, ["'@'"]),
        ("drawdown < 1\n and @", 19, ["'@'"]),
        ("(drawdown < 1", 14, ["the end of the rule", ")"]),
        ("drawdown < 1 ~ 0", 16, ["softness of 0"]),
        ("drawdown < 1 ~ -1", 16, ["'-'", "a number"]),
        ("drawdown < 1e999", 12, ["too large"]),
        ("1 < drawdown < 2", 14, ["'<'"]),
        ("fral: drawdown < 1", 1, ["unknown word 'fral'", "did you mean 'forall'"]),
        ("drawdown < 1 and nxt.drawdown < 1", 18, ["unknown word 'nxt'", "did you mean 'next'"]),
        ("ab(drawdown) < 1", 1, ["did you mean 'abs'"]),
        ("acton == flat", 1, ["unknown feature 'acton'", "did you mean 'action'"]),
        ("rewards > 0", 1, ["did you mean 'reward'"]),
        ("DRAWDOWN < 1", 1, ["did you mean 'drawdown'"]),
        ("drawdown < 1 AND action == flat", 14, ["did you mean 'and'"]),
        ("action = flat", 8, ["'='", "write =="]),
        ("drawdown < 1 && action == flat", 14, ["'&'", "write and"]),
        ("drawdown < 1 => action == flat", 14, ["write implies"]),
        ("drawdown < 1 - > action == flat", 16, ["'>'"]),
        ("drawdown < 1 -> action == flat", 15, ["write implies"]),
        ("drawdown / 2 < 1", 10, ["no division"]),
    ],
)
def test_a_refusal_names_rule_column_and_word(text: str, column: int, words: list[str]) -> None:
    """The message is enough to mend the text."""
    message = refusal(text)
    assert message.startswith(f"rule 'my rule', column {column}: ")
    for word in words:
        assert word in message
    assert "nothing was loaded" in message


def test_vector_markets_have_components_and_no_names() -> None:
    """Action == NAME makes no sense there, action[i] does."""
    assert read("action[0] > 0.5 ~ 0.1", VECTOR) != read("action[1] > 0.5 ~ 0.1", VECTOR)
    assert "action[0]" in refusal("action == long", VECTOR)
    assert "whole number" in refusal("action[1e3] > 0", VECTOR)
    assert "whole number" in refusal(f"action[{'9' * 1500}] > 0", VECTOR)


def test_actions_without_names_are_indices() -> None:
    """`n_actions` says how many there are."""
    rule = RuleSettings(name="r", text="action == 1")
    assert KnowledgeBase.parse([rule], ["x"], n_actions=2).names == ("r",)
    with pytest.raises(RuleError, match="vectors"):
        KnowledgeBase.parse([rule], ["x"])


def test_size_is_limited() -> None:
    """Longer than the limit is refused before it is read; the limit itself is not."""
    fits = "drawdown < 0".ljust(MAX_CHARACTERS)
    assert read(fits) == read("drawdown < 0")
    assert str(MAX_CHARACTERS) in refusal(fits + " ")


def test_depth_is_limited() -> None:
    """Nesting is counted, brackets that change nothing are not."""
    assert read("not " * (MAX_DEPTH - 3) + "drawdown < 0")
    assert "nested" in refusal("not " * (MAX_DEPTH + 1) + "drawdown < 0")
    assert "nested" in refusal("not " * 480 + "drawdown < 0")
    assert "nested" in refusal("abs(" * 300 + "drawdown" + ")" * 300 + " < 0")
    assert "nested" in refusal("drawdown < 0 implies " * 60 + "drawdown < 0")
    assert read("(" * 900 + "drawdown < 0" + ")" * 900) == read("drawdown < 0")
    assert read("drawdown<0 or " * 100 + "drawdown < 0")


pieces = st.sampled_from(
    [
        *("forall", "exists", ":", "and", "or", "not", "implies", "action", "next", ".", "reward", "abs"),
        *("(", ")", "[", "]", "<", "<=", "==", "!=", "~", "+", "-", "*", "0", "1.5", "1e9", "9" * 30, '"'),
        *("drawdown", "long", "flat", '"return-1h"', "nonsense", "__import__", " ", "\n", "%", "é", "\0"),
    ]
)


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(pieces, max_size=30).map(" ".join)
    | st.text(max_size=60)
    | st.binary(max_size=60).map(lambda data: data.decode("latin-1"))
)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but RuleError ever comes out of the reader, or out of the evaluation of what it reads."""
    for vector in (False, True):
        check(text, Tally(), vector=vector)
    for vocabulary in (WORDS, VECTOR):
        try:
            rule = read(text, vocabulary)
        except RuleError as error:
            assert "'my rule'" in str(error)  # noqa: PT017  (a refusal is one of two good outcomes)
        else:
            assert rule.quantifier in {"forall", "exists"}


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["drawdown < 0", "action == long", "volatility_24h > 1 ~ 0.1", "reward >= 0"]),
        lambda inner: st.one_of(
            inner.map(lambda a: f"not ({a})"),
            st.tuples(inner, st.sampled_from(["and", "or", "implies"]), inner).map(
                lambda t: f"({t[0]}) {t[1]} ({t[2]})"
            ),
        ),
        max_leaves=8,
    )
)
def test_every_well_formed_text_is_read(text: str) -> None:
    """What the grammar can say is accepted, and has a truth on any row."""
    check(text, Tally())
    if len(text) <= MAX_CHARACTERS:
        assert read(text) == read(f"forall: ({text})")


def test_names_that_the_market_knows_are_no_misspelt_words() -> None:
    """`nex` is a feature here, so the dot behind it is what is wrong."""
    message = refusal("nex.drawdown < 1", Vocabulary(("nex", "drawdown"), (), 2))
    assert message.startswith("rule 'my rule', column 4: did not expect '.'")


def test_of_many_names_a_dozen_are_told() -> None:
    """And words too long to be misspelt are not compared with each."""
    features = tuple(f"feature_{k}" for k in range(50))
    assert "feature_11 and 38 more; nothing" in refusal("zzz > 1", Vocabulary(features, (), 2))
    assert "did you mean" not in refusal("f" * 65 + " > 1", Vocabulary(("f" * 64,), (), 2))
    assert f"unknown feature '{'f' * 64}'...; known" in refusal("f" * 900 + " > 1", Vocabulary(("x",), (), 2))
    assert "did you mean" in refusal("f" * 63 + " > 1", Vocabulary(("f" * 64,), (), 2))


def test_the_documented_examples_are_the_shipped_ones() -> None:
    """docs/rules.md shows each text as it stands in the code."""
    page = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
    shown = " ".join(page.split())
    market = demo_market()
    for rule in expand(EXAMPLE_RULES, Vocabulary(market.features, market.action_names, 3)):
        assert rule.text in shown
