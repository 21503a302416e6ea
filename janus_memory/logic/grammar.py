"""The rule language: text to formula (LALR by lark; described for risk desks in docs/rules.md).

Names are resolved here, so that an error can point at the column. Rules are data: nothing in them is executed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal, NoReturn, cast

from lark import Lark, Token, Tree, UnexpectedInput

from janus_memory.errors import RuleError
from janus_memory.logic import formulas as f
from janus_memory.logic.refusals import did_you_mean, known_names, shown, syntax_refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from janus_memory.logic.learned import Learned
    from janus_memory.logic.membership import Shape

__all__ = ["MAX_CHARACTERS", "MAX_DEPTH", "MAX_RULES", "ParsedRule", "Vocabulary", "parse_rule"]

MAX_CHARACTERS = 2000
MAX_DEPTH = 32
MAX_RULES = 100

_GRAMMAR = r"""
start: [quantifier ":"] _formula
!quantifier: "forall" | "exists"

_formula: implies | _alternative
implies: _alternative "implies" _formula
_alternative: or | _both
or: _both ("or" _both)+
_both: and | _single
and: _single ("and" _single)+
_single: not | _atom
not: "not" _single
_atom: compare | belongs | belongs_not | learned | learned_not | action_is | "(" _formula ")"

compare: _sum COMPARISON _sum ["~" NUMBER]
belongs: _sum "is" NAME
belongs_not: _sum "is" "not" NAME
learned: subject "is" NAME
learned_not: subject "is" "not" NAME
!subject: "state" | "next"
action_is: "action" COMPARISON (NAME | QUOTED | NUMBER)

_sum: sum | _product
sum: _product (SIGN _product)+
_product: product | _factor
product: _factor ("*" _factor)+
_factor: negative | number | feature | next_feature | reward | component | absolute | "(" _sum ")"
negative: SIGN _factor
number: NUMBER
feature: NAME | QUOTED
next_feature: "next" "." (NAME | QUOTED)
reward: "reward"
component: "action" "[" NUMBER "]"
absolute: "abs" "(" _sum ")"

COMPARISON: "<=" | ">=" | "==" | "!=" | "<" | ">"
SIGN: "+" | "-"
NUMBER: /(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?/
NAME: /[A-Za-z_][A-Za-z0-9_]*/
QUOTED: /"[^"]+"/
%ignore /\s+/
"""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words a market's rules may use.

    Attributes:
        features: feature names in the order of the state.
        actions: names of discrete actions; may be empty.
        n_actions: number of discrete actions; 0 means vector actions.
        action_dim: components of a vector action; 0 where that is not known, and seen only on rows.
        memberships: membership functions by name.
        predicates: learned predicates by name; their features are the market's.
    """

    features: tuple[str, ...]
    actions: tuple[str, ...]
    n_actions: int
    action_dim: int = 0
    memberships: Mapping[str, Shape] = field(default_factory=dict)
    predicates: Mapping[str, Learned] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParsedRule:
    """A rule as read: how its rows are joined, and what is to hold on one row."""

    quantifier: Literal["forall", "exists"]
    formula: f.Formula


def parse_rule(name: str, text: str, vocabulary: Vocabulary) -> ParsedRule:
    """Read one rule.

    Args:
        name: the rule's name, for messages.
        text: the rule, at most `MAX_CHARACTERS` long and nested at most `MAX_DEPTH` deep.
        vocabulary: the market's words.

    Raises:
        RuleError: names the rule, the column (from 1) and the unknown word with the nearest known one.
    """
    if len(text) > MAX_CHARACTERS:
        raise RuleError(
            f"rule {name!r}: {len(text)} characters, more than {MAX_CHARACTERS}; nothing was loaded; "
            "split it into several rules"
        )
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        column, why = syntax_refusal(
            text, error, (*vocabulary.features, *vocabulary.actions, *vocabulary.memberships)
        )
        raise RuleError(
            f"rule {name!r}, column {column}: {why}; nothing was loaded; docs/rules.md describes the language"
        ) from None
    _refuse_depth(name, tree)
    return _Reader(name, vocabulary).rule(tree)


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=True)


def _refuse_depth(name: str, tree: Tree[Token]) -> None:
    # A stack of its own: Python's would overflow on exactly what is to be refused.
    waiting: list[tuple[Tree[Token], int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise RuleError(
                f"rule {name!r}: nested more than {MAX_DEPTH} deep; nothing was loaded; "
                "split it into several rules"
            )
        waiting += [(child, depth + 1) for child in node.children if isinstance(child, Tree)]


class _Reader:
    """Turns lark's tree into formulas, resolving names."""

    def __init__(self, name: str, vocabulary: Vocabulary) -> None:
        self._name = name
        self._known = vocabulary

    def rule(self, tree: Tree[Token]) -> ParsedRule:
        quantifier, formula = tree.children
        word = "forall" if quantifier is None else str(cast("Tree[Token]", quantifier).children[0])
        return ParsedRule(
            "exists" if word == "exists" else "forall",
            self._formula(cast("Tree[Token]", formula)),
        )

    def _formula(self, tree: Tree[Token]) -> f.Formula:  # noqa: PLR0911  (a table: one return for each kind)
        match str(tree.data):
            case "implies":
                return f.Implies(*self._formulas(tree))
            case "or":
                return f.Or(self._formulas(tree))
            case "and":
                return f.And(self._formulas(tree))
            case "not":
                return f.Not(*self._formulas(tree))
            case "belongs":
                return self._belongs(tree)
            case "belongs_not":
                return f.Not(self._belongs(tree))
            case "learned":
                return self._learned(tree)
            case "learned_not":
                return f.Not(self._learned(tree))
            case "action_is":
                return self._action_is(tree)
            case _:
                return self._compare(tree)

    def _formulas(self, tree: Tree[Token]) -> tuple[f.Formula, ...]:
        return tuple(self._formula(child) for child in _trees(tree))

    def _compare(self, tree: Tree[Token]) -> f.Compare:
        left, operator, right, softness = tree.children
        soft = None if softness is None else self._number(cast("Token", softness))
        if soft == 0:
            self._fail(cast("Token", softness), "a softness of 0; leave ~ out for a crisp comparison")
        return f.Compare(
            cast("f.Operator", str(operator)),
            self._term(cast("Tree[Token]", left)),
            self._term(cast("Tree[Token]", right)),
            soft,
        )

    def _belongs(self, tree: Tree[Token]) -> f.Belongs:
        term, word = tree.children
        known, name = self._known.memberships, str(cast("Token", word))
        if name not in known:
            learned = f" (it is a predicate: write state is {name})" if name in self._known.predicates else ""
            self._unknown_word(cast("Token", word), "membership", known, learned)
        return f.Belongs(self._term(cast("Tree[Token]", term)), name, known[name])

    def _learned(self, tree: Tree[Token]) -> f.LearnedIs:
        subject, word = tree.children
        known, name = self._known.predicates, str(cast("Token", word))
        if name not in known:
            drawn = " (it is a membership: it is said of a number)" if name in self._known.memberships else ""
            self._unknown_word(cast("Token", word), "predicate", known, drawn)
        columns = tuple(self._known.features.index(feature) for feature in known[name].features)
        of_next = str(cast("Tree[Token]", subject).children[0]) == "next"
        return f.LearnedIs(name, columns, known[name], of_next=of_next)

    def _action_is(self, tree: Tree[Token]) -> f.ActionIs:
        operator, which = _tokens(tree)
        if operator not in {"==", "!="}:
            self._fail(operator, f"actions are only compared by == and !=, not by {str(operator)!r}")
        if not self._known.n_actions:
            self._fail(which, "this market's actions are vectors; compare a component, as in action[0] > 0")
        if which.type == "NUMBER":
            index = self._index(which)
            if index >= self._known.n_actions:
                self._fail(which, f"action {index} does not exist; there are {self._known.n_actions}, from 0")
        else:
            index = self._lookup(which, self._known.actions, "action")
        return f.ActionIs(index, same=operator == "==")

    def _term(self, tree: Tree[Token]) -> f.Term:  # noqa: PLR0911  (a table: one return for each kind)
        match str(tree.data):
            case "sum":
                signs = (1, *(_sign(token) for token in _tokens(tree)))
                return f.Sum(signs, self._terms(tree))
            case "product":
                return f.Product(self._terms(tree))
            case "negative":
                return f.Sum((_sign(_tokens(tree)[0]),), self._terms(tree))
            case "absolute":
                return f.Absolute(*self._terms(tree))
            case "number":
                return f.Number(self._number(_tokens(tree)[0]))
            case "reward":
                return f.Reward()
            case "component":
                return self._component(_tokens(tree)[0])
            case kind:
                index = self._lookup(_tokens(tree)[0], self._known.features, "feature")
                return f.Feature(index, of_next=kind == "next_feature")

    def _terms(self, tree: Tree[Token]) -> tuple[f.Term, ...]:
        return tuple(self._term(child) for child in _trees(tree))

    def _component(self, token: Token) -> f.ActionComponent:
        if self._known.n_actions:
            self._fail(token, "this market's actions are discrete; write action == NAME")
        index, dim = self._index(token), self._known.action_dim
        if dim and index >= dim:
            self._fail(token, f"action[{index}] does not exist; actions have {dim} components, from 0")
        return f.ActionComponent(index)

    def _number(self, token: Token) -> float:
        number = float(token)
        if not math.isfinite(number):
            self._fail(token, f"the number {token[:20]} is too large")
        return number

    def _index(self, token: Token) -> int:
        # Length first: Python refuses to convert thousands of digits, by another error.
        if not token.isdecimal() or len(token) > 9:
            self._fail(token, f"an action's index is a whole number, not {token[:20]}")
        return int(token)

    def _lookup(self, token: Token, known: tuple[str, ...], kind: str) -> int:
        word = str(token).strip('"') if token.type == "QUOTED" else str(token)
        if word not in known:
            hint = did_you_mean(word, known if kind == "action" else (*known, "action", "reward"))
            hint = hint or f"; known: {known_names(known)}"
            self._fail(token, f"unknown {kind} {shown(word)}{hint}")
        return known.index(word)

    def _unknown_word(self, token: Token, kind: str, known: Collection[str], hint: str) -> NoReturn:
        place = "" if known else f"; define it in [markets.NAME.{kind}s]"
        hint = hint or did_you_mean(str(token), known) or f"; known: {known_names(known)}{place}"
        self._fail(token, f"unknown {kind} {shown(str(token))}{hint}")

    def _fail(self, token: Token, what: str) -> NoReturn:
        raise RuleError(
            f"rule {self._name!r}, column {(token.start_pos or 0) + 1}: {what}; nothing was loaded"
        )


def _sign(token: Token) -> int:
    return -1 if str(token) == "-" else 1


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tokens(tree: Tree[Token]) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]
