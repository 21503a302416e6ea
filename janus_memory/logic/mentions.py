"""What a rule speaks of: the features and actions it mentions, and whether it can train a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from janus_memory.logic import formulas as f

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from janus_memory.logic.grammar import ParsedRule
    from janus_memory.logic.membership import Shape

__all__ = ["Mentions", "mentions", "no_training_reason"]


@dataclass(frozen=True, slots=True)
class Mentions:
    """The parts of a transition that a rule reads.

    Attributes:
        features: indices of the state's features, ascending.
        next_features: indices of the next state's features, ascending.
        reward, action: whether they are mentioned.
        memberships: the membership functions, by name, each once.
    """

    features: tuple[int, ...]
    next_features: tuple[int, ...]
    reward: bool
    action: bool
    memberships: Mapping[str, Shape]


def mentions(formula: f.Formula) -> Mentions:
    """What a formula reads."""
    parts = list(f.walk(formula))
    features = [part for part in parts if isinstance(part, f.Feature)]
    return Mentions(
        features=tuple(sorted({one.index for one in features if not one.of_next})),
        next_features=tuple(sorted({one.index for one in features if one.of_next})),
        reward=any(isinstance(part, f.Reward) for part in parts),
        action=any(_is_action(part) for part in parts),
        memberships={part.word: part.shape for part in parts if isinstance(part, f.Belongs)},
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


def _is_action(part: f.Term | f.Formula) -> bool:
    return isinstance(part, (f.ActionComponent, f.ActionIs))
