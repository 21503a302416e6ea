"""Who learns in a night: the built-in network or a user's own policy, behind one small interface.

What a policy knows is a value of named arrays, as checkpoints and memories hold it; every method is a function of its
arguments. For a user's own policy that means: it is made anew by its factory and made to `load` for each call, so a
night that was killed and one that went on have had the same policy at every checkpoint, whatever `save` leaves out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from janus_memory.errors import CheckpointError
from janus_memory.policy.box import action_box
from janus_memory.policy.factory import PolicySpec, policy_name
from janus_memory.policy.guarded import GuardedPolicy
from janus_memory.policy.slow import slow_update
from janus_memory.policy.store import save_weights
from janus_memory.replay.night.learner import (
    LearnerState,
    begin_night,
    init_learner,
    night_key,
    under_settings,
)
from janus_memory.replay.night.own import OwnLearner, gated_pass
from janus_memory.replay.night.problem import check_problem
from janus_memory.replay.night.stepwise import replay_steps
from janus_memory.store.arrays import write_bytes

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.config import Settings
    from janus_memory.policy.factory import Factory
    from janus_memory.replay.night.chunk import ReplayChunk
    from janus_memory.replay.night.problem import ReplayProblem
    from janus_memory.scale import Scale
    from janus_memory.sleep.memory import Knowledge, Memory
    from janus_memory.sleep.night import Night
    from janus_memory.store.arrays import Arrays

__all__ = ["Learning", "check_policy", "learning_of"]


class Learning(Protocol):
    """The policy of one night; `fast` and `slow` are what its two copies know."""

    def begin(self, known: Knowledge | None) -> tuple[Arrays, Arrays]:
        """Fast and slow as the night finds them: the memory's, or two equal new ones; the night's generator."""

    def td_errors(self, fast: Arrays, problem: ReplayProblem) -> NDArray[np.float32]:
        """TD errors of all rows (E7); float32 [n]."""

    def learn(
        self, fast: Arrays, problem: ReplayProblem, start: int, stop: int
    ) -> tuple[Arrays, ReplayChunk]:
        """Fast after replay iterations start..stop of the night (phase 1)."""

    def consolidate(
        self, slow: Arrays, fast: Arrays, problem: ReplayProblem, gate: NDArray[np.float32]
    ) -> Arrays:
        """Slow after one pass over the newly consolidated rows, weighed by their gates (E19)."""

    def write(self, slow: Arrays, stem: Path) -> tuple[Path, str]:
        """Write the published file; where it is, and its SHA-256."""


def check_policy(settings: Settings, memory: Memory) -> None:
    """Refuse to go on with another policy than the one that the memory was learned by.

    Raises:
        CheckpointError: the factories differ.
    """
    known, asked = memory.knowledge, policy_name(settings.policy)
    if known is not None and known.policy != asked:
        raise CheckpointError(
            f"market {memory.market}: its memory was learned by the policy {known.policy!r} and the settings name "
            f"{asked!r}, which cannot read its weights; nothing was read or changed; set policy.factory back, or "
            "let the other policy begin in a new data_dir"
        )


def learning_of(night: Night, scale: Scale) -> Learning:
    """The night's policy.

    Raises:
        PolicyError: a user's own policy cannot be made.
    """
    if night.factory is None:
        return _BuiltIn(night)
    return _Own(night, night.factory, scale)


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    """The built-in networks: trained by the night's workers. Fast is a `LearnerState`, slow are weights."""

    night: Night

    def begin(self, known: Knowledge | None) -> tuple[Arrays, Arrays]:
        night = self.night
        if known is None:
            spec = night.spec
            first = init_learner(
                spec.state_size,
                spec.action_size,
                night.settings.policy,
                night.seed("policy"),
                spec.action_kind,
            )
            slow = dict(first.fast)
        else:
            first, slow = under_settings(LearnerState.restore(known.fast), night.settings.policy), known.slow
        return begin_night(first, night.seed("replay")).snapshot(), slow

    def td_errors(self, fast: Arrays, problem: ReplayProblem) -> NDArray[np.float32]:
        return self.night.workers.td_errors(LearnerState.restore(fast).fast, problem)

    def learn(
        self, fast: Arrays, problem: ReplayProblem, start: int, stop: int
    ) -> tuple[Arrays, ReplayChunk]:
        after, chunk = self.night.workers.learn(LearnerState.restore(fast), problem, start, stop)
        return after.snapshot(), chunk

    def consolidate(
        self, slow: Arrays, fast: Arrays, problem: ReplayProblem, gate: NDArray[np.float32]
    ) -> Arrays:
        settings, target = self.night.settings, LearnerState.restore(fast).target
        return slow_update(slow, problem, gate, target, settings.policy, settings.replay.batch)

    def write(self, slow: Arrays, stem: Path) -> tuple[Path, str]:
        path = stem.with_name(f"{stem.name}.safetensors")
        told: dict[str, object] = {"cycle_id": self.night.cycle_id}
        if self.night.spec.action_kind == "vector":
            # The head's tanh is turned into an action by them.
            told["action_low"], told["action_high"] = action_box(self.night.spec).tolist()
        return path, save_weights(path, slow, told)


@dataclass(frozen=True, slots=True)
class _Own:
    """A user's own policy, in this process. What it knows is the file that its `save` writes, as bytes."""

    night: Night
    factory: Factory
    scale: Scale

    def begin(self, known: Knowledge | None) -> tuple[Arrays, Arrays]:
        if known is not None:
            return known.fast, known.slow
        first: Arrays = {"policy": self._made("fast").pack()}
        return first, dict(first)

    def td_errors(self, fast: Arrays, problem: ReplayProblem) -> NDArray[np.float32]:
        return self._learner(self._loaded("fast", fast), problem).td_errors()

    def learn(
        self, fast: Arrays, problem: ReplayProblem, start: int, stop: int
    ) -> tuple[Arrays, ReplayChunk]:
        replay, key = self.night.settings.replay, night_key(self.night.seed("replay"))
        policy = self._loaded("fast", fast)
        learner = self._learner(policy, problem)
        chunk = replay_steps(learner, problem, replay, key, start, stop, replay.iterations)
        return {"policy": policy.pack()}, chunk

    def consolidate(
        self, slow: Arrays, fast: Arrays, problem: ReplayProblem, gate: NDArray[np.float32]
    ) -> Arrays:
        del fast  # a policy bootstraps from itself
        if not len(problem):
            return slow
        policy = self._loaded("slow", slow)
        gated_pass(policy, problem, gate, self.night.settings.replay.batch)
        return {"policy": policy.pack()}

    def write(self, slow: Arrays, stem: Path) -> tuple[Path, str]:
        path, data = stem.with_name(f"{stem.name}.user"), slow["policy"].tobytes()
        write_bytes(path, data)
        return path, hashlib.sha256(data).hexdigest()

    def _learner(self, policy: GuardedPolicy, problem: ReplayProblem) -> OwnLearner:
        check_problem(problem, self.night.spec.state_size, self.night.spec.action_size)
        return OwnLearner(policy, problem, self.night.settings.replay.block_rows)

    def _loaded(self, speed: Literal["fast", "slow"], arrays: Arrays) -> GuardedPolicy:
        policy = self._made(speed)
        policy.unpack(arrays["policy"])
        return policy

    def _made(self, speed: Literal["fast", "slow"]) -> GuardedPolicy:
        night, settings = self.night, self.night.settings.policy
        spec = PolicySpec(night.spec, settings, self.scale, night.rules, speed)
        return GuardedPolicy(settings.factory, self.factory, spec, night.seed("policy"), night.session_id)
