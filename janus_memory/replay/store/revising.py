"""Write back how drawn rows were judged, down to the law's sums, in one compiled call (E7, E8).

Step by step this is `passes.judge` and `Sampler.reprioritize`, and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from janus_memory.replay.law.laws import LARGEST_PRIORITY, LEAST_TOTAL
from janus_memory.replay.law.tree_kernels import assign, assign_grouped, powers
from janus_memory.replay.store.passes import refusal

if TYPE_CHECKING:
    from janus_memory.replay.store.held import Held

__all__ = ["Revising"]

I4 = NDArray[np.int32]
U4 = NDArray[np.uint32]
F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_NONE = np.zeros(0, np.float32)
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Revising:
    """Writes to a store's arrays, which others own."""

    __slots__ = ("_held", "_kept", "_p")

    def __init__(self, held: Held) -> None:
        """Over all arrays in one struct, which are changed in place."""
        self._held = held
        self._kept, self._p = np.empty(0, np.int32), np.empty(0)

    def batch(  # noqa: PLR0917  (a batch's columns, in their order)
        self,
        slots: I4,
        generations: U4,
        td: F4,
        violation: F4 | None,
        size: int,
        law: tuple[float, float, float, float | None],
    ) -> tuple[I4, F8, bool]:
        """Write TD errors, priorities and masses of the rows that are still there.

        No group of the law is flat, or this would be wrong (`Sampler.ordinary`).

        Args:
            slots: int32 [B]; of a slot that stands in it twice the last entry counts.
            generations: those the slots had when they were drawn, uint32 [B].
            td: delta, float32 [B].
            violation: v, float32 [B] in [0, 1]; the stored ones if None.
            size: rows held; slots are below it.
            law: lambda_logic, lambda_reward, the floor, and alpha, or None where no row's mass depends on its priority.

        Returns:
            As `passes.judge`, until the next call; and False where `Sampler.settle` is due.

        Raises:
            ReplayError: as `passes.judge`; nothing was written.
        """
        if len(self._kept) != slots.size:
            self._kept, self._p = np.empty(slots.size, np.int32), np.empty(slots.size)
        kept, p = self._kept, self._p
        v = _NONE if violation is None else violation
        n, calm = _revise(self._held, slots, generations, td, v, size, *law, kept, p)
        if n < 0:
            raise refusal(-1 - n, slots, td, violation, size)
        return (kept, p, calm) if n == slots.size else (kept[:n], p[:n], calm)


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return kernel


@_compiled
def _revise(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    held: Any,
    slots: I4,
    generations: U4,
    td: F4,
    violation: F4,
    size: int,
    lambda_logic: float,
    lambda_reward: float,
    floor: float,
    alpha: float | None,
    kept: I4,
    p: F8,
) -> tuple[int, bool]:
    """Rows kept, or -1 - i where row i cannot be used and nothing is written; whether `Sampler.settle` may be left out."""
    n = _judge(held, slots, generations, td, violation, size, lambda_logic, lambda_reward, floor, kept, p)
    if n <= 0:
        return n, True
    kept, p = kept[:n], p[:n]
    mass = np.ones(n) if alpha is None else powers(p, alpha)
    if held.recency.size:
        recency = held.recency
        for i in range(n):
            mass[i] *= recency[kept[i]]
    leaves = held.priorities, held.masses, held.ahead
    above = held.values, held.sums, held.largest, held.start
    if held.group.size:
        code = held.group[kept]
        counts = held.positive, held.members
        assign_grouped(kept, p, mass, code, *leaves, held.group, *above, *counts, held.marked)
    else:
        assign(kept, p, mass, *leaves, *above, held.positive)
    return n, _calm(held, kept)


@_compiled
def _calm(held: Any, slots: I4) -> bool:
    """Whether what masses are relative to is as before: no group of these slots has become flat, no sum tiny."""
    group, positive, last = held.group, held.positive, held.sums.size - 1
    if group.size:
        calm = True
        for slot in slots:
            calm &= positive[group[slot]] > 0
        return calm
    total = held.sums[last] + held.values[last]
    settled: bool = positive[0] > 0 and (held.recency.size == 0 or total >= LEAST_TOTAL)
    return settled


@_compiled
def _judge(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    held: Any,
    slots: I4,
    generations: U4,
    td: F4,
    violation: F4,
    size: int,
    lambda_logic: float,
    lambda_reward: float,
    floor: float,
    kept: I4,
    p: F8,
) -> int:
    """As `passes.judge`; what it returns is as in `_revise`."""
    given = violation.size > 0
    generation, reward, stored, td_error = held.generation, held.reward, held.violation, held.td_error
    n = 0
    for i in range(slots.size):
        slot = slots[i]
        if not (0 <= slot < size and np.isfinite(td[i])):
            return -1 - i
        if given and not 0 <= violation[i] <= 1:
            return -1 - i
        v = np.float64(violation[i]) if given else np.float64(stored[slot])
        value = abs(np.float64(td[i])) + lambda_logic * v + lambda_reward * abs(np.float64(reward[slot]))
        p[n] = max(value, floor)
        kept[n] = slot
        if generation[slot] == generations[i]:
            if p[n] > LARGEST_PRIORITY:
                return -1 - i
            n += 1
    priority, judged = held.priority, held.judged
    n = 0
    for i in range(slots.size):
        slot = np.uint64(slots[i])
        if generation[slot] == generations[i]:
            if given:
                stored[slot] = violation[i]
            td_error[slot] = abs(td[i])
            priority[slot] = p[n]
            judged[slot] = True
            n += 1
    return n
