"""The knowledge base: a market's rules, grounded on transitions and on a policy's choices (SPEC section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.config import LogicSettings
from janus_memory.errors import RuleError
from janus_memory.logic import connectives
from janus_memory.logic.formulas import Ground, condition, needs_outcome
from janus_memory.logic.grammar import Vocabulary, parse_rule
from janus_memory.logic.learned import read_predicates
from janus_memory.logic.membership import read_memberships
from janus_memory.logic.mentions import mentions
from janus_memory.logic.presets import expand
from janus_memory.logic.quantifiers import Quantifiers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from janus_memory.config import MembershipSettings, PredicateSettings, RuleSettings
    from janus_memory.logic.connectives import Truth
    from janus_memory.logic.formulas import Formula
    from janus_memory.logic.grammar import ParsedRule
    from janus_memory.transition import Transitions

    PolicyTruth = Callable[[Truth, Truth], Truth]
    TruthFunction = Callable[[Truth, Truth, Truth, Truth], Truth]
    TruthsFunction = Callable[[Truth, Truth, Truth, Truth], list[Truth]]

__all__ = ["KnowledgeBase", "violations"]


_DEFAULTS = LogicSettings()
_NO_WORDS: Mapping[str, MembershipSettings] = {}
_NO_PREDICATES: Mapping[str, PredicateSettings] = {}


def _truth(formula: Formula, ground: Ground) -> Truth:
    return formula.truth(ground)


@dataclass(frozen=True, slots=True)
class KnowledgeBase:
    """Parsed rules with their weights. Hashable by value: compiled code takes it as it is.

    Attributes:
        names: the rules' names, each once.
        quantifiers: which rules are existential, and every p.
    """

    names: tuple[str, ...]
    quantifiers: Quantifiers
    _weights: tuple[float, ...]
    _rules: tuple[ParsedRule, ...] = field(repr=False)
    _n_actions: int
    _eps: float

    @classmethod
    def parse(
        cls,
        rules: Sequence[RuleSettings],
        features: Sequence[str],
        action_names: Sequence[str] = (),
        *,
        n_actions: int = 0,
        action_dim: int = 0,
        eps: float = 0.0,
        logic: LogicSettings = _DEFAULTS,
        memberships: Mapping[str, MembershipSettings] = _NO_WORDS,
        predicates: Mapping[str, PredicateSettings] = _NO_PREDICATES,
    ) -> KnowledgeBase:
        """Read a market's rules.

        Args:
            rules: name, text and weight of each; presets are written out.
            features: feature names in the order of the state.
            action_names: names of discrete actions, in the order of their indices; may be empty.
            n_actions: number of discrete actions where they have no names; without both, actions are vectors.
            action_dim: components of a vector action; 0 where that is seen only on rows.
            eps: stable variant of the connectives (`connectives.STABLE`); 0 is the plain one.
            logic: p of the quantifiers and of SatAgg.
            memberships: membership functions by name.
            predicates: learned predicates by name; their files are read.

        Raises:
            ConfigError: a p cannot be used.
            RuleError: a rule, a membership or a predicate cannot be read, a rule's weight is not a finite number >= 0,
                or a name occurs twice.
        """
        known = Vocabulary(
            tuple(features),
            tuple(action_names),
            n_actions or len(action_names),
            action_dim,
            memberships=read_memberships(memberships),
            predicates=read_predicates(predicates, features),
        )
        rules = expand(rules, known)
        seen: set[str] = set()
        for rule in rules:
            if rule.name in seen:
                raise RuleError(f"rule {rule.name!r} occurs twice; nothing was loaded; rename one of them")
            if not (math.isfinite(rule.weight) and rule.weight >= 0):
                raise RuleError(
                    f"rule {rule.name!r}: weight {rule.weight}; nothing was loaded; use a number >= 0"
                )
            seen.add(rule.name)
        parsed = tuple(parse_rule(rule.name, rule.text, known) for rule in rules)
        return cls(
            names=tuple(rule.name for rule in rules),
            quantifiers=Quantifiers.of([rule.quantifier == "exists" for rule in parsed], logic),
            _weights=tuple(float(rule.weight) for rule in rules),
            _rules=parsed,
            _n_actions=known.n_actions,
            _eps=eps,
        )

    @property
    def weights(self) -> NDArray[np.float64]:
        """The rules' weights, not negative; float64 [R]."""
        return np.array(self._weights, np.float64)

    def truths(self, rows: Transitions) -> NDArray[np.float64]:
        """Truth of each rule on each transition, its outer quantifier dropped; float64 [n, R].

        Raises:
            RuleError: a rule meets NaN or infinity, or an action component that does not exist.
        """
        return np.asarray(self._columns(self._every_rule(), self._rows(rows)), np.float64)

    def conditions(self, rows: Transitions) -> NDArray[np.float64]:
        """How far each rule has something to say on each transition; float64 [n, R] in [0, 1].

        The truth of what stands before `implies`; 1 for a rule without a condition (`formulas.condition`).

        Raises:
            RuleError: as `truths`.
        """
        return np.asarray(self._columns(self._every_rule(), self._rows(rows), condition), np.float64)

    def truth_function(self, eps: float = 0.0) -> TruthFunction:
        """`truths` as a function of arrays, for JAX to trace, compile and differentiate.

        The function takes state and next_state float [n, d], action int32 [n] or float [n, m], and reward float [n],
        in the user's own units, and returns [n, R] in [0, 1]. On JAX arrays it works in JAX's own precision and has
        NaN where a rule meets NaN or infinity; on numpy arrays it computes in float64 and refuses them.

        Args:
            eps: stable variant of the connectives.
        """

        def truth(state: Truth, action: Truth, next_state: Truth, reward: Truth) -> Truth:
            return self._columns(self._every_rule(), _ground(state, action, next_state, reward, eps=eps))

        return truth

    def truth_of_each(self, eps: float = 0.0) -> TruthsFunction:
        """`truth_function`, but as a list of R arrays [n]: for compiled code that wants them side by side."""

        def truths(state: Truth, action: Truth, next_state: Truth, reward: Truth) -> list[Truth]:
            return self._each(self._every_rule(), _ground(state, action, next_state, reward, eps=eps))

        return truths

    def columns_read(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Indices of the state's features that some rule reads, and of the next state's; ascending."""
        read = [mentions(rule.formula) for rule in self._rules]
        return (
            tuple(sorted({index for one in read for index in one.features})),
            tuple(sorted({index for one in read for index in one.next_features})),
        )

    def policy_truths(
        self, state: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], tuple[str, ...], tuple[str, ...]]:
        """Truth of each rule at each state for each discrete action: truth(s, a) of L_logic.

        Args:
            state: float32 [n, d], the user's own units.

        Returns:
            float32 [n, Rp, A], the Rp rules used, and the rules left out because they mention the reward or
            the next state.

        Raises:
            RuleError: the market's actions are vectors, or a rule meets NaN.
        """
        if not self._n_actions:
            raise RuleError(
                "policy truths are tabulated for discrete actions and this market's are vectors; "
                "nothing was evaluated"
            )
        used, left_out = self._policy_rules()
        values = state.astype(np.float64)
        table = np.zeros((len(state), len(used), self._n_actions), np.float32)
        for action in range(self._n_actions):
            chosen = np.full(len(state), action, np.int32)
            table[:, :, action] = self._columns(used, Ground(values, chosen, eps=self._eps))
        return table, self._named(used), self._named(left_out)

    def policy_truth_function(
        self, eps: float = connectives.STABLE
    ) -> tuple[PolicyTruth, tuple[str, ...], tuple[str, ...]]:
        """Truth of each rule at given states under given action vectors, differentiable in both, for L_logic at pi(s).

        The function takes states float [n, d] in the user's own units and actions float [n, m], and returns
        [n, Rp] in [0, 1]. On JAX arrays it can be traced, compiled and differentiated, in JAX's own precision, and
        has NaN where a rule meets NaN or infinity; on numpy arrays it computes in float64 and refuses them. A crisp
        comparison has no slope: what it says of an action trains nothing.

        Args:
            eps: stable variant of the connectives.

        Returns:
            The function, the Rp rules used, and the rules left out because they mention the reward or the next state.

        Raises:
            RuleError: the market's actions are discrete. The function itself raises it for an action component
                that does not exist, when it is traced.
        """
        if self._n_actions:
            raise RuleError(
                "this market's actions are discrete; nothing was evaluated; policy_truths tabulates their truths"
            )
        used, left_out = self._policy_rules()

        def truth(state: Truth, action: Truth) -> Truth:
            return self._columns(used, _ground(state, action, eps=eps))

        return truth, self._named(used), self._named(left_out)

    def quantifiers_of(self, names: Sequence[str]) -> Quantifiers:
        """The quantifiers of some of the rules, in the order of `names`."""
        return self.quantifiers.taken([self.names.index(name) for name in names])

    def policy_rules(self) -> KnowledgeBase:
        """Those that train a policy: of a weight above 0, and of what is known when the action is chosen."""
        used, _ = self._policy_rules()
        kept = [number for number in used if self._weights[number] > 0]
        return replace(
            self,
            names=self._named(kept),
            quantifiers=self.quantifiers.taken(kept),
            _weights=tuple(self._weights[number] for number in kept),
            _rules=tuple(self._rules[number] for number in kept),
        )

    def _every_rule(self) -> Sequence[int]:
        return range(len(self.names))

    def _rows(self, rows: Transitions) -> Ground:
        return _ground(rows.state, rows.action, rows.next_state, rows.reward, eps=self._eps)

    def _policy_rules(self) -> tuple[list[int], list[int]]:
        """The rules that L_logic judges a policy by, and those that mention what follows the choice."""
        known: tuple[list[int], list[int]] = [], []
        for number, rule in enumerate(self._rules):
            known[needs_outcome(rule.formula)].append(number)
        return known

    def _named(self, numbers: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.names[number] for number in numbers)

    def _columns(
        self, numbers: Sequence[int], ground: Ground, ask: Callable[[Formula, Ground], Truth] = _truth
    ) -> Truth:
        """What `ask` says of these rules, [n, len(numbers)], in the namespace and precision of the ground."""
        xp, columns = connectives.namespace(ground.state), self._each(numbers, ground, ask)
        return xp.stack(columns, axis=1) if columns else xp.zeros((len(ground.state), 0))

    def _each(
        self, numbers: Sequence[int], ground: Ground, ask: Callable[[Formula, Ground], Truth] = _truth
    ) -> list[Truth]:
        """`_columns`, not yet joined."""
        xp, n = connectives.namespace(ground.state), len(ground.state)
        columns: list[Truth] = []
        for number in numbers:
            try:
                # Overflow is a verdict, not an accident: a soft comparison saturates, a crisp one refuses.
                with np.errstate(over="ignore", invalid="ignore"):
                    columns.append(xp.broadcast_to(ask(self._rules[number].formula, ground), (n,)))
            except RuleError as error:
                raise RuleError(f"rule {self.names[number]!r}: {error}") from None
        return columns


def violations(truths: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """v_i: weighted mean of 1 - truth over the rules; 0 none violated, 1 all; 0 without rules. float64 [n]."""
    total = np.zeros(len(truths))
    # Rule by rule and not a matrix product: a row's bits do not depend on the batch.
    for column, weight in enumerate(_shares(weights)):
        total += weight * connectives.negation(truths[:, column])
    return np.clip(total, 0.0, 1.0)


def _shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total = weights.sum()
    return weights / total if total > 0 else np.zeros_like(weights)


def _ground(
    state: Truth, action: Truth, next_state: Truth | None = None, reward: Truth | None = None, *, eps: float
) -> Ground:
    """All as JAX arrays where one of them is, in JAX's precision; else as numpy's, all but the action in float64."""
    xp = connectives.namespace(state, action, next_state, reward)
    dtype = np.float64 if xp is np else None
    return Ground(
        state=xp.asarray(state, dtype),
        action=xp.asarray(action),
        next_state=None if next_state is None else xp.asarray(next_state, dtype),
        reward=None if reward is None else xp.asarray(reward, dtype),
        eps=eps,
    )
