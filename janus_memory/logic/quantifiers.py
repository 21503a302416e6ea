"""From truths of rows to the truth of a rule, and from rules to SatAgg (SPEC section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import ConfigError
from janus_memory.logic import connectives

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from janus_memory.config import LogicSettings
    from janus_memory.logic.connectives import Truth

__all__ = ["UNIVERSAL", "Quantifiers", "across_rules", "rule_truths", "sat_agg", "satisfaction"]


@dataclass(frozen=True, slots=True)
class Quantifiers:
    """How the truths of R rules on n rows are joined. Hashable: compiled code takes it as it is.

    Attributes:
        existential: which of the rules ask for some row; the others ask for every row.
        p_forall: p of the p-mean-error over rows.
        p_exists: p of the p-mean over rows.
        p_rules: p of the p-mean-error over rules, SatAgg's.

    Raises:
        ConfigError: a p that is not a finite number >= 1.
    """

    existential: tuple[int, ...] = ()
    p_forall: float = 2.0
    p_exists: float = 2.0
    p_rules: float = 2.0

    def __post_init__(self) -> None:
        for name in ("p_forall", "p_exists", "p_rules"):
            p = getattr(self, name)
            # Written so that NaN, which compares false with everything, is caught too.
            if not 1 <= p < math.inf:
                raise ConfigError(
                    f"logic.{name} = {p}; nothing was loaded; use a finite number >= 1, 2 by default"
                )

    @classmethod
    def of(cls, exists: Sequence[bool], logic: LogicSettings) -> Quantifiers:
        """Of rules of which these are existential, under these settings."""
        chosen = tuple(number for number, some in enumerate(exists) if some)
        return cls(chosen, logic.p_forall, logic.p_exists, logic.p_rules)

    @property
    def is_plain(self) -> bool:
        """Whether every rule is universal and p is 2 over rows and rules."""
        return not self.existential and self.p_forall == self.p_rules == 2.0

    def taken(self, rules: Sequence[int]) -> Quantifiers:
        """Those of some of the rules, in this order."""
        chosen = tuple(place for place, rule in enumerate(rules) if rule in self.existential)
        return replace(self, existential=chosen)


UNIVERSAL = Quantifiers()


def rule_truths(truths: Truth, how: Quantifiers = UNIVERSAL, eps: float = 0.0) -> Truth:
    """Each rule's truth on a domain of rows by its own quantifier; [R] of the namespace of `truths`.

    Args:
        truths: [n, R], a row's truth of each rule.
        how: which rules are existential, and the p of both quantifiers.
        eps: stable variant of both.
    """
    if not how.existential:
        return connectives.forall(truths, how.p_forall, eps)
    exists = np.isin(np.arange(truths.shape[1]), how.existential)
    if how.p_forall == how.p_exists:
        return connectives.quantified(truths, exists, how.p_forall, eps)
    every = connectives.forall(truths, how.p_forall, eps)
    xp = connectives.namespace(truths)
    return xp.where(exists, connectives.exists(truths, how.p_exists, eps), every)


def sat_agg(truths: Truth, weights: Truth, how: Quantifiers = UNIVERSAL, eps: float = 0.0) -> Truth:
    """SatAgg: the weighted p-mean-error over the rules' truths on a domain of rows; 1 without rules.

    Args:
        truths: [n, R], a row's truth of each rule.
        weights: [R], not negative.
        how: the rules' quantifiers and every p.
        eps: stable variant of the quantifiers and of the mean.

    Returns:
        A scalar array of the namespace of `truths`.
    """
    return across_rules(rule_truths(truths, how, eps), weights, how, eps)


def across_rules(closed: Truth, weights: Truth, how: Quantifiers = UNIVERSAL, eps: float = 0.0) -> Truth:
    """`sat_agg` from what `rule_truths` said, [R]: for who wants both."""
    return connectives.forall(closed, how.p_rules, eps, weights)


def satisfaction(
    truths: NDArray[np.float64], weights: NDArray[np.float64], how: Quantifiers = UNIVERSAL
) -> float:
    """`sat_agg` of numpy truths as a number."""
    return float(sat_agg(truths, weights, how))
