"""Draw by the law, weigh and gather, in one compiled call.

Step by step this is `Sampler.draw`, `Sampler.probability`, `weighed` and `passes.gather`, and gives the same bytes; at a
few microseconds a step much of the time would go into calling them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from janus_memory.errors import ReplayError
from janus_memory.replay.law.power import power, raised
from janus_memory.replay.law.tree_kernels import descend, descend_grouped
from janus_memory.replay.store.batch import ReplayBatch

if TYPE_CHECKING:
    from janus_memory.replay.store.held import Held
    from janus_memory.replay.store.passes import Source

__all__ = ["Drawing", "weighed"]

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
U4 = NDArray[np.uint32]
F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_I4, _U4, _F8, _F4, _U1, _I8 = (np.dtype(name) for name in ("i4", "u4", "f8", "f4", "u1", "i8"))


def weighed(probability: F8, beta: float, over: float | None) -> F4:
    """Importance weights (over / P)^beta (E9, E10) in numpy; float32 [B].

    Args:
        probability: P of the drawn entries, positive, float64 [B].
        beta: the correction, 1 for unbiased estimates.
        over: the least P of the buffer for its largest weight to be 1, or 1 / N for weights as they are; None takes the
            batch's least.
    """
    least = probability.min(initial=np.inf) if over is None else over
    return raised(least / probability, beta).astype(np.float32)


class Drawing:
    """Draws from a store's arrays, which others own and change."""

    __slots__ = ("_actions", "_compression", "_held", "_kind", "_state_size")

    def __init__(self, held: Held, source: Source, compression: float) -> None:
        """Over all arrays in one struct, those of them that are read, and what batches say of their time."""
        self._held, self._compression = held, compression
        self._state_size, self._actions, self._kind = (
            source.state.shape[1],
            source.action.shape[1:],
            source.action.dtype,
        )

    def batch(
        self,
        uniforms: F8,
        law: tuple[int, float | None, I8 | None],
        weighing: tuple[float, float | None],
        now_ns: int,
    ) -> ReplayBatch:
        """Rows drawn by the law, counted and stamped.

        Args:
            uniforms: float64 [B] in [0, 1).
            law: as `Sampler.standing`, of at least one entry.
            weighing: beta and `over`, as `weighed`.
            now_ns: the stamp.

        Raises:
            ReplayError: a uniform that is not in [0, 1); nothing was counted.
        """
        n = uniforms.size
        states, actions, kind = (n, self._state_size), (n, *self._actions), self._kind
        # Those of a `ReplayBatch`, in its order, and of dtypes that numpy need not look up: this takes as long as the descent.
        columns = (
            np.empty(n, _I4),
            np.empty(n, _U4),
            np.empty(n, _F8),
            np.empty(n, _F4),
            np.empty(states, _F4),
            np.empty(actions, kind),
            np.empty(n, _F4),
            np.empty(states, _F4),
            np.empty(actions, kind),
            np.empty(n, _U1),
            np.empty(n, _I8),
        )
        if not _draw(self._held, uniforms, *law, *weighing, now_ns, *columns):
            raise ReplayError(
                "a uniform to draw with is not in [0, 1); nothing was counted; take it from Generator.random"
            )
        return ReplayBatch._make((*columns, self._compression))


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return kernel


@_compiled
def _draw(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    held: Any,
    uniforms: F8,
    size: int,
    even: float | None,
    present: I8 | None,
    beta: float,
    over: float | None,
    now_ns: int,
    slots: I4,
    out_generation: U4,
    probability: F8,
    weight: F4,
    out_state: F4,
    out_action: NDArray[Any],
    out_reward: F4,
    out_next_state: F4,
    out_next_action: NDArray[Any],
    out_done: NDArray[np.uint8],
    out_timestamp: I8,
) -> bool:
    values, sums, start = held.values, held.sums, held.start
    if present is None:
        good = descend(uniforms, held.ahead, values, sums, start, size, even, slots)
    else:
        good = descend_grouped(uniforms, held.ahead, held.group, values, sums, start, present, slots)
    if not good:
        return False
    _share(held, slots, size, even, present, probability)
    _weigh(probability, beta, over, weight)
    replay_count, last_replayed = held.replay_count, held.last_replayed
    reward, done, timestamp, generation = held.reward, held.done, held.timestamp, held.generation
    for i in range(slots.size):
        slot = np.uint64(slots[i])
        out_reward[i] = reward[slot]
        out_done[i] = done[slot]
        out_timestamp[i] = timestamp[slot]
        out_generation[i] = generation[slot]
        replay_count[slot] += 1
        last_replayed[slot] = now_ns
    _copy(held.action, slots, out_action)
    _copy(held.next_action, slots, out_next_action)
    _copy_wide(held.state, slots, out_state)
    _copy_wide(held.next_state, slots, out_next_state)
    return True


@_compiled
def _share(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    held: Any, slots: I4, size: int, even: float | None, present: I8 | None, probability: F8
) -> None:
    """As `Sampler.probability`."""
    masses, values, sums = held.masses, held.values, held.sums
    total = sums[-1] + values[-1]
    width = held.start[-1]
    for i in range(slots.size):
        slot = np.uint64(slots[i])
        if present is not None:
            last = held.group[slot] * width + width - 1
            total = (sums[last] + values[last]) * present.size
        share = masses[slot] / total
        probability[i] = share if even is None else 0.5 * share + 0.5 / size


@njit(cache=True, nogil=True, fastmath={"nnan"})  # type: ignore[untyped-decorator]  # numba ships no types
def _least(positive: F8) -> float:
    """The least of positive numbers, in vectors: their order does not matter, and none is NaN."""
    least = np.inf
    for i in range(positive.size):
        least = min(least, positive[i])
    return least


@_compiled
def _weigh(probability: F8, beta: float, over: float | None, weight: F4) -> None:
    """As `weighed`."""
    least = _least(probability) if over is None else over
    for i in range(probability.size):
        weight[i] = np.float32(power(least / probability[i], beta))


@_compiled
def _copy(column: NDArray[Any], slots: I4, out: NDArray[Any]) -> None:
    """out[i] = column[slots[i]]; numba drops the branch that does not fit the column's dimensions.

    Indices are unsigned, which lets the loop over a row become vectors.
    """
    if column.ndim == 1:
        for i in range(slots.size):
            out[i] = column[np.uint64(slots[i])]
    else:
        for i in range(slots.size):
            row, slot = np.uint64(i), np.uint64(slots[i])
            for j in range(column.shape[1]):
                out[row, j] = column[slot, j]


@_compiled
def _copy_wide(column: F4, slots: I4, out: F4) -> None:
    """The same for states, two numbers at a time where their count is even."""
    if column.shape[1] % 2 == 0:
        _copy(column.view(np.uint64), slots, out.view(np.uint64))
    else:
        _copy(column, slots, out)
