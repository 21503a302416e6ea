"""Our semantics against LTNtorch's numbers (docs/decisions/0010), to 1e-6: written by tests/golden/logic/make_ltn.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import logic_rules
from janus_memory.logic import Quantifiers, connectives, rule_truths, sat_agg
from janus_memory.transition import MarketSpec, Transitions

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "logic" / "ltn.json").read_text())
TOLERANCE = 1e-6


def _eps(case: dict[str, Any]) -> float:
    return connectives.STABLE if case["stable"] else 0.0


def _name(case: dict[str, Any]) -> str:
    return f"p={case.get('p', '')}-{'stable' if case['stable'] else 'plain'}"


def _rows() -> Transitions:
    columns = GOLDEN["rows"]
    spec = MarketSpec("bench", logic_rules.FEATURES, "discrete", 3, logic_rules.ACTIONS)
    rows = Transitions.empty(spec, len(columns["reward"]))
    for name, values in columns.items():
        getattr(rows, name)[:] = values
    return rows


def _apart(found: object, expected: object) -> float:
    return float(np.abs(np.asarray(found, np.float64) - np.asarray(expected)).max())


def test_the_stable_variants_have_the_same_margin() -> None:
    assert GOLDEN["eps"] == connectives.STABLE


@pytest.mark.parametrize("case", GOLDEN["connectives"], ids=_name)
def test_connectives(case: dict[str, Any]) -> None:
    """On every pair of eighths, the corners among them."""
    a, b = np.array(GOLDEN["pairs"]).T
    for xp in (np.asarray, jnp.asarray):
        assert _apart(connectives.negation(xp(a)), case["negation"]) < TOLERANCE
        for name in ("conjunction", "disjunction", "implication"):
            found = getattr(connectives, name)(xp(a), xp(b), _eps(case))
            assert _apart(found, case[name]) < TOLERANCE, name


@pytest.mark.parametrize("case", GOLDEN["quantifiers"], ids=_name)
def test_quantifiers(case: dict[str, Any]) -> None:
    """One truth, opposite ones, nearly all true, nearly none, a mixture."""
    for name in ("forall", "exists"):
        for xp in (np.asarray, jnp.asarray):
            quantifier = getattr(connectives, name)
            found = [quantifier(xp(truths), case["p"], _eps(case)) for truths in GOLDEN["lists"]]
            assert _apart(found, case[name]) < TOLERANCE, name


@pytest.mark.parametrize("case", GOLDEN["rules"], ids=_name)
def test_whole_rules_and_their_satisfaction(case: dict[str, Any]) -> None:
    """Twenty rules read from text against twenty written by hand for that library."""
    rules = logic_rules.knowledge(_eps(case))
    truths = rules.truths(_rows())
    _judged(truths, case, rules.quantifiers)


@pytest.mark.parametrize("case", GOLDEN["rules"], ids=_name)
def test_whole_rules_under_jax(case: dict[str, Any]) -> None:
    """The compiled evaluator, which computes in float32 as that library does."""
    rules, rows = logic_rules.knowledge(), _rows()
    truth = jax.jit(rules.truth_function(_eps(case)))
    _judged(truth(rows.state, rows.action, rows.next_state, rows.reward), case, rules.quantifiers)


def _judged(truths: connectives.Truth, case: dict[str, Any], how: Quantifiers) -> None:
    eps = _eps(case)
    how = Quantifiers(how.existential, *case["p"])
    assert _apart(truths, GOLDEN["truths"]["stable" if eps else "plain"]) < TOLERANCE
    assert _apart(rule_truths(truths, how, eps), case["closed"]) < TOLERANCE
    assert _apart(sat_agg(truths, np.ones(20), how, eps), case["satisfaction"]) < TOLERANCE


def test_the_golden_rules_are_neither_all_kept_nor_all_broken() -> None:
    """Agreement on ones would say little: every rule varies over the rows."""
    truths = np.array(GOLDEN["truths"]["plain"])
    assert (np.ptp(truths, axis=0) > 0.25).all()
    assert 0.2 < GOLDEN["rules"][0]["satisfaction"] < 0.9
