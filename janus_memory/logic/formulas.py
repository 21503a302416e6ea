"""Formulas of the rule language as values: immutable trees that are grounded on a batch of rows.

A term gives a number for each row, a formula a truth for each row. `value` and `truth` walk the tree in the
namespace of the rows: in numpy they compute in float64 and refuse what is not finite; in jax.numpy they can be traced,
compiled and differentiated, and a comparison that meets NaN or infinity has the truth NaN. A constant may stay a
single number: arrays of one number and of n numbers mix as usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import eq, ge, gt, le, lt, mul, ne
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from janus_memory.errors import RuleError
from janus_memory.logic import connectives, curves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from janus_memory.logic.connectives import Truth
    from janus_memory.logic.learned import Learned
    from janus_memory.logic.membership import Shape

__all__ = [
    "Absolute",
    "ActionComponent",
    "ActionIs",
    "And",
    "Belongs",
    "Compare",
    "Feature",
    "Formula",
    "Ground",
    "Implies",
    "LearnedIs",
    "Not",
    "Number",
    "Or",
    "Product",
    "Reward",
    "Sum",
    "Term",
    "condition",
    "needs_outcome",
    "walk",
]

Operator = Literal["<", "<=", ">", ">=", "==", "!="]

_CRISP: dict[Operator, Callable[[Any, Any], Any]] = {"<": lt, "<=": le, ">": gt, ">=": ge, "==": eq, "!=": ne}

# As `connectives.Truth`, or a single number.
Values: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Ground:
    """The rows a formula is grounded on, in the user's own units; all arrays numpy's or all JAX's.

    Attributes:
        state: [n, d], float64 in numpy, JAX's own float there.
        action: int32 [n], or float [n, m] for vector actions.
        next_state, reward: [n, d] and [n] as the state; None where only states and actions are known.
        eps: stable variant of the connectives; 0 is the plain one.
    """

    state: Values
    action: Values
    next_state: Values | None = None
    reward: Values | None = None
    eps: float = 0.0


class Term(Protocol):
    """A number for each row."""

    def value(self, ground: Ground) -> Values:
        """[n] numbers, or one for all rows."""

    def parts(self) -> tuple[Term | Formula, ...]:
        """What it is made of."""


class Formula(Protocol):
    """A truth for each row."""

    def truth(self, ground: Ground) -> Truth:
        """[n] in [0, 1], or one for all rows."""

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

    def value(self, ground: Ground) -> Values:  # noqa: ARG002  (the same on all rows)
        """The constant."""
        return self.number


@dataclass(frozen=True, slots=True)
class Feature(_Leaf):
    """A named feature of the state, or of the next state."""

    index: int
    of_next: bool = False

    def value(self, ground: Ground) -> Values:
        """The feature's column."""
        source = ground.next_state if self.of_next else ground.state
        return _known(source, "next state")[:, self.index]


@dataclass(frozen=True, slots=True)
class Reward(_Leaf):
    """The reward of the row."""

    def value(self, ground: Ground) -> Values:
        """The rewards."""
        return _known(ground.reward, "reward")


@dataclass(frozen=True, slots=True)
class ActionComponent(_Leaf):
    """One component of a vector action."""

    index: int

    def value(self, ground: Ground) -> Values:
        """The component's column."""
        action = ground.action
        if action.ndim != 2 or self.index >= action.shape[1]:
            raise RuleError(
                f"action[{self.index}] does not exist in actions of shape {action.shape[1:]}; "
                "nothing was evaluated; use a component below the action's size"
            )
        return action[:, self.index].astype(ground.state.dtype)


@dataclass(frozen=True, slots=True)
class Sum:
    """Terms added or, where the sign is -1, subtracted."""

    signs: tuple[int, ...]
    terms: tuple[Term, ...]

    def value(self, ground: Ground) -> Values:
        """From left to right."""
        total: Values = 0.0
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

    def value(self, ground: Ground) -> Values:
        """From left to right."""
        return reduce(mul, [term.value(ground) for term in self.terms])

    def parts(self) -> tuple[Term | Formula, ...]:
        """The terms."""
        return self.terms


@dataclass(frozen=True, slots=True)
class Absolute:
    """The absolute value of a term."""

    term: Term

    def value(self, ground: Ground) -> Values:
        """|term|."""
        return abs(self.term.value(ground))

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

    def truth(self, ground: Ground) -> Truth:
        """0 or 1 where crisp, 1/2 at equality where soft."""
        left, right = self.left.value(ground), self.right.value(ground)
        xp, number = connectives.namespace(left, right), ground.state.dtype
        finite = xp.isfinite(left) & xp.isfinite(right)
        if xp is not np:
            return xp.where(finite, self._of(left, right, xp, number), np.nan)
        if not finite.all():
            raise RuleError("a comparison meets NaN or infinity; nothing was evaluated; repair the rows")
        return self._of(left, right, xp, number)

    def _of(self, left: Values, right: Values, xp: Any, number: Any) -> Truth:
        if self.softness is None:
            return xp.asarray(_CRISP[self.operator](left, right), number)
        z = curves.widths(left - right, self.softness, xp)
        if self.operator in {"==", "!="}:
            near = curves.bell(z, xp)
            return near if self.operator == "==" else 1.0 - near
        return curves.sigmoid(z if self.operator in {">", ">="} else -z, xp)

    def parts(self) -> tuple[Term | Formula, ...]:
        """Both sides."""
        return (self.left, self.right)


@dataclass(frozen=True, slots=True)
class Belongs:
    """How far a term belongs to a word, by its membership function."""

    term: Term
    word: str
    shape: Shape

    def truth(self, ground: Ground) -> Truth:
        """The shape's degree at each value."""
        values = self.term.value(ground)
        xp = connectives.namespace(values)
        finite = xp.isfinite(values)
        if xp is not np:
            return xp.where(finite, self.shape.degree(values, xp), np.nan)
        if not np.all(finite):
            raise RuleError("a membership meets NaN or infinity; nothing was evaluated; repair the rows")
        return self.shape.degree(values, xp)

    def parts(self) -> tuple[Term | Formula, ...]:
        """The term."""
        return (self.term,)


@dataclass(frozen=True, slots=True)
class LearnedIs(_Leaf):
    """How far a learned predicate is true of the state, or of the next state."""

    word: str
    columns: tuple[int, ...]
    predicate: Learned
    of_next: bool

    def truth(self, ground: Ground) -> Truth:
        """The predicate's degree on each row."""
        source = _known(ground.next_state if self.of_next else ground.state, "next state")
        values = source[:, list(self.columns)]
        xp = connectives.namespace(values)
        finite = xp.isfinite(values).all(axis=1)
        if xp is not np:
            return xp.where(finite, self.predicate.degree(values, xp), np.nan)
        if not finite.all():
            raise RuleError("a predicate meets NaN or infinity; nothing was evaluated; repair the rows")
        return self.predicate.degree(values, xp)


@dataclass(frozen=True, slots=True)
class ActionIs(_Leaf):
    """The row's discrete action is the one named (`same`), or is not."""

    index: int
    same: bool

    def truth(self, ground: Ground) -> Truth:
        """0 or 1."""
        return ((ground.action == self.index) == self.same).astype(ground.state.dtype)


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of a formula."""

    formula: Formula

    def truth(self, ground: Ground) -> Truth:
        """1 - a."""
        return connectives.negation(self.formula.truth(ground))

    def parts(self) -> tuple[Term | Formula, ...]:
        """The formula."""
        return (self.formula,)


@dataclass(frozen=True, slots=True)
class And:
    """All of several formulas."""

    formulas: tuple[Formula, ...]

    def truth(self, ground: Ground) -> Truth:
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

    def truth(self, ground: Ground) -> Truth:
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

    def truth(self, ground: Ground) -> Truth:
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
        isinstance(part, Reward) or (isinstance(part, (Feature, LearnedIs)) and part.of_next)
        for part in walk(formula)
    )


def condition(formula: Formula, ground: Ground) -> Truth:
    """How far a formula has something to say of each row; [n] in [0, 1], or one number for all rows.

    `a implies b` applies as far as a holds, `a implies (b implies c)` as far as a and b hold, formulas joined by `and`
    as far as the one that applies most, formulas joined by `or` as far as the one that applies least, and anything
    else always. Where it does not apply a formula is true whatever was done.
    """
    match formula:
        case Implies():
            return formula.condition.truth(ground) * condition(formula.consequence, ground)
        case And() | Or():
            xp = connectives.namespace(ground.state)
            join = xp.maximum if isinstance(formula, And) else xp.minimum
            return reduce(join, [condition(part, ground) for part in formula.formulas])
        case _:
            return np.float64(1.0)


def walk(root: Term | Formula) -> Iterator[Term | Formula]:
    """The formula or term and everything in it."""
    yield root
    for part in root.parts():
        yield from walk(part)


def _known(source: Values | None, what: str) -> Values:
    if source is None:
        raise RuleError(f"a formula mentions the {what}, which is not known here; nothing was evaluated")
    return source
