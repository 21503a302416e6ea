"""What is said of each rule on a domain of rows: its truth, and how many rows that rests on (SPEC section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from janus_memory.logic.knowledge import rule_truths

if TYPE_CHECKING:
    from janus_memory.logic.knowledge import KnowledgeBase
    from janus_memory.transition import Transitions

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule on a domain of rows.

    Attributes:
        name: the rule's.
        quantifier: which joined the rows.
        truth: of the quantified rule. On an empty domain `forall` is 1 and `exists` 0.
        rows: size of the domain.
        support: of how many rows the rule says anything: the sum over the rows of the truth of what stands before
            `implies`, or all rows for a rule without a condition. 0 on an empty domain: the truth then rests on
            nothing, and a support near 0 says the same of a condition that never held.
    """

    name: str
    quantifier: Literal["forall", "exists"]
    truth: float
    rows: int
    support: float


def judge(rules: KnowledgeBase, rows: Transitions, p: float = 2.0) -> tuple[Verdict, ...]:
    """A verdict on each rule, in their order.

    Args:
        rules: the knowledge base.
        rows: the domain; may be empty.
        p: of the quantifiers.

    Raises:
        RuleError: p < 1, or a rule meets NaN or infinity.
    """
    closed = rule_truths(rules.truths(rows), rules.exists, p)
    support = rules.conditions(rows).sum(axis=0)
    return tuple(
        Verdict(
            name=name,
            quantifier="exists" if rules.exists[number] else "forall",
            truth=float(closed[number]),
            rows=len(rows),
            support=float(support[number]),
        )
        for number, name in enumerate(rules.names)
    )
