"""What every way of replaying a chunk of a night shares: its record, and what is refused before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import ReplayError
from janus_memory.replay.night.problem import check_fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.replay.night.learner import LearnerState
    from janus_memory.replay.night.problem import ReplayProblem

__all__ = ["ReplayChunk", "check_beginning", "check_end", "diverged"]


@dataclass(frozen=True, slots=True)
class ReplayChunk:
    """What a chunk of iterations looked like; never fed back.

    Attributes:
        loss: L_total of each iteration's batch, float32 [iterations].
        mean_abs_td: mean |delta| over all rows when all priorities were computed last, float32 [iterations].
        replay_count: how often each row was drawn in this chunk, int32 [N].
        satisfaction: SatAgg of the policy on each batch before the update (1 without rules), float32 [iterations].
        effective_sample_size: 1 / sum P(i)^2 over the buffer at that same moment, float32 [iterations].
    """

    loss: NDArray[np.float32]
    mean_abs_td: NDArray[np.float32]
    replay_count: NDArray[np.int32]
    satisfaction: NDArray[np.float32]
    effective_sample_size: NDArray[np.float32]


def check_beginning(state: LearnerState, problem: ReplayProblem, start: int, stop: int, total: int) -> None:
    """Refuse a chunk before anything is computed.

    Raises:
        InsufficientData: no rows.
        ReplayError: rows that cannot be used, or a chunk that does not begin where the learner stands.
    """
    check_fit(problem, state.fast)
    if state.step != start or not start <= stop <= total:
        raise ReplayError(
            f"replay iterations {start}..{stop} of {total} were asked of a learner at iteration {state.step}; "
            "it is unchanged; resume from the checkpoint that belongs to it"
        )


def check_end(after: LearnerState, chunk: ReplayChunk, start: int) -> None:
    """Refuse a chunk whose training left the finite numbers; the learner given to it still stands.

    Raises:
        ReplayError: a loss, a TD error or a weight is not finite.
    """
    bad = ~(np.isfinite(chunk.loss) & np.isfinite(chunk.mean_abs_td))
    if bad.any() or not all(np.isfinite(value).all() for value in after.fast.values()):
        raise diverged(start + int(bad.argmax()) if bad.any() else after.step)


def diverged(step: int) -> ReplayError:
    """What is raised where training left the finite numbers."""
    return ReplayError(
        f"training left the finite numbers at replay iteration {step}; the learner before this chunk is "
        "unchanged; lower policy.learning_rate, or look for extreme rewards in the night's report"
    )
