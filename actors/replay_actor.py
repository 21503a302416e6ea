"""The actor that replays (phase 1). Its methods are pure functions of their arguments, whatever it remembers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from janus_memory.sleep.workers import InProcessWorkers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.config import Settings
    from janus_memory.logic.knowledge import KnowledgeBase
    from janus_memory.replay.night.chunk import ReplayChunk
    from janus_memory.replay.night.learner import LearnerState
    from janus_memory.replay.night.problem import ReplayProblem
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import Transitions

__all__ = ["ReplayActor"]


class ReplayActor:
    """Replays transitions (phase 1); computes TD errors and rule truths of blocks of rows."""

    def __init__(self, settings: Settings) -> None:
        self._here = InProcessWorkers(settings)
        self._name = ""

    def pid(self) -> int:
        """The process; also tells that the actor is up."""
        return os.getpid()

    def replay_iterations(
        self, state: LearnerState, problem: ReplayProblem, start: int, stop: int
    ) -> tuple[LearnerState, ReplayChunk]:
        """Replay iterations start..stop."""
        return self._here.learn(state, problem, start, stop)

    def td_errors_of_blocks(
        self, fast: Arrays, name: str, problem: ReplayProblem, start: int, stop: int
    ) -> NDArray[np.float32]:
        """TD errors of the blocks that make up rows start..stop of the problem of that name.

        What was made of the same rows for an earlier question is kept; a restarted actor makes it again.
        """
        if name != self._name:
            self._name, self._problem = name, problem
        return self._here.block_td_errors(fast, self._problem, slice(start, stop))

    def truths_of_blocks(self, rules: KnowledgeBase, rows: Transitions) -> NDArray[np.float64]:
        """Truth of each rule on each of these rows, which are whole blocks."""
        return self._here.truths(rules, rows)

    def policy_truths_of_blocks(
        self, rules: KnowledgeBase, state: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Truth of each rule at each of these states, which are whole blocks, for each action."""
        return self._here.policy_truths(rules, state)
