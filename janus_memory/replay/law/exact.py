"""One exact refresh and draw: every priority afresh, then a batch by inverse CDF, in one pass (E7, E8).

The specified mode of replay in float64 for learners that hold their TD errors as arrays; the compiled night
(`replay.night.swr`) does the same inside its loop. Rows are drawn in their own order. The result does not depend
on the number of threads.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from janus_memory.errors import ConfigError, InsufficientData, ReplayError
from janus_memory.replay.law import exact_arrays, exact_kernels
from janus_memory.replay.law.exact_kernels import BLOCK, CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from janus_memory.config import ReplaySettings
    from janus_memory.replay.law.sum_tree import Backend

    F4 = NDArray[np.float32]
    F8 = NDArray[np.float64]

__all__ = ["ExactDraw", "refresh_and_draw"]

# Masses of so many rows stay in a core's cache.
_KEPT = 65_536
# Below this a second thread costs more than it saves.
_ROWS_PER_THREAD = 40_000


class ExactDraw(NamedTuple):
    """A batch drawn from freshly computed priorities.

    Attributes:
        slots: rows drawn, int32 [B].
        probability: P of each, float64 [B].
        effective_sample_size: 1 / sum P^2 over all rows.
        least: the least positive P of all rows.
    """

    slots: NDArray[np.int32]
    probability: F8
    effective_sample_size: float
    least: float


def refresh_and_draw(
    td: F4,
    violation: F4,
    reward: F4,
    uniforms: F8,
    settings: ReplaySettings,
    *,
    threads: int = 1,
    backend: Backend = "numba",
) -> ExactDraw:
    """Priorities of all rows (E7), their law (E8) and a batch drawn from it.

    Args:
        td: delta, float32 [n].
        violation: v in [0, 1], float32 [n].
        reward: r, scaled, float32 [n].
        uniforms: float64 [B] in [0, 1).
        settings: the lambdas, floor and alpha; the strategy is `prioritized_loss`.
        threads: how many may compute; the numpy backend uses one.
        backend: compiled, or plain numpy.

    Raises:
        ConfigError: another strategy, or an alpha outside [0, 1].
        InsufficientData: no rows.
        ReplayError: a row of which no priority can be made, or a uniform that is not in [0, 1).
    """
    n = len(td)
    _check(n, settings)
    chunks = -(-n // CHUNK)
    totals, moments = np.empty(-(-n // BLOCK)), np.empty((chunks, 2))
    kept = np.empty(CHUNK * chunks if n <= _KEPT else 0)
    steps = exact_kernels if backend == "numba" else exact_arrays
    numbers = (settings.lambda_logic, settings.lambda_reward, settings.priority_floor, settings.alpha)
    columns = (td, violation, reward, *numbers, totals, kept)
    _divided(steps.refresh, (*columns, moments), _shares(n, threads if backend == "numba" else 1))
    drawn, probability = np.empty(len(uniforms), np.int32), np.empty(len(uniforms))
    total = steps.locate(*columns, uniforms, drawn, probability)
    if total == 0.0:
        return _evenly(n, uniforms)
    if total < 0.0:
        raise ReplayError(
            "a uniform to draw with is not in [0, 1); nothing was changed; take it from Generator.random"
        )
    if not math.isfinite(total):
        row = int(np.argmax(~np.isfinite(exact_arrays.masses(td, violation, reward, *numbers))))
        raise ReplayError(
            f"row {row} has TD error {td[row]}, violation {violation[row]} and reward {reward[row]}, of which no "
            "priority can be made; nothing was changed; look for a network that left the finite numbers"
        )
    return ExactDraw(
        drawn, probability, float(total * total / moments[:, 0].sum()), float(moments[:, 1].min() / total)
    )


def _evenly(n: int, uniforms: F8) -> ExactDraw:
    """Rows of which none counts more than another."""
    drawn = np.minimum((uniforms * n).astype(np.int32), n - 1)
    return ExactDraw(drawn, np.full(len(uniforms), 1.0 / n), float(n), 1.0 / n)


def _divided(refresh: Callable[..., None], arguments: tuple[Any, ...], shares: list[tuple[int, int]]) -> None:
    """Refresh each share of the rows in a thread of its own, the first in this one; the kernel holds no lock."""
    others = [threading.Thread(target=refresh, args=(*arguments, *rows)) for rows in shares[1:]]
    for thread in others:
        thread.start()
    refresh(*arguments, *shares[0])
    for thread in others:
        thread.join()


def _shares(n: int, threads: int) -> list[tuple[int, int]]:
    """Rows (start, stop) of each thread: whole chunks, about equally many."""
    parts = max(1, min(threads, n // _ROWS_PER_THREAD))
    edges = [n * k // parts // CHUNK * CHUNK for k in range(parts)]
    return list(zip(edges, [*edges[1:], n], strict=True))


def _check(n: int, settings: ReplaySettings) -> None:
    if settings.strategy != "prioritized_loss" or not 0 <= settings.alpha <= 1:
        raise ConfigError(
            f"an exact refresh draws by prioritized_loss with alpha in [0, 1], not by {settings.strategy} with "
            f"{settings.alpha}; nothing was computed; use the sampler for other strategies"
        )
    if not n:
        raise InsufficientData("an exact refresh of no rows; nothing was computed; insert rows first")
