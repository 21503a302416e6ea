"""A night's rows under their strategy's law, for replay step by step: renewed by TD errors, drawn from, weighed.

`Fresh` serves nights whose priorities are all computed before every batch; `Kept` remembers them, for nights
that renew a few at a time and for the laws that need more than a row's priority.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.replay.law.exact import refresh_and_draw
from janus_memory.replay.law.laws import importance_weights
from janus_memory.replay.law.sampler import Sampler
from janus_memory.replay.priorities import priorities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.config import ReplaySettings
    from janus_memory.replay.night.problem import ReplayProblem

    F4 = NDArray[np.float32]
    F8 = NDArray[np.float64]
    I4 = NDArray[np.int32]

__all__ = ["Fresh", "Kept", "weighing"]


class Fresh:
    """`prioritized_loss` without a memory: `renew_all` before each draw."""

    def __init__(self, problem: ReplayProblem, replay: ReplaySettings) -> None:
        self._problem = problem
        self._replay = replay

    def renew_all(self, td: F4) -> None:
        """Take the TD errors of all rows, float32 [N]."""
        self._td = td

    def renew(self, td: F4) -> None:
        """Nothing: all rows are renewed before the next draw."""

    def draw(self, uniforms: F8) -> I4:
        """Rows by inverse CDF; int32 [B]."""
        columns = (self._td, self._problem.violation, self._problem.reward)
        self._drawn = refresh_and_draw(*columns, uniforms, self._replay)
        return self._drawn.slots

    def importance(self, beta: float) -> F4:
        """Importance weights of the rows drawn last (E9, E10); float32 [B]."""
        drawn, n = self._drawn, len(self._problem)
        weight = importance_weights(drawn.probability, n, beta, self._replay.normalise, drawn.least)
        return weight.astype(np.float32)

    def effective_sample_size(self) -> float:
        """1 / sum P^2 of the last draw's law."""
        return self._drawn.effective_sample_size


class Kept:
    """Any strategy, with the priorities that were computed last; `renew_all` before the first draw."""

    def __init__(self, problem: ReplayProblem, replay: ReplaySettings) -> None:
        self._problem = problem
        self._replay = replay
        self._sampler = Sampler(len(problem), replay)
        self._all = np.arange(len(problem), dtype=np.int32)

    def renew_all(self, td: F4) -> None:
        """Take the TD errors of all rows, float32 [N]."""
        p = self._priorities(self._all, td)
        if len(self._sampler):
            self._sampler.reprioritize(self._all, p)
        else:
            self._sampler.write(self._all, p, self._problem.domain, self._problem.timestamp)

    def renew(self, td: F4) -> None:
        """Take the TD errors of the rows drawn last, float32 [B]; a row that was drawn twice has one value."""
        self._sampler.reprioritize(self._drawn, self._priorities(self._drawn, td))

    def draw(self, uniforms: F8) -> I4:
        """Rows by inverse CDF; int32 [B]."""
        self._drawn = self._sampler.draw(uniforms)
        return self._drawn

    def importance(self, beta: float) -> F4:
        """Importance weights of the rows drawn last (E9, E10); float32 [B]."""
        normalise = self._replay.normalise
        smallest = self._sampler.min_probability() if normalise == "buffer" else np.inf
        share = self._sampler.probability(self._drawn)
        return importance_weights(share, len(self._problem), beta, normalise, smallest).astype(np.float32)

    def effective_sample_size(self) -> float:
        """1 / sum P^2 of the law as it stands."""
        return self._sampler.effective_sample_size()

    def _priorities(self, rows: I4, td: F4) -> F8:
        return priorities(td, self._problem.violation[rows], self._problem.reward[rows], self._replay)


def weighing(problem: ReplayProblem, replay: ReplaySettings) -> Fresh | Kept:
    """What fits the settings; `Kept` for every night that renews rows between."""
    if replay.refresh == "exact" and replay.strategy == "prioritized_loss":
        return Fresh(problem, replay)
    return Kept(problem, replay)
