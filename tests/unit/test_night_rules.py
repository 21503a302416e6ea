"""A night judges by the market's own words and by the p of the settings, and its policy learns existential rules."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from janus_memory.config import LogicSettings, MembershipSettings, PredicateSettings, RuleSettings
from janus_memory.logic import KnowledgeBase, satisfaction
from janus_memory.logic.fitting import fit_predicate
from janus_memory.sleep.memory import Memory
from tests.unit.sleep_rows import MARKET, night_of, rows_of, settings_for, sleep

RULES = (
    RuleSettings(name="word", text="calm is quiet implies action == flat"),
    RuleSettings(name="learned", text="state is rising implies not action == short", weight=2.0),
    RuleSettings(name="some", text="exists: action == long and trend is not quiet"),
)


def test_words_and_every_p_reach_the_night(tmp_path: Path) -> None:
    """The report's satisfaction is that of the same rules read by hand; an existential rule is among those trained."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 4, (200, 2))
    rising = fit_predicate(("trend", "volume"), x, x[:, 0] > 2, hidden=(4,), steps=50, seed=0)
    rising.write(tmp_path / "rising.safetensors")
    words = {"quiet": MembershipSettings(shape="triangle", from_=-4, centre=0, to=4)}
    learned = {"rising": PredicateSettings(file=str(tmp_path / "rising.safetensors"), sha256=rising.sha256)}
    settings = settings_for(tmp_path, rules=RULES)
    market = msgspec.structs.replace(settings.market(MARKET), memberships=words, predicates=learned)
    logic = LogicSettings(p_forall=3, p_exists=5, p_rules=1)
    settings = msgspec.structs.replace(settings, logic=logic, markets={MARKET: market})
    rows = rows_of(settings, 1)
    report = sleep(settings, Memory.empty(MARKET), night_of(1, rows)).report
    rules = KnowledgeBase.parse(
        RULES, market.features, market.action_names, logic=logic, memberships=words, predicates=learned
    )
    truths = rules.truths(rows)
    expected = satisfaction(truths, rules.weights, rules.quantifiers)
    assert report.metrics["satisfaction"] == pytest.approx(expected, abs=1e-12)
    assert abs(expected - satisfaction(truths, rules.weights)) > 0.01
    assert rules.quantifiers_of(rules.policy_truths(rows.state[:0])[1]).existential == (2,)
    assert 0 < report.metrics["policy_satisfaction"] < 1
