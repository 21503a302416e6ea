"""Domain names as small whole numbers, so that a law over domains can be kept in arrays (SPEC 2.4)."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.transition import ID_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Domains"]


class Domains:
    """Codes of the domains that have rows. Single writer.

    A new name takes the lowest code that is free, and a code is free again when its last row is gone: the codes
    stay dense however many names pass through.
    """

    def __init__(self) -> None:
        self._code: dict[bytes, int] = {}
        self._name: list[bytes] = []
        self._free: list[int] = []
        self._rows = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._code)

    def codes(self, names: NDArray[np.bytes_]) -> NDArray[np.int32]:
        """The code of each name, new names taken in; int32 [n].

        Names that were taken in and get no rows keep their code until the next `count`.
        """
        if not len(names):
            return np.zeros(0, np.int32)
        # One look-up for a run of equal names: rows of a domain mostly arrive together.
        heads = np.concatenate(([True], names[1:] != names[:-1]))
        found = [self._intern(name) for name in names[heads].tolist()]
        self._rows = np.pad(self._rows, (0, len(self._name) - len(self._rows)))
        codes: NDArray[np.int32] = np.asarray(found, np.int32)[np.cumsum(heads) - 1]
        return codes

    def count(self, written: NDArray[np.int32], overwritten: NDArray[np.int32]) -> None:
        """Rows of these codes were written, and others overwritten; domains without rows give their code back."""
        size = len(self._rows)
        self._rows += np.bincount(written, minlength=size) - np.bincount(overwritten, minlength=size)
        if len(self._code) > np.count_nonzero(self._rows):
            self._release()

    def by_name(self) -> dict[str, int]:
        """Rows of each domain, by its name, in the order of the names."""
        return {
            name.decode(errors="replace"): int(self._rows[code]) for name, code in sorted(self._code.items())
        }

    def snapshot(self) -> NDArray[np.bytes_]:
        """The names by code, bytes [D]; empty for a code that is free."""
        return np.array(self._name, f"S{ID_BYTES}")

    @classmethod
    def restore(cls, names: NDArray[np.bytes_], codes: NDArray[np.int32]) -> Domains:
        """The domains a snapshot was taken of, from the code of every row held, int32 [N]."""
        domains = cls()
        domains._name = names.tolist()
        domains._rows = np.bincount(codes, minlength=len(names)).astype(np.int64)
        for code, name in enumerate(domains._name):
            if domains._rows[code]:
                domains._code[name] = code
            else:
                heapq.heappush(domains._free, code)
        return domains

    def _intern(self, name: bytes) -> int:
        code = self._code.get(name)
        if code is None:
            code = heapq.heappop(self._free) if self._free else len(self._name)
            if code == len(self._name):
                self._name.append(name)
            self._name[code] = name
            self._code[name] = code
        return code

    def _release(self) -> None:
        for name, code in list(self._code.items()):
            if not self._rows[code]:
                del self._code[name]
                self._name[code] = b""
                heapq.heappush(self._free, code)
