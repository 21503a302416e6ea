"""Rule sets by name: what they expand to, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_memory.config import RuleSettings
from janus_memory.errors import RuleError
from janus_memory.logic import KnowledgeBase
from janus_memory.logic.grammar import MAX_RULES, Vocabulary
from janus_memory.logic.presets import EXAMPLE_RULES, PRESETS, expand
from janus_memory.settings import dump_settings, settings_from
from janus_memory.transition import MarketSpec, Transitions

FEATURES = ("volatility_24h", "position", "position_pnl", "drawdown")
ACTIONS = ("short", "flat", "long")
KNOWN = Vocabulary(FEATURES, ACTIONS, 3)
VECTOR = Vocabulary(FEATURES, (), 0)
BOTH_LEVELS = (
    RuleSettings(preset="drawdown limit", limit=0.02, warning=0.01),
    RuleSettings(preset="volatility-scaled position limit", limit=0.002, warning=0.001),
    RuleSettings(preset="no adding to a loser", limit=0.004, stop=0.02),
)


def truth(rule: RuleSettings, action: str | float, **features: float) -> list[float]:
    """Truths of what the rule expands to on one transition: an action by name, or the position to take."""
    vector = not isinstance(action, str)
    spec = MarketSpec("m", FEATURES, "vector" if vector else "discrete", 1 if vector else 3)
    taken: Any = [[action]] if vector else [ACTIONS.index(str(action))]
    row = Transitions.of(
        spec, timestamp=[0], action=taken, state=[[features.get(name, 0.0) for name in FEATURES]]
    )
    base = KnowledgeBase.parse([rule], FEATURES, () if vector else ACTIONS)
    return [round(float(one), 3) for one in base.truths(row)[0]]


def refusal(known: Vocabulary = KNOWN, **fields: Any) -> str:
    with pytest.raises(RuleError) as caught:
        expand([RuleSettings(**fields)], known)
    return str(caught.value)


def test_the_demos_rules_are_the_presets_by_their_defaults() -> None:
    """The texts that the demo has had from its first day; a changed one would change its digest."""
    assert [(rule.name, rule.text) for rule in expand(EXAMPLE_RULES, KNOWN)] == [
        ("drawdown limit", "forall: drawdown < -0.01 ~ 0.002 implies action == flat"),
        (
            "volatility-scaled position limit",
            "forall: abs(position) * volatility_24h > 0.0016 ~ 0.0002 implies action == flat",
        ),
        (
            "no adding to a loser",
            (
                "forall: (position > 0.5 ~ 0.1 and position_pnl < -0.004 ~ 0.001 implies not action == long) "
                "and (position < -0.5 ~ 0.1 and position_pnl < -0.004 ~ 0.001 implies not action == short)"
            ),
        ),
    ]


def test_a_market_calls_things_by_its_own_names() -> None:
    """Names that are no plain words are quoted; actions without names go by their index."""
    known = Vocabulary(("dd-day", "position"), (), 3)
    rule = RuleSettings(
        name="stop", preset="drawdown limit", weight=3.0, names={"drawdown": "dd-day", "flat": "1"}
    )
    (written,) = expand([rule], known)
    assert written == RuleSettings(
        name="stop", text='forall: "dd-day" < -0.01 ~ 0.002 implies action == 1', weight=3.0
    )
    assert KnowledgeBase.parse([rule], known.features, n_actions=3).names == ("stop",)


@pytest.mark.parametrize(
    ("rule", "features", "kept", "broken"),
    [
        (0, {"drawdown": -0.05, "position": 1.0}, ["flat"], {"long": 0, "short": 0}),
        (0, {"drawdown": -0.014}, ["flat"], {"long": 1, "short": 1}),
        (1, {"position": 1.0, "volatility_24h": 0.004}, ["flat"], {"long": 0, "short": 0}),
        (1, {"position": 0.0, "volatility_24h": 0.0016}, ["flat"], {"long": 1, "short": 1}),
        (2, {"position": 1.0, "position_pnl": -0.008}, ["flat", "short"], {"long": 0}),
        (2, {"position": -1.0, "position_pnl": -0.008}, ["flat", "long"], {"short": 0}),
        (2, {"position": 1.0, "position_pnl": -0.04}, ["flat"], {"long": 0, "short": 1}),
    ],
)
def test_a_limit_allows_and_forbids_what_it_says(
    rule: int, features: dict[str, float], kept: list[str], broken: dict[str, int]
) -> None:
    """`broken` names the text that an action breaks: 0 the limit, 1 the second threshold."""
    for action in kept:
        assert min(truth(BOTH_LEVELS[rule], action, **features)) > 0.9
    for action, text in broken.items():
        assert truth(BOTH_LEVELS[rule], action, **features)[text] < 0.2


def test_below_every_threshold_all_actions_are_free() -> None:
    for rule in BOTH_LEVELS:
        for action in ACTIONS:
            assert min(truth(rule, action, position=1.0, volatility_24h=0.0005, position_pnl=0.001)) > 0.9


def test_markets_of_vectors_have_the_same_limits_on_the_position_taken() -> None:
    """action[0] is the position to take; truth of the limit and of the second threshold."""
    drawdown, volatility, loser = BOTH_LEVELS
    wild, losing = {"volatility_24h": 0.005}, {"position": 0.5, "position_pnl": -0.009}
    allowed = [
        truth(drawdown, 0.0, drawdown=-0.05)[0],
        truth(drawdown, 0.5, drawdown=-0.015, position=1.0)[1],
        truth(volatility, 0.2, **wild)[0],
        truth(loser, 0.3, **losing)[0],
    ]
    forbidden = [
        truth(drawdown, 1.0, drawdown=-0.05)[0],
        truth(drawdown, 1.5, drawdown=-0.02, position=1.0)[1],
        truth(volatility, 1.0, **wild)[0],
        truth(volatility, 1.2, volatility_24h=0.0018, position=1.0)[1],
        truth(loser, 0.8, **losing)[0],
        truth(loser, -0.8, position=-0.5, position_pnl=-0.009)[0],
        truth(loser, 0.4, position=0.5, position_pnl=-0.05)[1],
    ]
    assert min(allowed) > 0.9
    assert max(forbidden) < 0.1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"preset": "drawdwn limit"}, "unknown preset 'drawdwn limit' (did you mean 'drawdown limit'?)"),
        ({"preset": "x"}, "known: drawdown limit, volatility-scaled position limit, no adding to a loser"),
        ({"preset": "drawdown limit", "limit": -0.01}, "limit = -0.01; use a number above 0"),
        ({"preset": "drawdown limit", "softness": float("nan")}, "softness = nan"),
        ({"preset": "drawdown limit", "limit": float("inf")}, "limit = inf"),
        ({"preset": "drawdown limit", "stop": 0.1}, "has no `stop`; it has limit, softness and warning"),
        ({"preset": "drawdown limit", "warning": 0.01}, "warning = 0.01 must lie below the limit of 0.01"),
        ({"preset": "no adding to a loser", "stop": 0.001}, "stop = 0.001 must lie above the limit of 0.004"),
        (
            {"preset": "drawdown limit", "names": {"drawdwn": "x"}},
            "unknown name 'drawdwn' (did you mean 'drawdown'?)",
        ),
        (
            {"preset": "drawdown limit", "names": {"drawdown": "drawdowns"}},
            "needs the feature 'drawdowns', which the market does not have (did you mean 'drawdown'?)",
        ),
        ({"preset": "drawdown limit", "names": {"flat": "flt"}}, "needs the action 'flt'"),
        ({"preset": "drawdown limit", "text": "x > 1"}, "has both `text` and `preset`"),
        ({"name": "r"}, "rule 'r' has neither `text` nor `preset`"),
        ({"text": "drawdown > 1"}, "rule 1 has no `name`"),
        ({"name": "r", "text": "drawdown > 1", "limit": 2.0}, "`limit` belongs to a preset"),
    ],
)
def test_what_cannot_hold_is_refused(fields: dict[str, Any], told: str) -> None:
    message = refusal(**fields)
    assert told in message
    assert "nothing was loaded" in message


def test_an_index_beyond_the_actions_is_refused_where_it_is_read() -> None:
    rule = RuleSettings(preset="drawdown limit", names={"flat": "7"})
    with pytest.raises(RuleError, match="action 7 does not exist; there are 3"):
        KnowledgeBase.parse([rule], FEATURES, ACTIONS)


def test_a_market_has_at_most_a_hundred_rules() -> None:
    """Counted after presets are written out."""
    plain = [RuleSettings(name=f"r{k}", text="drawdown > 1") for k in range(MAX_RULES)]
    assert len(expand(plain, KNOWN)) == MAX_RULES
    with pytest.raises(RuleError, match=f"{MAX_RULES + 1} rules, more than {MAX_RULES}"):
        expand([*plain[2:], BOTH_LEVELS[0], plain[0]], KNOWN)


def test_presets_stand_in_a_settings_file(tmp_path: Path) -> None:
    """As docs/rules.md shows them; and a dumped file reads back equal."""
    path = tmp_path / "janus.toml"
    path.write_text("""
[markets.m]
features = ["volatility_24h", "position", "position_pnl", "drawdown"]
action_names = ["short", "flat", "long"]

[[markets.m.rules]]
preset = "drawdown limit"
limit = 0.02
warning = 0.01

[[markets.m.rules]]
name = "no stubbornness"
preset = "no adding to a loser"
names = { position = "position" }
""")
    settings = settings_from(path, {}, [])[0]
    assert [rule.name for rule in expand(settings.market("m").rules, KNOWN)] == [
        "drawdown limit",
        "drawdown limit: warning",
        "no stubbornness",
    ]
    path.write_text(dump_settings(settings))
    assert settings_from(path, {}, [])[0] == settings


def test_the_settings_that_the_documentation_shows_can_be_read(tmp_path: Path) -> None:
    """Each block of TOML in docs/rules.md, for a market that has the names in it."""
    page = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    features, actions = (*FEATURES, "open_gain"), (*ACTIONS, "out")
    market = f"[markets.eurusd]\nfeatures = {list(features)}\naction_names = {list(actions)}\n"
    n_rules = []
    for block in blocks:
        path = tmp_path / "janus.toml"
        path.write_text(market + block.replace('"..."', f'"{"0" * 64}"'))
        said = settings_from(path, {}, [])[0].market("eurusd")
        base = KnowledgeBase.parse(said.rules, features, actions, memberships=said.memberships)
        assert len(base.names) >= len(said.rules)
        n_rules.append(len(said.rules))
    assert n_rules == [2, 2, 2, 0]
    assert list(said.predicates) == ["risky"]


@pytest.mark.parametrize("known", [KNOWN, VECTOR], ids=["discrete", "vector"])
def test_every_text_of_every_preset_trains_the_policy(known: Vocabulary) -> None:
    """None mentions an outcome, and in markets of vectors each has a slope in the action."""
    rules = expand(BOTH_LEVELS, known)
    assert {rule.name.partition(":")[0] for rule in rules} == set(PRESETS)
    base = KnowledgeBase.parse(rules, FEATURES, known.actions)
    if known.n_actions:
        table, used, _ = base.policy_truths(np.zeros((1, len(FEATURES)), np.float32))
        assert table.shape == (1, 6, 3)
    else:
        _, used, _ = base.policy_truth_function()
    assert used == base.names
