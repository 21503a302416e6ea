"""Draw, weigh by the law and gather in one compiled call.

The three steps one by one are `Sampler.draw`, `Sampler.probability` and `passes.gather`, and give the same bytes; at a
few microseconds a step much of the time would go into calling them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from janus_memory.replay.law.tree_kernels import descend
from janus_memory.replay.store.passes import Source, empty_rows, gather_kernel

if TYPE_CHECKING:
    from janus_memory.replay.law.sum_tree import Sums

__all__ = ["Drawing"]

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return kernel


@_compiled
def _draw(  # noqa: PLR0917  (as the kernels that it calls)
    uniforms: F8,
    size: int,
    even: float | None,
    now_ns: int,
    slots: I4,
    probability: F8,
    masses: F8,
    ahead: F8,
    values: F8,
    sums: F8,
    start: I8,
    replay_count: I4,
    last_replayed: I8,
    state: F4,
    action: NDArray[Any],
    reward: F4,
    next_state: F4,
    next_action: NDArray[Any],
    done: NDArray[np.uint8],
    timestamp: I8,
    generation: NDArray[np.uint32],
    out_state: F4,
    out_action: NDArray[Any],
    out_reward: F4,
    out_next_state: F4,
    out_next_action: NDArray[Any],
    out_done: NDArray[np.uint8],
    out_timestamp: I8,
    out_generation: NDArray[np.uint32],
) -> None:
    if not descend(uniforms, masses, ahead, values, sums, start, size, even, slots):
        raise ValueError("a uniform to draw with is not in [0, 1); nothing was counted")
    total = sums[-1] + values[-1]
    for i in range(slots.size):
        share = masses[slots[i]] / total
        if even is not None:
            share = 0.5 * share + 0.5 / size
        probability[i] = share
    gather_kernel(
        slots,
        now_ns,
        replay_count,
        last_replayed,
        state,
        action,
        reward,
        next_state,
        next_action,
        done,
        timestamp,
        generation,
        out_state,
        out_action,
        out_reward,
        out_next_state,
        out_next_action,
        out_done,
        out_timestamp,
        out_generation,
    )


class Drawing:
    """Draws from the sums of one group of entries and reads the rows, over arrays that others own and change."""

    __slots__ = ("_arrays", "_source")

    def __init__(self, sums: Sums, source: Source, replay_count: I4, last_replayed: I8) -> None:
        """Over a sum tree's arrays, the columns and what counts replays, int32 and int64 [N]."""
        self._source = source
        self._arrays = (*sums, replay_count, last_replayed, *source)

    def rows(self, uniforms: F8, size: int, even: float | None, now_ns: int) -> tuple[I4, F8, Source]:
        """Slots, int32 [B], the P of each, float64 [B], and the rows there, which are counted and stamped.

        Args:
            uniforms: float64 [B] in [0, 1).
            size: entries, at least one; they lie in slots 0..size-1.
            even: what each entry weighs above its mass (the uniform half of a mixture); None for nothing.
            now_ns: the stamp.

        Raises:
            ValueError: a uniform that is not in [0, 1).
        """
        n = uniforms.size
        slots, probability, out = np.empty(n, np.int32), np.empty(n), empty_rows(self._source, n)
        _draw(uniforms, size, even, now_ns, slots, probability, *self._arrays, *out)
        return slots, probability, out
