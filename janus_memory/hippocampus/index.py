"""Slots found by a 64-bit key: a few sorted runs, merged binomially (the index of E1).

Writing is cheap: a written slot is only noted, and what was noted is sorted into a run of its own when the next
question comes. Runs of similar length are merged, so there are O(log N) of them and each entry is merged
O(log N) times. An entry carries its slot's generation: once the slot has been overwritten the entry is stale, is
passed over by questions and is dropped by merges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from janus_memory.transition import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["SortedRuns", "text_keys"]

_NOTED_SHARE = 4
_SPARE_SHARE = 2
_INT64 = np.iinfo(np.int64)
_WORD = 8
_MIX = np.random.SeedSequence(0x4A414E5553).generate_state(ID_BYTES // _WORD, np.uint64) | np.uint64(1)


def text_keys(column: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """A 64-bit hash of each identifier, int64 [n]; equal names have equal keys, the reverse must be verified.

    Args:
        column: bytes [n], dtype S64, contiguous.
    """
    words = column.view(np.uint64).reshape(len(column), len(_MIX))
    return (words @ _MIX).view(np.int64)


class _Run(NamedTuple):
    """Entries in ascending order of their keys: int64, int32 and uint32 [m]."""

    key: NDArray[np.int64]
    slot: NDArray[np.int32]
    generation: NDArray[np.uint32]

    def take(self, part: NDArray[np.intp] | NDArray[np.bool_] | slice) -> _Run:
        return _Run(self.key[part], self.slot[part], self.generation[part])


class SortedRuns:
    """The slots of a ring by a key. Single writer; a question may reorganise the runs.

    With N slots: a question costs O(log N + hits), a written slot O(log N), both amortised. At most 1.5 N entries
    of 16 bytes are held.
    """

    def __init__(
        self, keys: Callable[[NDArray[np.int32]], NDArray[np.int64]], generation: NDArray[np.uint32]
    ) -> None:
        """An index of all slots that have been written, sorted at the first question.

        Args:
            keys: the present keys of given slots.
            generation: uint32 [N], the owner's own array: how often each slot has been written, 0 for never. The
                owner counts it up before it calls `touch`.
        """
        self._keys = keys
        self._generation = generation
        self._noted = np.empty(max(1, len(generation) // _NOTED_SHARE), np.int32)
        self._n_noted = 0
        self._outdated = True
        self._runs: list[_Run] = []
        self._passed_over = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays held."""
        return self._noted.nbytes + sum(column.nbytes for run in self._runs for column in run)

    def touch(self, slots: NDArray[np.int32]) -> None:
        """Note that these slots have been written; a slot may occur more than once."""
        if self._outdated:
            return
        stop = self._n_noted + len(slots)
        if stop <= len(self._noted):
            self._noted[self._n_noted : stop] = slots
            self._n_noted = stop
        else:
            # So many that sorting all slots anew costs no more than placing these.
            self._outdated = True
            self._runs.clear()
            self._n_noted = self._passed_over = 0

    def find(self, low: int, high: int) -> NDArray[np.int32]:
        """The slots whose key lies in [low, high], each once, in no promised order."""
        if low > _INT64.max or high < _INT64.min:
            return np.empty(0, np.int32)
        self._catch_up()
        first, last = np.int64(max(low, _INT64.min)), np.int64(min(high, _INT64.max))
        hits = [np.empty(0, np.int32)]
        for run in self._runs:
            start, stop = run.key.searchsorted(first), run.key.searchsorted(last, "right")
            if start < stop:
                live = self._live(run, slice(int(start), int(stop)))
                hits.append(run.slot[start:stop][live])
                self._passed_over += len(live) - len(hits[-1])
        self._forget_stale()
        return np.concatenate(hits)

    def highest(self) -> int | None:
        """The highest key held, or None without slots."""
        self._catch_up()
        keys = [int(run.key[last]) for run in self._runs if (last := self._last_live(run)) >= 0]
        self._forget_stale()
        return max(keys, default=None)

    def _catch_up(self) -> None:
        """Give what was noted a place in the runs."""
        if self._outdated:
            self._runs = [self._sorted(np.flatnonzero(self._generation).astype(np.int32))]
            self._outdated = False
        elif self._n_noted:
            noted = np.unique(self._noted[: self._n_noted])
            self._n_noted = 0
            self._push(self._sorted(noted))

    def _sorted(self, slots: NDArray[np.int32]) -> _Run:
        keys = self._keys(slots)
        order = np.argsort(keys, kind="stable")
        slots = slots[order]
        return _Run(keys[order], slots, self._generation[slots])

    def _push(self, run: _Run) -> None:
        """Add a run, merged with the last ones while they are shorter than twice what is merged."""
        parts, n = [run], len(run.key)
        while self._runs and len(self._runs[-1].key) < 2 * n:
            parts.append(self._runs.pop())
            n += len(parts[-1].key)
        self._runs.append(self._merged(parts) if len(parts) > 1 else run)
        n_slots = len(self._generation)
        if self._n_entries() > n_slots + n_slots // _SPARE_SHARE:
            self._compact()

    def _forget_stale(self) -> None:
        """Drop stale entries once questions have passed over as many as there are entries, which pays for it."""
        if self._passed_over > self._n_entries():
            self._compact()

    def _compact(self) -> None:
        """One run without stale entries."""
        self._runs = [self._merged(self._runs)]
        self._passed_over = 0

    def _n_entries(self) -> int:
        return sum(len(run.key) for run in self._runs)

    def _merged(self, runs: list[_Run]) -> _Run:
        """The live entries of all runs; the stable sort merges what is sorted already in linear time."""
        live = [run.take(self._live(run, slice(None))) for run in runs]
        merged = _Run(
            np.concatenate([run.key for run in live]),
            np.concatenate([run.slot for run in live]),
            np.concatenate([run.generation for run in live]),
        )
        return merged.take(np.argsort(merged.key, kind="stable"))

    def _live(self, run: _Run, part: slice) -> NDArray[np.bool_]:
        live: NDArray[np.bool_] = self._generation[run.slot[part]] == run.generation[part]
        return live

    def _last_live(self, run: _Run) -> int:
        """The place of the last live entry, looked for in steps that double; -1 if there is none."""
        stop, width = len(run.key), 1
        while stop:
            start = max(0, stop - width)
            live = np.flatnonzero(self._live(run, slice(start, stop)))
            if len(live):
                last = start + int(live[-1])
                self._passed_over += len(run.key) - 1 - last
                return last
            stop, width = start, 2 * width
        self._passed_over += len(run.key)
        return -1
