"""A block of rows taken in by one compiled call, where the first in are the first out.

The steps one by one are `Domains.codes`, `Evictor.admit`, `Slots.write`, `Sampler.write` and `Domains.place`, and give
the same bytes; for a frame of a hundred rows most of the time would go into calling them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numba import njit, types
from numba.experimental import structref
from numpy.typing import NDArray

from janus_memory.replay.law.laws import SMALLEST_PRIORITY
from janus_memory.replay.law.tree_kernels import assign
from janus_memory.replay.store.domains import KNOWN, look_up, place
from janus_memory.replay.store.slots import check_values, lay_around, put_narrow

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
_I4 = np.dtype("i4")
# What `_take_in` returns: all is written, and then a domain may have lost its last row; or nothing is written.
_DONE, _GONE, _REFUSED, _OTHER_PRIORITY, _NEW_DOMAIN = range(5)
_NO_PRIORITY = (0.0, 0.0)


@structref.register
class _Type(types.StructRef):  # type: ignore[misc]  # numba ships no types
    """The struct as compiled code knows it."""


class _Arrays(structref.StructRefProxy):  # type: ignore[misc]  # numba ships no types
    """All arrays that are written or looked up, as one argument (as `held.Held`, and for the same reason)."""


_SLOTS = ("state", "next_state", "records")
_DOMAINS = ("code", "names", "table", "rows")
_LEAVES = ("priorities", "masses", "ahead", "values", "sums", "largest", "start", "positive")
structref.define_proxy(_Arrays, _Type, (*_SLOTS, *_DOMAINS, *_LEAVES))


@njit(cache=True)  # type: ignore[untyped-decorator]  # numba ships no types
def _packed(*arrays: Any) -> Any:
    return _Arrays(*arrays)


class Admitting:
    """Takes blocks in over arrays that others own and change."""

    def __init__(self, slots: Slots, domains: Domains, sampler: Sampler, evictor: Evictor) -> None:
        """Over the parts of a store; a new one is due when a part is replaced."""
        self._domains, self._sampler, self._evictor = domains, sampler, evictor
        self._written, self._leaves = slots.written, sampler.leaves()
        self._entrance = _NO_PRIORITY
        self._pack()

    def _pack(self) -> None:
        """Again whenever the domains that are known have changed."""
        self._known = self._domains.known
        self._arrays = (
            None
            if self._leaves is None
            else _packed(*self._written, self._domains.code, *self._known, *self._leaves)
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
        first, domains = self._evictor.turn(), self._domains
        if self._leaves is None or first is None:
            return None
        n, columns = len(rows.reward), cast("tuple[Any, ...]", rows)
        slots, words = np.empty(n, _I4), domains.words_of(domain)
        while True:
            if self._known is not domains.known:
                self._pack()
            outcome = _take_in(self._arrays, words, first, *self._entrance, slots, violation, *columns)
            if outcome == _NEW_DOMAIN:
                domains.codes(domain)
            elif outcome == _OTHER_PRIORITY:
                entrance = self._sampler.entrance()
                if entrance is None:
                    return None
                self._entrance = entrance
            else:
                break
        if outcome == _REFUSED:
            check_values(rows.reward, violation)
        self._evictor.count(n)
        self._sampler.count(n)
        if outcome == _GONE:
            domains.release()
        return slots


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return kernel


@_compiled
def _take_in(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    held: Any,
    words: U8,
    first: int,
    new_priority: float,
    new_mass: float,
    slots: I4,
    new_violation: F4,
    new_state: F4,
    new_action: NDArray[Any],
    new_reward: F4,
    new_next_state: F4,
    new_next_action: NDArray[Any],
    new_done: NDArray[np.uint8],
    new_timestamp: I8,
) -> int:
    n = slots.size
    good = True
    for i in range(n):
        good &= np.isfinite(new_reward[i])
    for i in range(new_violation.size):
        good &= 0 <= new_violation[i] <= 1
    if not good:
        return _REFUSED
    largest, start, code = held.largest, held.start, held.code
    top = largest[start[start.size - 2] :].max()
    if top < SMALLEST_PRIORITY or top != new_priority:
        return _OTHER_PRIORITY
    codes = np.empty(n, np.int32)
    if look_up(words, 0, codes, held.names, held.table, KNOWN) < n:
        return _NEW_DOMAIN
    slot = first
    for i in range(n):
        slots[i] = slot
        slot = slot + 1 if slot + 1 < code.size else 0
    put_narrow(
        slots,
        new_priority,
        new_violation,
        new_action,
        new_reward,
        new_next_action,
        new_done,
        new_timestamp,
        held.records,
    )
    lay_around(new_state, first, held.state)
    lay_around(new_next_state, first, held.next_state)
    assign(
        slots,
        np.full(n, new_priority),
        np.full(n, new_mass),
        held.priorities,
        held.masses,
        held.ahead,
        held.values,
        held.sums,
        largest,
        start,
        held.positive,
    )
    return _GONE if place(slots, codes, code, held.rows) else _DONE
