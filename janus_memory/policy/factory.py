"""A user's own policy by the name of what makes it: `package.module:function` in the settings (`policy.factory`).

The name is looked up in the Python environment that janus runs in, and nowhere else: it comes from the operator's
settings, never from a record, a topic or a checkpoint.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from janus_memory.errors import PolicyError
from janus_memory.policy.protocol import Policy

if TYPE_CHECKING:
    from janus_memory.config import PolicySettings
    from janus_memory.logic.knowledge import KnowledgeBase
    from janus_memory.scale import Scale
    from janus_memory.transition import MarketSpec

__all__ = ["BUILT_IN", "METHODS", "Factory", "PolicySpec", "load_factory", "policy_name"]

BUILT_IN = "built-in"
METHODS = ("td_errors", "update", "action_distribution", "save", "load")


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """What a factory is told of the policy that it is to make.

    Attributes:
        market: names of features and actions, sizes, and the kind of action.
        settings: the `policy` section: gamma, learning_rate, eta_sleep, hidden and the rest, to be used or not.
        scale: by which states and rewards were standardised before the policy sees them; None where they were not.
        rules: the market's rules, in the user's own units; None where there are none to be told.
        speed: "fast" is trained by replay, "slow" by the gated rows of a night (E19) and published.
    """

    market: MarketSpec
    settings: PolicySettings
    scale: Scale | None = None
    rules: KnowledgeBase | None = None
    speed: Literal["fast", "slow"] = "fast"


Factory = Callable[[PolicySpec, int], Policy]


def policy_name(settings: PolicySettings) -> str:
    """The factory's name, or `built-in`: what reports, events and memories call the policy."""
    return settings.factory or BUILT_IN


def load_factory(name: str) -> Factory:
    """The callable that `package.module:function` names.

    Raises:
        PolicyError: the name has another form, its module cannot be imported, or holds no such callable.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise _unusable(name, "it must read package.module:function")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise _unusable(name, f"importing {module_name} raised {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), 1)
            hint = f", but {near[0]}" if near else ""
            raise _unusable(name, f"{module_name} has no {attribute}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise _unusable(name, f"it is a {type(found).__name__}, which cannot be called")
    factory: Factory = found
    return factory


def _unusable(name: str, reason: str) -> PolicyError:
    return PolicyError(
        f"policy.factory {name!r} cannot be used: {reason}; nothing was read or changed; correct the setting, or "
        "install the module where janus runs, then `janus sleep --retry SESSION`"
    )
