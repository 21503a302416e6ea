"""Which of many entries is the least, kept up to date in O(log N): a tournament over (key, tie).

A complete binary tree above the entries; each inner node names the lesser entry of its two children. Changing an
entry replays the matches between it and the root. Everything is integer, so equal inputs give equal winners.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Domains", "Tournament", "admit_domains", "admit_least", "play_all", "replay"]

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_LAST = np.iinfo(np.int64).max


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False)(function)
    return kernel


class Tournament(NamedTuple):
    """N entries, of which the one with the least (key, tie) wins.

    Attributes:
        key, tie: int64 [N]; an entry that takes no part yet has the greatest of both.
        winner: int32 [P], P the power of two from N on: the winner below node 1 (the root) to P - 1, or -1 where
            no entry lies below. The children of node k are 2 k and 2 k + 1; node P + i is entry i itself.
    """

    key: I8
    tie: I8
    winner: I4

    @classmethod
    def of(cls, key: I8, tie: I8) -> Tournament:
        """The tournament of these entries, at least one."""
        winner = np.full(1 << (len(key) - 1).bit_length(), -1, np.int32)
        held = cls(key, tie, winner)
        play_all(held)
        return held

    @classmethod
    def empty(cls, n: int) -> Tournament:
        """Of n entries of which none takes part yet."""
        return cls.of(np.full(n, _LAST), np.full(n, _LAST))


class Domains(NamedTuple):
    """The rows of each domain in the order of their arrival, as linked lists through the slots.

    Attributes:
        following: int32 [N], the slot of the next younger row of the same domain; meaningless at the youngest.
        oldest, youngest: int32 [D], slots by domain code; meaningless for a domain without rows.
        rows: the tournament of the domains: key is minus the number of rows, tie the code.
    """

    following: I4
    oldest: I4
    youngest: I4
    rows: Tournament


@_compiled
def admit_least(held: Tournament, key: I8, size: int, arrived: int, slots: I4) -> None:
    """Give each new entry a free slot, else that of the least entry; it takes part from then on.

    Args:
        held: changed in place.
        key: int64 [n], of the new entries; their ties are their arrivals.
        size: rows held before.
        arrived: rows ever admitted before.
        slots: int32 [n], the output.
    """
    for i in range(key.size):
        slot = size
        if size < held.key.size:
            size += 1
        else:
            slot = _seated(held, 1)
        held.key[slot], held.tie[slot] = key[i], arrived + i
        _play(held, slot)
        slots[i] = slot


@_compiled
def replay(held: Tournament, slots: I4) -> None:
    """Replay the matches of entries whose keys have changed; an entry may occur more than once."""
    for slot in slots:
        _play(held, slot)


@_compiled
def admit_domains(held: Domains, code: I4, size: int, slots: I4) -> None:
    """Give each new row a free slot, else that of the oldest row of the domain with the most rows.

    Args:
        held: changed in place.
        code: int32 [n], the new rows' domains.
        size: rows held before.
        slots: int32 [n], the output.
    """
    count = held.rows.key
    for i in range(code.size):
        slot = size
        if size < held.following.size:
            size += 1
        else:
            largest = _seated(held.rows, 1)
            slot = held.oldest[largest]
            held.oldest[largest] = held.following[slot]
            count[largest] += 1
            _play(held.rows, largest)
        domain = code[i]
        if count[domain] == 0:
            held.oldest[domain] = slot
        else:
            held.following[held.youngest[domain]] = slot
        held.youngest[domain] = slot
        count[domain] -= 1
        _play(held.rows, domain)
        slots[i] = slot


@_compiled
def play_all(held: Tournament) -> None:
    """Play every match."""
    for node in range(held.winner.size - 1, 0, -1):
        held.winner[node] = _match(held, node)


@_compiled
def _play(held: Tournament, entry: int) -> None:
    """Replay the matches above an entry that has changed, until one whose outcome is not concerned."""
    node = (held.winner.size + entry) >> 1
    while node:
        winner = _match(held, node)
        if winner == held.winner[node] and winner != entry:
            return
        held.winner[node] = winner
        node >>= 1


@_compiled
def _match(held: Tournament, node: int) -> int:
    left, right = _seated(held, 2 * node), _seated(held, 2 * node + 1)
    if left < 0 or right < 0:
        return max(left, right)
    key = held.key
    if key[left] != key[right]:
        return left if key[left] < key[right] else right
    return left if held.tie[left] <= held.tie[right] else right


@_compiled
def _seated(held: Tournament, node: int) -> int:
    """The entry that has come to a node, or -1."""
    entry = node - held.winner.size
    if entry < 0:
        return int(held.winner[node])
    return entry if entry < held.key.size else -1
