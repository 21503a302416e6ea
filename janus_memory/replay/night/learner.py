"""The fast learner's state: weights, target, optimiser and key, as arrays that can be stored (SPEC section 5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import CheckpointError
from janus_memory.policy.networks import init_weights
from janus_memory.policy.optimisers import fits, init_optimiser
from janus_memory.store.arrays import Arrays, subtree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import PolicySettings
    from janus_memory.transition import ActionKind

__all__ = ["LearnerState", "begin_night", "init_learner", "night_key", "under_settings"]


@dataclass(frozen=True, slots=True)
class LearnerState:
    """Everything that decides the next replay iteration; a value, never changed in place.

    Attributes:
        fast: the online network's weights, float32 (`policy.networks`).
        target: the target network's, of the same shapes.
        opt: the optimiser's state (`policy.optimisers`); empty for plain `sgd`.
        key: uint32 [2], the night's random key; iteration t draws from fold_in(key, t).
        step: replay iterations done in this night.
    """

    fast: Arrays
    target: Arrays
    opt: Arrays
    key: NDArray[np.uint32]
    step: int

    def snapshot(self) -> Arrays:
        """All of it as named arrays."""
        arrays: Arrays = {"key": self.key, "step": np.array(self.step, np.int64)}
        for prefix in ("fast", "target", "opt"):
            arrays |= {f"{prefix}/{name}": value for name, value in getattr(self, prefix).items()}
        return arrays

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[np.generic]]) -> LearnerState:
        """The inverse of `snapshot`.

        Raises:
            CheckpointError: a part is missing.
        """
        parts = {prefix: subtree(arrays, f"{prefix}/") for prefix in ("fast", "target", "opt")}
        missing = [name for name in ("key", "step") if name not in arrays]
        missing += [name for name in ("fast", "target") if not parts[name]]
        if missing:
            raise CheckpointError(
                f"the learner's snapshot lacks {', '.join(missing)}; nothing was changed; restore an older checkpoint"
            )
        return cls(**parts, key=arrays["key"].astype(np.uint32), step=int(arrays["step"]))


def init_learner(
    state_size: int, action_size: int, policy: PolicySettings, seed: int, kind: ActionKind = "discrete"
) -> LearnerState:
    """A learner that has seen nothing; the target starts as a copy of the online weights.

    Raises:
        ConfigError: no actions, or a layer without units.
    """
    fast = init_weights(state_size, action_size, policy, seed, kind)
    target = {name: value.copy() for name, value in fast.items()}
    return LearnerState(
        fast=fast, target=target, opt=init_optimiser(fast, policy), key=night_key(seed), step=0
    )


def under_settings(learner: LearnerState, policy: PolicySettings) -> LearnerState:
    """The learner with a new optimiser state where the settings now name another optimiser, else as it is."""
    if fits(learner.opt, learner.fast, policy):
        return learner
    return replace(learner, opt=init_optimiser(learner.fast, policy))


def begin_night(learner: LearnerState, seed: int) -> LearnerState:
    """The learner at the start of a night: a new key, step 0; weights, target and optimiser are kept."""
    return replace(learner, key=night_key(seed), step=0)


def night_key(seed: int) -> NDArray[np.uint32]:
    """A threefry key from a seed of up to 64 bits: its high and low words."""
    return np.array([(seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)
