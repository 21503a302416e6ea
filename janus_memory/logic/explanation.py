"""What rules say of given transitions: how true each is, how often it applies and is broken, and where most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.config import LogicSettings
from janus_memory.logic.grammar import Vocabulary, parse_rule
from janus_memory.logic.knowledge import KnowledgeBase
from janus_memory.logic.learned import read_predicates
from janus_memory.logic.membership import read_memberships
from janus_memory.logic.mentions import Mentions, mentions, no_training_reason
from janus_memory.logic.presets import expand
from janus_memory.logic.quantifiers import across_rules, rule_truths

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from janus_memory.config import MembershipSettings, PredicateSettings, RuleSettings
    from janus_memory.logic.grammar import ParsedRule
    from janus_memory.transition import MarketSpec, Transitions

__all__ = ["HALF", "Explanation", "ReadRule", "RuleEffect", "explain", "read_rules"]

HALF = 0.5
_DEFAULTS = LogicSettings()
_NO_WORDS: Mapping[str, MembershipSettings] = {}
_NO_PREDICATES: Mapping[str, PredicateSettings] = {}
_QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5}


@dataclass(frozen=True, slots=True)
class ReadRule:
    """A rule as it holds: with its presets written out, parsed, and what is known of it without data.

    Attributes:
        settings: its name, text and weight.
        parsed: its quantifier and formula.
        mentions: what it reads of a transition.
        not_training: why it does not train the policy; empty where it does.
    """

    settings: RuleSettings
    parsed: ParsedRule
    mentions: Mentions
    not_training: str


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """One rule on given transitions.

    Attributes:
        rule: the rule.
        satisfaction: min, q05, q25, median and mean over the episodes of the rule's truth by its own quantifier;
            empty without rows.
        support: number of rows whose condition holds to at least one half. 0: the rule is vacuously true.
        broken: number of rows with a truth below one half.
        worst: rows of the lowest truth, lowest first, ties in the total order; none that is wholly true.
        truths: float64 [n], the truth on each row.
    """

    rule: ReadRule
    satisfaction: Mapping[str, float]
    support: int
    broken: int
    worst: NDArray[np.intp]
    truths: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All rules on given transitions.

    Attributes:
        rules: one effect for each rule.
        episodes: float64, SatAgg of each episode (E18).
    """

    rules: tuple[RuleEffect, ...]
    episodes: NDArray[np.float64]


def read_rules(
    rules: Sequence[RuleSettings],
    spec: MarketSpec,
    memberships: Mapping[str, MembershipSettings] = _NO_WORDS,
    predicates: Mapping[str, PredicateSettings] = _NO_PREDICATES,
    logic: LogicSettings = _DEFAULTS,
) -> tuple[ReadRule, ...]:
    """The market's rules as they hold.

    Raises:
        ConfigError: a p cannot be used.
        RuleError: a rule, a membership or a predicate cannot be read.
    """
    n_actions = spec.action_size if spec.action_kind == "discrete" else 0
    known = Vocabulary(
        spec.features,
        spec.action_names,
        n_actions,
        spec.action_size - n_actions,
        read_memberships(memberships),
        read_predicates(predicates, spec.features),
    )
    KnowledgeBase.parse(
        rules,
        spec.features,
        spec.action_names,
        n_actions=n_actions,
        logic=logic,
        memberships=memberships,
        predicates=predicates,
    )
    return tuple(_read(rule, known) for rule in expand(rules, known))


def explain(
    rules: Sequence[ReadRule],
    spec: MarketSpec,
    rows: Transitions,
    episodes: Iterable[NDArray[np.intp]],
    *,
    n_worst: int,
    memberships: Mapping[str, MembershipSettings] = _NO_WORDS,
    predicates: Mapping[str, PredicateSettings] = _NO_PREDICATES,
    logic: LogicSettings = _DEFAULTS,
) -> Explanation:
    """Judge transitions by rules.

    Args:
        rules: those that hold.
        spec: the market's shape.
        rows: n transitions.
        episodes: the rows of each episode.
        n_worst: how many rows to name for each rule.
        memberships: the market's membership functions.
        predicates: the market's learned predicates.
        logic: p of the quantifiers and of SatAgg.

    Raises:
        RuleError: a rule meets NaN or infinity, or an action component that does not exist.
    """
    n_actions = spec.action_size if spec.action_kind == "discrete" else 0
    base = KnowledgeBase.parse(
        [one.settings for one in rules],
        spec.features,
        spec.action_names,
        n_actions=n_actions,
        logic=logic,
        memberships=memberships,
        predicates=predicates,
    )
    truths, parts = base.truths(rows), list(episodes)
    own = np.array([rule_truths(truths[part], base.quantifiers) for part in parts]).reshape(
        len(parts), len(rules)
    )
    applies = base.conditions(rows)
    order = rows.order()
    return Explanation(
        rules=tuple(
            RuleEffect(
                rule=rule,
                satisfaction=_spread(own[:, column]),
                support=int((applies[:, column] >= HALF).sum()),
                broken=int((truths[:, column] < HALF).sum()),
                worst=_worst(truths[:, column], order, n_worst),
                truths=truths[:, column],
            )
            for column, rule in enumerate(rules)
        ),
        episodes=np.array([float(across_rules(one, base.weights, base.quantifiers)) for one in own]),
    )


def _read(rule: RuleSettings, known: Vocabulary) -> ReadRule:
    parsed = parse_rule(rule.name, rule.text, known)
    return ReadRule(
        rule, parsed, mentions(parsed.formula), no_training_reason(parsed, rule.weight, known.features)
    )


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    return {name: float(np.quantile(values, q)) for name, q in _QUANTILES.items()} | {
        "mean": float(values.mean())
    }


def _worst(truths: NDArray[np.float64], order: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    ranked = order[np.argsort(truths[order], kind="stable")][:n]
    return ranked[truths[ranked] < 1.0]
