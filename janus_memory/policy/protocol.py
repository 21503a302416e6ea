"""What the online learner and the night ask of a policy: five methods, whatever they are written in (SPEC section 5).

A policy is the user's own object. It sees `Batch` values of numpy arrays and may keep its weights where it likes.
What is asked of it beyond the signatures:

- `td_errors` changes nothing;
- `load` puts it where `save` found it, so that a restored learner goes on bit for bit; equal weights are best saved
  as equal bytes, because a night's digest covers them;
- it reads no clock and draws from no generator that `save` does not keep.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Batch", "Policy"]


@dataclass(frozen=True, slots=True)
class Batch:
    """n transitions as a policy sees them: in the market's scale (always in the night), else in the user's units.

    Attributes:
        state, next_state: float32 [n, d].
        action, next_action: int32 [n] (discrete) or float32 [n, m] (vector). A next action that is not known is
            -1, or a row of NaN.
        reward: float32 [n].
        done: uint8 [n], 1 where the episode ends with this row and nothing follows it.
    """

    state: NDArray[np.float32]
    action: NDArray[np.int32] | NDArray[np.float32]
    reward: NDArray[np.float32]
    next_state: NDArray[np.float32]
    next_action: NDArray[np.int32] | NDArray[np.float32]
    done: NDArray[np.uint8]

    @classmethod
    def concatenate(cls, parts: Sequence[Batch]) -> Batch:
        """All rows of `parts` (at least one), in the order given."""
        names = [f.name for f in dataclasses.fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def __len__(self) -> int:
        return len(self.reward)


class Policy(Protocol):
    """How an agent values and chooses actions, and how it learns."""

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """TD error delta = r + gamma Q(s', a') - Q(s, a) of each row under the present weights (E7); float32 [n].

        What follows is 0 where `done`, and max_a Q(s', a) or Q(s', pi(s')) where a' is not known.
        """

    def update(self, batch: Batch, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Learn from a batch once; the loss of each row before the update, not weighted, float32 [n].

        Args:
            batch: the rows; a row may occur more than once.
            weights: float32 [n], >= 0; row i's loss counts weights[i] / n of the batch's (E11).
        """

    def action_distribution(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of each discrete action, or the action vector, at each state [n, d]; float32 [n, A]."""

    def save(self, path: Path) -> None:
        """Write everything that decides what happens next into this one file."""

    def load(self, path: Path) -> None:
        """Read what `save` wrote into that file."""
