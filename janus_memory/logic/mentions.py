"""What a rule speaks of: the features and actions it mentions, and whether it can train a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from janus_memory.logic import formulas as f

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from janus_memory.logic.grammar import ParsedRule

__all__ = ["Mentions", "mentions", "no_training_reason"]


@dataclass(frozen=True, slots=True)
class Mentions:
    """The parts of a transition that a rule reads.

    Attributes:
        features: indices of the state's features, ascending.
        next_features: indices of the next state's features, ascending.
        reward, action: whether they are mentioned.
        words: the membership functions and learned predicates, by name, each in words.
    """

    features: tuple[int, ...]
    next_features: tuple[int, ...]
    reward: bool
    action: bool
    words: Mapping[str, str]


def mentions(formula: f.Formula) -> Mentions:
    """What a formula reads."""
    parts = list(f.walk(formula))
    of_state, of_next = _columns(parts, of_next=False), _columns(parts, of_next=True)
    return Mentions(
        features=tuple(sorted(of_state)),
        next_features=tuple(sorted(of_next)),
        reward=any(isinstance(part, f.Reward) for part in parts),
        action=any(_is_action(part) for part in parts),
        words={part.word: part.shape.words() for part in parts if isinstance(part, f.Belongs)}
        | {part.word: part.predicate.words() for part in parts if isinstance(part, f.LearnedIs)},
    )


def no_training_reason(rule: ParsedRule, weight: float, features: Sequence[str]) -> str:
    """Why a rule does not train the policy; empty where it does.

    Rules that mention what follows the choice are left out of L_logic; the others that are named have no slope in it.
    """
    read = mentions(rule.formula)
    outcome = ["reward"] if read.reward else []
    outcome += [f"next.{features[index]}" for index in read.next_features]
    if outcome:
        return f"mentions {', '.join(outcome)}, not known when the action is chosen"
    if not read.action:
        return "does not mention the action: it has the same truth whatever is done"
    if not weight:
        return "has weight 0"
    if _only_crisp(rule.formula):
        return "compares the action without softness (~), so that it has no slope"
    return ""


def _only_crisp(formula: f.Formula) -> bool:
    """Whether action components occur, and only in crisp comparisons."""
    judged = [part for part in f.walk(formula) if isinstance(part, (f.Compare, f.Belongs))]
    of_action = [one for one in judged if any(isinstance(part, f.ActionComponent) for part in f.walk(one))]
    return bool(of_action) and all(isinstance(one, f.Compare) and one.softness is None for one in of_action)


def _columns(parts: list[f.Term | f.Formula], *, of_next: bool) -> set[int]:
    """Columns of the state, or of the next state, that features and learned predicates read."""
    named = {part.index for part in parts if isinstance(part, f.Feature) and part.of_next == of_next}
    learned = [part for part in parts if isinstance(part, f.LearnedIs) and part.of_next == of_next]
    return named.union(*(part.columns for part in learned))


def _is_action(part: f.Term | f.Formula) -> bool:
    return isinstance(part, (f.ActionComponent, f.ActionIs))
