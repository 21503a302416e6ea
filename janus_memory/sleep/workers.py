"""The night's workers in this process; Ray's give the same values, bit for bit.

Work is cut by its size alone (`blocks_of`), never by the number of workers, and every method is a pure
function of its arguments. That is the whole reason why the executor cannot change a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.atlas.layout import lay_out
from janus_memory.neocortex.assignment import score_block
from janus_memory.replay.swr import learn, td_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from janus_memory.atlas.layout import MapRequest, MapResult
    from janus_memory.config import Settings
    from janus_memory.neocortex.assignment import BankView, BlockScores
    from janus_memory.replay.swr import LearnerState, ReplayChunk, ReplayProblem

__all__ = ["InProcessWorkers", "blocks_of"]


def blocks_of(n: int, size: int) -> list[slice]:
    """The fixed blocks of n rows: every block holds `size` rows but the last."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


class InProcessWorkers:
    """Everything is computed by the caller's own thread (`janus_memory.ports.Workers`)."""

    def __init__(self, settings: Settings) -> None:
        self._replay = settings.replay
        self._policy = settings.policy

    def learn(
        self, state: LearnerState, problem: ReplayProblem, start: int, stop: int
    ) -> tuple[LearnerState, ReplayChunk]:
        """Replay iterations start..stop of the night (phase 1)."""
        return learn(state, problem, self._replay, self._policy, start, stop, self._replay.iterations)

    def td_errors(self, state: LearnerState, problem: ReplayProblem) -> NDArray[np.float32]:
        """TD errors of all rows, block after block; float32 [n]."""
        blocks = blocks_of(len(problem.x), self._replay.block_rows)
        return np.concatenate([td_errors(state, problem, self._policy, rows) for rows in blocks])

    def score(self, view: BankView, blocks: Sequence[NDArray[np.float64]]) -> list[BlockScores]:
        """Score blocks of states against a snapshot of the bank."""
        return [score_block(view, block) for block in blocks]

    def lay_out(self, request: MapRequest) -> MapResult:
        """Draw the map (phase 3)."""
        return lay_out(request)

    def close(self) -> None:
        """Nothing is held."""
