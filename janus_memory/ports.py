"""What the core asks of the outside: workers for the night, a place to report progress, a vector store.

`actors` answers with Ray, `janus_memory.sleep.workers` in process; both give the same values, bit for bit,
because every method is a pure function of its arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.atlas.layout import MapRequest, MapResult
    from janus_memory.logic.knowledge import KnowledgeBase
    from janus_memory.neocortex.assignment import BankView, BlockScores
    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.consolidation import Rows
    from janus_memory.neocortex.relaxed import Formed
    from janus_memory.replay.night.chunk import ReplayChunk
    from janus_memory.replay.night.learner import LearnerState
    from janus_memory.replay.night.problem import ReplayProblem
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import Transitions

__all__ = ["Progress", "Workers"]


class Progress(Protocol):
    """Told what a night is doing; may print, log or count."""

    def phase(self, name: str, note: str) -> None:
        """A phase begins, or says something worth a line."""

    def advance(self, name: str, done: int, total: int) -> None:
        """`done` of `total` units of a phase are finished."""


class Workers(Protocol):
    """Who computes a night. Methods are pure functions of their arguments."""

    def learn(
        self, state: LearnerState, problem: ReplayProblem, start: int, stop: int
    ) -> tuple[LearnerState, ReplayChunk]:
        """Replay iterations start..stop of the night (phase 1): in one compiled loop on a replay worker, or step by step."""

    def td_errors(self, fast: Arrays, problem: ReplayProblem) -> NDArray[np.float32]:
        """TD errors of all rows under the online weights `fast`, in fixed blocks over all replay workers; float32 [n]."""

    def truths(self, rules: KnowledgeBase, rows: Transitions) -> NDArray[np.float64]:
        """`rules.truths(rows)` in fixed blocks of rows, over all replay workers where they are many; float64 [n, R]."""

    def policy_truths(self, rules: KnowledgeBase, state: NDArray[np.float32]) -> NDArray[np.float32]:
        """The table of `rules.policy_truths(state)`, in the same way; float32 [n, Rp, A]."""

    def score(self, view: BankView, blocks: Sequence[NDArray[np.float64]]) -> list[BlockScores] | None:
        """Bound the scores of blocks of states against a snapshot of the bank, over all schema shards.

        None where nobody is asked, since the walk itself is as fast; the result of the night is the same.
        """

    def form_schemas(self, background: Background, parts: Sequence[Rows]) -> list[Formed]:
        """Form schemas of each shard's rows on its own (`relaxed`)."""

    def lay_out(self, request: MapRequest) -> MapResult:
        """Draw the map (phase 3)."""

    def close(self) -> None:
        """Release the workers."""
