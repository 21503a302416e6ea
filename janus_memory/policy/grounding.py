"""A vector market's rules grounded on what the head chooses: truth(s, pi(s)) of L_logic (SPEC section 4)."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from janus_memory.policy.box import in_market_units

if TYPE_CHECKING:
    from janus_memory.logic.knowledge import KnowledgeBase

__all__ = ["VectorGround"]


@functools.partial(jax.tree_util.register_dataclass, data_fields=("state", "box"), meta_fields=("rules",))
@dataclass(frozen=True, slots=True)
class VectorGround:
    """What rules need of B rows. To a compiled function the rules are part of its shape, the rest are its numbers.

    Attributes:
        state: float32 [B, d], the user's own units.
        box: the market's box of actions, float32 [2, m].
        rules: those that do not mention what follows the choice are asked.
    """

    state: jax.Array
    box: jax.Array
    rules: KnowledgeBase

    def take(self, rows: jax.Array) -> VectorGround:
        """Of some of the rows."""
        return replace(self, state=self.state[rows])

    def truths(self, action: jax.Array) -> jax.Array:
        """Truth of each rule at each state under an action in units of the box; [B, m] -> float32 [B, R]."""
        truth, _, _ = self.rules.policy_truth_function()
        truths: jax.Array = truth(self.state, in_market_units(action, self.box))
        return truths.astype(jnp.float32)
