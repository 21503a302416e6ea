"""The night's workers in this process; Ray's give the same values, bit for bit.

Work is cut by its size alone (`blocks_of`), never by the number of workers, and every method is a pure
function of its arguments. That is the whole reason why the executor cannot change a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.atlas.layout import lay_out
from janus_memory.neocortex.relaxed import form_schemas
from janus_memory.replay.night import stepwise, swr
from janus_memory.replay.night.blocks import block_of, blocks_of, td_errors
from janus_memory.replay.night.problem import check_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from janus_memory.atlas.layout import MapRequest, MapResult
    from janus_memory.config import Settings
    from janus_memory.logic.knowledge import KnowledgeBase
    from janus_memory.neocortex.assignment import BankView, BlockScores
    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.consolidation import Rows
    from janus_memory.neocortex.relaxed import Formed
    from janus_memory.replay.night.blocks import Block
    from janus_memory.replay.night.chunk import ReplayChunk
    from janus_memory.replay.night.learner import LearnerState
    from janus_memory.replay.night.problem import ReplayProblem
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import Transitions

__all__ = ["InProcessWorkers"]


class InProcessWorkers:
    """Everything is computed by the caller's own thread (`janus_memory.ports.Workers`)."""

    def __init__(self, settings: Settings) -> None:
        self._replay = settings.replay
        self._policy = settings.policy
        self._neocortex = settings.neocortex
        self._held: tuple[ReplayProblem, dict[int, Block]] | None = None

    def learn(
        self, state: LearnerState, problem: ReplayProblem, start: int, stop: int
    ) -> tuple[LearnerState, ReplayChunk]:
        """Replay iterations start..stop of the night (phase 1)."""
        replay, policy = self._replay, self._policy
        if not stepwise.is_stepwise(replay, len(problem)):
            return swr.learn(state, problem, replay, policy, start, stop, replay.iterations)
        return stepwise.learn(
            state,
            problem,
            replay,
            policy,
            start,
            stop,
            replay.iterations,
            lambda fast: self.block_td_errors(fast, problem, slice(0, len(problem))),
        )

    def td_errors(self, fast: Arrays, problem: ReplayProblem) -> NDArray[np.float32]:
        """TD errors of all rows, block after block; float32 [n]."""
        check_fit(problem, fast)
        return self.block_td_errors(fast, problem, slice(0, len(problem)))

    def block_td_errors(self, fast: Arrays, problem: ReplayProblem, rows: slice) -> NDArray[np.float32]:
        """TD errors of some rows, which are whole blocks of a checked problem; float32, one a row."""
        blocks = [
            block
            for block in blocks_of(len(problem), self._replay.block_rows)
            if rows.start <= block.start < rows.stop
        ]
        gamma = self._policy.gamma
        return np.concatenate([td_errors(fast, self._block(problem, block), gamma) for block in blocks])

    def truths(self, rules: KnowledgeBase, rows: Transitions) -> NDArray[np.float64]:
        """`rules.truths(rows)`, block after block; float64 [n, R]."""
        blocks = blocks_of(len(rows), self._replay.block_rows) or [slice(0, 0)]
        return np.concatenate([rules.truths(rows.take(block)) for block in blocks])

    def policy_truths(self, rules: KnowledgeBase, state: NDArray[np.float32]) -> NDArray[np.float32]:
        """The table of `rules.policy_truths(state)`, block after block; float32 [n, Rp, A]."""
        blocks = blocks_of(len(state), self._replay.block_rows) or [slice(0, 0)]
        return np.concatenate([rules.policy_truths(state[block])[0] for block in blocks])

    def score(self, view: BankView, blocks: Sequence[NDArray[np.float64]]) -> list[BlockScores] | None:  # noqa: ARG002  (a port's arguments)
        """None: the walk scores for itself, in this very thread."""
        return None

    def form_schemas(self, background: Background, parts: Sequence[Rows]) -> list[Formed]:
        """Form schemas of each shard's rows, one shard after the other."""
        return [form_schemas(background, part, self._neocortex) for part in parts]

    def lay_out(self, request: MapRequest) -> MapResult:
        """Draw the map (phase 3)."""
        return lay_out(request)

    def close(self) -> None:
        """Forget the rows."""
        self._held = None

    def _block(self, problem: ReplayProblem, rows: slice) -> Block:
        """A block of the problem that was asked about last, made once."""
        if self._held is None or self._held[0] is not problem:
            self._held = (problem, {})
        made = self._held[1]
        if rows.start not in made:
            made[rows.start] = block_of(problem, rows)
        return made[rows.start]
