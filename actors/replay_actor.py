"""The actor that replays (phase 1). It holds settings only; methods are pure functions of their arguments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from janus_memory.replay.swr import td_errors
from janus_memory.sleep.workers import InProcessWorkers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.config import Settings
    from janus_memory.replay.swr import LearnerState, ReplayChunk, ReplayProblem

__all__ = ["ReplayActor"]


class ReplayActor:
    """Replays transitions (phase 1) and computes TD errors of blocks of rows."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._here = InProcessWorkers(settings)

    def pid(self) -> int:
        """The process; also tells that the actor is up."""
        return os.getpid()

    def replay_iterations(
        self, state: LearnerState, problem: ReplayProblem, start: int, stop: int
    ) -> tuple[LearnerState, ReplayChunk]:
        """Replay iterations start..stop."""
        return self._here.learn(state, problem, start, stop)

    def td_errors_of_rows(
        self, state: LearnerState, problem: ReplayProblem, start: int, stop: int
    ) -> NDArray[np.float32]:
        """TD errors of one block of rows."""
        return td_errors(state, problem, self._settings.policy, slice(start, stop))
