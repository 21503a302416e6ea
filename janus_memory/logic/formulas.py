"""Formulas of the rule language as values: immutable trees that are grounded on a batch of rows.

A term gives a number for each row, a formula a truth for each row. Nothing is compiled or executed: `value` and
`truth` walk the tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from scipy.special import expit

from janus_memory.errors import RuleError
from janus_memory.logic import connectives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "Absolute",
    "ActionComponent",
    "ActionIs",
    "And",
    "Compare",
    "Feature",
    "Formula",
    "Ground",
    "Implies",
    "Not",
    "Number",
    "Or",
    "Product",
    "Reward",
    "Sum",
    "Term",
    "needs_outcome",
]

Operator = Literal["<", "<=", ">", ">=", "==", "!="]

_CRISP: dict[Operator, np.ufunc] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


@dataclass(frozen=True, slots=True)
class Ground:
    """The rows a formula is grounded on, in the user's own units.

    Attributes:
        state: float64 [n, d].
        action: int32 [n], or float32 [n, m] for vector actions.
        next_state, reward: float64 [n, d] and [n]; None where only states and actions are known.
        eps: stable variant of the connectives; 0 is the plain one.
    """

    state: NDArray[np.float64]
    action: NDArray[np.int32] | NDArray[np.float32]
    next_state: NDArray[np.float64] | None = None
    reward: NDArray[np.float64] | None = None
    eps: float = 0.0


class Term(Protocol):
    """A number for each row."""

    def value(self, ground: Ground) -> NDArray[np.float64]:
        """Float64 [n]."""

    def parts(self) -> tuple[Term | Formula, ...]:
        """What it is made of."""


class Formula(Protocol):
    """A truth for each row."""

    def truth(self, ground: Ground) -> NDArray[np.float64]:
        """Float64 [n] in [0, 1]."""

    def parts(self) -> tuple[Term | Formula, ...]:
        """What it is made of."""


class _Leaf:
    __slots__ = ()

    def parts(self) -> tuple[Term | Formula, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Number(_Leaf):
    """A constant."""

    number: float

    def value(self, ground: Ground) -> NDArray[np.float64]:
        """The constant for each row."""
        return np.full(len(ground.state), self.number)


@dataclass(frozen=True, slots=True)
class Feature(_Leaf):
    """A named feature of the state, or of the next state."""

    index: int
    of_next: bool = False

    def value(self, ground: Ground) -> NDArray[np.float64]:
        """The feature's column."""
        source = ground.next_state if self.of_next else ground.state
        return np.ascontiguousarray(_known(source, "next state")[:, self.index])


@dataclass(frozen=True, slots=True)
class Reward(_Leaf):
    """The reward of the row."""

    def value(self, ground: Ground) -> NDArray[np.float64]:
        """The rewards."""
        return _known(ground.reward, "reward")


@dataclass(frozen=True, slots=True)
class ActionComponent(_Leaf):
    """One component of a vector action."""

    index: int

    def value(self, ground: Ground) -> NDArray[np.float64]:
        """The component's column."""
        action = ground.action
        if action.ndim != 2 or self.index >= action.shape[1]:
            raise RuleError(
                f"action[{self.index}] does not exist in actions of shape {action.shape[1:]}; "
                "nothing was evaluated; use a component below the action's size"
            )
        return action[:, self.index].astype(np.float64)


@dataclass(frozen=True, slots=True)
class Sum:
    """Terms added or, where the sign is -1, subtracted."""

    signs: tuple[int, ...]
    terms: tuple[Term, ...]

    def value(self, ground: Ground) -> NDArray[np.float64]:
        """From left to right."""
        total = np.zeros(len(ground.state))
        for sign, term in zip(self.signs, self.terms, strict=True):
            total = total + sign * term.value(ground)
        return total

    def parts(self) -> tuple[Term | Formula, ...]:
        """The terms."""
        return self.terms


@dataclass(frozen=True, slots=True)
class Product:
    """Terms multiplied."""

    terms: tuple[Term, ...]

    def value(self, ground: Ground) -> NDArray[np.float64]:
        """From left to right."""
        return reduce(np.multiply, [term.value(ground) for term in self.terms])

    def parts(self) -> tuple[Term | Formula, ...]:
        """The terms."""
        return self.terms


@dataclass(frozen=True, slots=True)
class Absolute:
    """The absolute value of a term."""

    term: Term

    def value(self, ground: Ground) -> NDArray[np.float64]:
        """|term|."""
        return np.abs(self.term.value(ground))

    def parts(self) -> tuple[Term | Formula, ...]:
        """The term."""
        return (self.term,)


@dataclass(frozen=True, slots=True)
class Compare:
    """Two terms compared; `softness` None means crisp.

    Softly, < and > are sigmoids of the difference over the softness (so <= is <), == is the membership function
    exp(-(difference / softness)^2 / 2) and != its negation.
    """

    operator: Operator
    left: Term
    right: Term
    softness: float | None

    def truth(self, ground: Ground) -> NDArray[np.float64]:
        """0 or 1 where crisp, 1/2 at equality where soft."""
        left, right = self.left.value(ground), self.right.value(ground)
        if not (np.isfinite(left).all() and np.isfinite(right).all()):
            raise RuleError("a comparison meets NaN or infinity; nothing was evaluated; repair the rows")
        if self.softness is None:
            return np.asarray(_CRISP[self.operator](left, right), np.float64)
        z = (left - right) / self.softness
        if self.operator in {"==", "!="}:
            near = np.exp(-0.5 * z * z)
            return near if self.operator == "==" else 1.0 - near
        return np.asarray(expit(z if self.operator in {">", ">="} else -z), np.float64)

    def parts(self) -> tuple[Term | Formula, ...]:
        """Both sides."""
        return (self.left, self.right)


@dataclass(frozen=True, slots=True)
class ActionIs(_Leaf):
    """The row's discrete action is the one named (`same`), or is not."""

    index: int
    same: bool

    def truth(self, ground: Ground) -> NDArray[np.float64]:
        """0 or 1."""
        return np.asarray((ground.action == self.index) == self.same, np.float64)


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of a formula."""

    formula: Formula

    def truth(self, ground: Ground) -> NDArray[np.float64]:
        """1 - a."""
        return connectives.negation(self.formula.truth(ground))

    def parts(self) -> tuple[Term | Formula, ...]:
        """The formula."""
        return (self.formula,)


@dataclass(frozen=True, slots=True)
class And:
    """All of several formulas."""

    formulas: tuple[Formula, ...]

    def truth(self, ground: Ground) -> NDArray[np.float64]:
        """From left to right."""
        truths = [formula.truth(ground) for formula in self.formulas]
        return reduce(lambda a, b: connectives.conjunction(a, b, ground.eps), truths)

    def parts(self) -> tuple[Term | Formula, ...]:
        """The formulas."""
        return self.formulas


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of several formulas."""

    formulas: tuple[Formula, ...]

    def truth(self, ground: Ground) -> NDArray[np.float64]:
        """From left to right."""
        truths = [formula.truth(ground) for formula in self.formulas]
        return reduce(lambda a, b: connectives.disjunction(a, b, ground.eps), truths)

    def parts(self) -> tuple[Term | Formula, ...]:
        """The formulas."""
        return self.formulas


@dataclass(frozen=True, slots=True)
class Implies:
    """If the first formula then the second."""

    condition: Formula
    consequence: Formula

    def truth(self, ground: Ground) -> NDArray[np.float64]:
        """1 - a + a b."""
        return connectives.implication(
            self.condition.truth(ground), self.consequence.truth(ground), ground.eps
        )

    def parts(self) -> tuple[Term | Formula, ...]:
        """Condition and consequence."""
        return (self.condition, self.consequence)


def needs_outcome(formula: Formula) -> bool:
    """Whether the formula mentions the reward or the next state, which a policy does not know."""
    return any(
        isinstance(part, Reward) or (isinstance(part, Feature) and part.of_next) for part in _walk(formula)
    )


def _walk(root: Term | Formula) -> Iterator[Term | Formula]:
    yield root
    for part in root.parts():
        yield from _walk(part)


def _known(source: NDArray[np.float64] | None, what: str) -> NDArray[np.float64]:
    if source is None:
        raise RuleError(f"a formula mentions the {what}, which is not known here; nothing was evaluated")
    return source
