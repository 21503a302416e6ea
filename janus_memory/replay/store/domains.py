"""Domain names as small whole numbers, so that a law over domains can be kept in arrays (SPEC 2.4).

Names are looked up in compiled code, because a block of rows from many instruments has a new name in every row;
Python is called for a name that is new. The numpy form gives the same codes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from janus_memory.transition import ID_BYTES

if TYPE_CHECKING:
    from janus_memory.replay.law.sum_tree import Backend

__all__ = ["KNOWN", "Domains", "look_up", "place"]

_WORDS = ID_BYTES // 8
_NAME = np.dtype(f"S{ID_BYTES}")
_NAME_WORDS = np.dtype((np.uint64, (_WORDS,)))
_NOBODY = -1
# What a look-up does with a name that is not in the table: it stops, or gives it a place.
KNOWN, NEW = False, True
# The table has at least this many places for each name, and a power of two of them.
_SPARE = 4
# Odd factors: the hash of a name is the sum of its words times these, of which the high bits are well mixed.
_MIX = np.random.SeedSequence(0x646F6D61696E73).generate_state(_WORDS, np.uint64) | np.uint64(1)

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
U8 = NDArray[np.uint64]
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Domains:
    """Codes of the domains that have rows, and the domain of each slot. Single writer.

    A new name takes the lowest code that is free, and a code is free again when its last row is gone: the codes
    stay dense however many names pass through.

    Attributes:
        code: int32 [capacity], the domain of each slot's row; -1 where there is none.
        known: what `look_up` and `place` take of the names known now: their words by code, the table, their rows. Another
            tuple whenever a name has come or gone.
    """

    def __init__(self, capacity: int, backend: Backend = "numba") -> None:
        self.code = np.full(capacity, _NOBODY, np.int32)
        self._compiled = backend == "numba"
        self._code: dict[bytes, int] = {}
        self._name: list[bytes] = []
        self._free: list[int] = []
        self._rows = np.zeros(0, np.int64)
        self._words = np.zeros((0, _WORDS), np.uint64)
        self._table = np.full(_SPARE, _NOBODY, np.int32)
        self.known: tuple[U8, I4, I8] = (self._words, self._table, self._rows)

    def __len__(self) -> int:
        return len(self._code)

    def codes(self, names: NDArray[np.bytes_]) -> I4:
        """The code of each name, new names taken in; int32 [n].

        A name that was taken in and gets no row gives its code back at the next `place`.
        """
        return self._looked_up(names) if self._compiled else self._run_by_run(names)

    def place(self, slots: I4, codes: I4) -> None:
        """Slots were overwritten by rows of these domains, in the order given; who has no row left leaves."""
        if self._compiled:
            place(slots, codes, self.code, self._rows)
        else:
            taken = np.unique(slots)
            left = self.code[taken]
            self.code[slots] = codes
            size = len(self._rows)
            self._rows += np.bincount(self.code[taken], minlength=size)
            self._rows -= np.bincount(left[left >= 0], minlength=size)
        self.release()

    def release(self) -> None:
        """Give the codes of the domains that have no row left back."""
        if len(self._code) > np.count_nonzero(self._rows):
            for name, code in list(self._code.items()):
                if not self._rows[code]:
                    del self._code[name]
                    self._name[code] = b""
                    heapq.heappush(self._free, code)
            self._remember()

    @staticmethod
    def words_of(names: NDArray[np.bytes_]) -> U8:
        """Names as `look_up` takes them; uint64 [n, words of a name]."""
        return np.ascontiguousarray(names, _NAME).view(_NAME_WORDS)

    def by_name(self) -> dict[str, int]:
        """Rows of each domain, by its name, in the order of the names."""
        return {
            name.decode(errors="replace"): int(self._rows[code]) for name, code in sorted(self._code.items())
        }

    def snapshot(self) -> NDArray[np.bytes_]:
        """The names by code, bytes [D]; empty for a code that is free. The codes of the slots are `code`."""
        return np.array(self._name, f"S{ID_BYTES}")

    @classmethod
    def restore(
        cls, capacity: int, names: NDArray[np.bytes_], codes: I4, backend: Backend = "numba"
    ) -> Domains:
        """The domains a snapshot was taken of, from their names and the codes of the slots held, int32 [N]."""
        domains = cls(capacity, backend)
        domains.code[: len(codes)] = codes
        domains._name = names.tolist()
        domains._rows = np.bincount(codes, minlength=len(names)).astype(np.int64)
        for code, name in enumerate(domains._name):
            if domains._rows[code]:
                domains._code[name] = code
            else:
                heapq.heappush(domains._free, code)
        domains._remember()
        return domains

    def _looked_up(self, names: NDArray[np.bytes_]) -> I4:
        """One compiled pass, interrupted by the names that are new."""
        words = self.words_of(names)
        codes = np.empty(len(names), np.int32)
        row = look_up(words, 0, codes, self._words, self._table, KNOWN)
        while row < len(names):
            self._intern(names[row])
            self._remember()
            row = look_up(words, row, codes, self._words, self._table, KNOWN)
        return codes

    def _run_by_run(self, names: NDArray[np.bytes_]) -> I4:
        """One look-up for each run of equal names."""
        if not len(names):
            return np.zeros(0, np.int32)
        heads = np.concatenate(([True], names[1:] != names[:-1]))
        found = [self._intern(name) for name in names[heads].tolist()]
        self._remember()
        codes: I4 = np.asarray(found, np.int32)[np.cumsum(heads) - 1]
        return codes

    def _intern(self, name: bytes) -> int:
        code = self._code.get(name)
        if code is None:
            code = heapq.heappop(self._free) if self._free else len(self._name)
            if code == len(self._name):
                self._name.append(name)
            self._name[code] = name
            self._code[name] = code
        return code

    def _remember(self) -> None:
        """Bring the counts and the look-up table up to the names."""
        self._rows = np.pad(self._rows, (0, len(self._name) - len(self._rows)))
        if self._compiled:
            self._words = self.snapshot().view(np.uint64).reshape(len(self._name), _WORDS)
            held = np.array(sorted(self._code.values()), np.int32)
            self._table = np.full(_SPARE << len(held).bit_length(), _NOBODY, np.int32)
            look_up(self._words[held], 0, held, self._words, self._table, NEW)
        self.known = self._words, self._table, self._rows


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False)(function)
    return kernel


@_compiled
def look_up(  # noqa: C901, PLR0917  (one flat loop; a kernel takes its arrays one by one)
    names: U8, first: int, codes: I4, words: U8, table: I4, new: bool
) -> int:
    """Look names up by linear probing, from row `first` on; the row of the first that is missing, or n.

    One function, because calling a second one for each row takes ten times as long as the look-up. Indices are
    unsigned, which lets the loops over the words become vectors.

    Args:
        names: uint64 [n, words of a name].
        first: the row to begin with.
        codes: int32 [n], filled in; with `new` they are given, and the names enter the table.
        words: uint64 [D, words of a name], the names by code.
        table: int32 [a power of two], a code or -1.
        new: no name is in the table yet.
    """
    n = len(names)
    last = np.uint64(table.size - 1)
    for i in range(first, n):
        row = np.uint64(i)
        if i > first and not new:
            # Rows of one domain mostly follow one another.
            different = np.uint64(0)
            for j in range(_WORDS):
                different |= names[row, j] ^ names[row - np.uint64(1), j]
            if different == 0:
                codes[row] = codes[row - np.uint64(1)]
                continue
        mixed = np.uint64(0)
        for j in range(_WORDS):
            mixed += names[row, j] * _MIX[j]
        place = (mixed >> np.uint64(33)) & last
        while table[place] >= 0:
            code = np.uint64(table[place])
            different = np.uint64(0)
            for j in range(_WORDS):
                different |= words[code, j] ^ names[row, j]
            if different == 0:
                break
            place = (place + np.uint64(1)) & last
        if new:
            table[place] = codes[row]
        elif table[place] < 0:
            return i
        codes[row] = table[place]
    return n


@_compiled
def place(slots: I4, codes: I4, code: I4, rows: I8) -> bool:
    """Move each slot's row from the domain that `code` says to that of `codes`; whether a domain may have lost its last.

    Args:
        slots: int32 [n].
        codes: int32 [n].
        code: int32 [capacity], of each slot; -1 where there is no row. Changed in place.
        rows: int64 [D], of each domain. Changed in place.
    """
    gone = False
    for i in range(slots.size):
        slot = np.uint64(slots[i])
        left, new = code[slot], codes[i]
        if left != new:
            code[slot] = new
            rows[new] += 1
            if left >= 0:
                rows[left] -= 1
                gone |= rows[left] == 0
    return gone
