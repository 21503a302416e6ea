"""A block of rows taken in by one compiled call, where the first in are the first out.

The steps one by one are `Domains.codes`, `Evictor.admit`, `Slots.write`, `Sampler.write` and `Domains.place`, and give
the same bytes; for a frame of a hundred rows most of the time would go into calling them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from janus_memory.replay.law.tree_kernels import assign
from janus_memory.replay.store.domains import KNOWN, look_up, place
from janus_memory.replay.store.slots import check_values, put

if TYPE_CHECKING:
    from janus_memory.replay.law.sampler import Sampler
    from janus_memory.replay.store.domains import Domains
    from janus_memory.replay.store.eviction import Evictor
    from janus_memory.replay.store.slots import Incoming, Slots

__all__ = ["Admitting"]

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
U8 = NDArray[np.uint64]
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Admitting:
    """Takes blocks in over arrays that others own and change."""

    def __init__(self, slots: Slots, domains: Domains, sampler: Sampler, evictor: Evictor) -> None:
        """Over the parts of a store; a new one is due when a part is replaced."""
        self._domains, self._sampler, self._evictor = domains, sampler, evictor
        leaves = sampler.leaves()
        self._arrays: tuple[Any, ...] | None = (
            None if leaves is None else (*slots.written, domains.code, *leaves)
        )

    def take_in(self, rows: Incoming, violation: F4, domain: NDArray[np.bytes_]) -> I4 | None:
        """Write rows over the slots whose turn it is; their slots, int32 [n].

        None, and nothing has been done, where it takes more than that: another eviction, masses that depend on time or
        domain, a store that is empty or in which all priorities are zero.

        Args:
            rows: n rows.
            violation: float32 [n], or [0] for none.
            domain: their domains, bytes [n].

        Raises:
            ReplayError: as `check_values`; nothing was written.
        """
        first, entrance = self._evictor.turn(), self._sampler.entrance()
        if self._arrays is None or first is None or entrance is None:
            return None
        n, domains = len(rows.reward), self._domains
        codes, slots, words = np.empty(n, np.int32), np.empty(n, np.int32), domains.words_of(domain)
        columns: tuple[Any, ...] = (first, *entrance, codes, slots, violation, *rows, *self._arrays)
        row = _take_in(words, 0, *domains.known(), *columns)
        while 0 <= row < n:
            domains.learn(domain[row])
            row = _take_in(words, row, *domains.known(), *columns)
        if row < 0:
            check_values(rows.reward, violation)
        self._evictor.count(n)
        self._sampler.count(n)
        if row > n:
            domains.release()
        return slots


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return kernel


@_compiled
def _take_in(  # noqa: PLR0917  (as the kernels that it calls)
    words: U8,
    begin: int,
    known: U8,
    table: I4,
    domain_rows: I8,
    first: int,
    new_priority: float,
    new_mass: float,
    codes: I4,
    slots: I4,
    new_violation: F4,
    new_state: F4,
    new_action: NDArray[Any],
    new_reward: F4,
    new_next_state: F4,
    new_next_action: NDArray[Any],
    new_done: NDArray[np.uint8],
    new_timestamp: I8,
    state: F4,
    next_state: F4,
    records: Any,
    code: I4,
    priorities: F8,
    masses: F8,
    ahead: F8,
    values: F8,
    sums: F8,
    largest: F8,
    start: I8,
    positive: I8,
) -> int:
    """n, or n + 1 where a domain may have lost its last row.

    Where nothing is written: the first row whose domain is not known, or -1 for a value that is refused.
    """
    n = slots.size
    good = True
    for i in range(n):
        good &= np.isfinite(new_reward[i])
    for i in range(new_violation.size):
        good &= 0 <= new_violation[i] <= 1
    if not good:
        return -1
    row = look_up(words, begin, codes, known, table, KNOWN)
    if row < n:
        return row
    for i in range(n):
        slots[i] = (first + i) % code.size
    put(
        slots,
        new_priority,
        new_violation,
        new_state,
        new_action,
        new_reward,
        new_next_state,
        new_next_action,
        new_done,
        new_timestamp,
        state,
        next_state,
        records,
    )
    assign(
        slots,
        np.full(n, new_priority),
        np.full(n, new_mass),
        priorities,
        masses,
        ahead,
        values,
        sums,
        largest,
        start,
        positive,
    )
    gone = place(slots, codes, code, domain_rows)
    return n + 1 if gone else n
