"""The five kinds of eviction: one record of state each, and the same verbs."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from janus_memory.replay.store.tournament import (
    Domains,
    Tournament,
    admit_domains,
    admit_least,
    play_all,
    replay,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from janus_memory.config import Eviction
    from janus_memory.store.arrays import Arrays

__all__ = ["RULES", "New", "Rule"]


class New(NamedTuple):
    """n rows that ask for a slot.

    Attributes:
        priority: float64 [n]. timestamp: int64 [n]. domain_code: int32 [n].
        arrived: how many came before them.
    """

    priority: NDArray[np.float64]
    timestamp: NDArray[np.int64]
    domain_code: NDArray[np.int32]
    arrived: int


class Rule(ABC):
    """What a kind of eviction can do; by itself it keeps nothing."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity

    @abstractmethod
    def admit(self, new: New, generator: np.random.Generator) -> NDArray[np.int32]:
        """The slots of new rows, one after the other."""

    def on_priority(self, slots: NDArray[np.int32], priority: NDArray[np.float64]) -> None:  # noqa: B027  (kept by one kind only)
        """Take note of new priorities."""

    def arrays(self) -> Arrays:
        """The state itself, not copies."""
        return {}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:  # noqa: B027  (a kind may keep nothing)
        """Take over copies of a state."""


class _Fifo(Rule):
    def admit(self, new: New, generator: np.random.Generator) -> NDArray[np.int32]:  # noqa: ARG002  (draws nothing)
        return ((new.arrived + np.arange(len(new.priority))) % self._capacity).astype(np.int32)


class _Random(Rule):
    def admit(self, new: New, generator: np.random.Generator) -> NDArray[np.int32]:
        slots = new.arrived + np.arange(len(new.priority))
        victims = slots >= self._capacity
        slots[victims] = (generator.random(int(victims.sum())) * self._capacity).astype(np.int64)
        return slots.astype(np.int32)


class _Least(Rule):
    """A tournament over one column, among equals over the arrival.

    New priorities are only noted: their matches are replayed when the next row asks for a slot, all matches where
    more have been noted than are worth replaying one by one.
    """

    def __init__(self, capacity: int, column: Literal["priority", "timestamp"]) -> None:
        super().__init__(capacity)
        self._column = column
        self._held = Tournament.empty(capacity)
        self._noted: list[tuple[NDArray[np.int32], NDArray[np.float64]]] = []
        self._n_noted = 0
        self._outdated = False

    def admit(self, new: New, generator: np.random.Generator) -> NDArray[np.int32]:  # noqa: ARG002  (draws nothing)
        self._catch_up()
        key = _bits(new.priority) if self._column == "priority" else new.timestamp
        slots = np.empty(len(key), np.int32)
        admit_least(self._held, key, min(new.arrived, self._capacity), new.arrived, slots)
        return slots

    def on_priority(self, slots: NDArray[np.int32], priority: NDArray[np.float64]) -> None:
        if self._column == "priority":
            self._noted.append((slots.copy(), priority.copy()))
            self._n_noted += len(slots)
            if self._n_noted > self._capacity:
                self._write_noted()
                self._outdated = True

    def arrays(self) -> Arrays:
        self._catch_up()
        return {self._column: self._held.key, f"{self._column}/arrival": self._held.tie}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        key, tie = arrays[self._column], arrays[f"{self._column}/arrival"]
        self._held = Tournament.of(key.astype(np.int64), tie.astype(np.int64))

    def _catch_up(self) -> None:
        """Write what has been noted and replay the matches that it concerns."""
        slots = self._write_noted()
        if self._outdated:
            play_all(self._held)
            self._outdated = False
        else:
            replay(self._held, slots)

    def _write_noted(self) -> NDArray[np.int32]:
        """Write the keys that have been noted, the last of a slot stays; their slots."""
        slots = np.concatenate([np.empty(0, np.int32), *(noted[0] for noted in self._noted)])
        priority = np.concatenate([np.empty(0), *(noted[1] for noted in self._noted)])
        self._held.key[slots] = _bits(priority)
        self._noted.clear()
        self._n_noted = 0
        return slots


class _LargestDomain(Rule):
    """A queue of slots for each domain, and a tournament of the queues' lengths."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._held = _domains(np.zeros(capacity, np.int32), np.zeros((2, 1), np.int32), np.zeros(1, np.int64))

    def admit(self, new: New, generator: np.random.Generator) -> NDArray[np.int32]:  # noqa: ARG002  (draws nothing)
        self._make_room(int(new.domain_code.max(initial=0)))
        slots = np.empty(len(new.domain_code), np.int32)
        admit_domains(self._held, new.domain_code, min(new.arrived, self._capacity), slots)
        return slots

    def arrays(self) -> Arrays:
        ends = np.stack([self._held.oldest, self._held.youngest])
        return {
            "domain/following": self._held.following,
            "domain/ends": ends,
            "domain/rows": self._held.rows.key,
        }

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        following, ends = arrays["domain/following"].astype(np.int32), arrays["domain/ends"].astype(np.int32)
        self._held = _domains(following, ends, arrays["domain/rows"].astype(np.int64))

    def _make_room(self, code: int) -> None:
        """Double the number of domains until `code` is one of them."""
        held, n = self._held, len(self._held.oldest)
        if code >= n:
            more = (0, (1 << code.bit_length()) - n)
            ends = np.stack([np.pad(held.oldest, more), np.pad(held.youngest, more)])
            self._held = _domains(held.following, ends, np.pad(held.rows.key, more))


def _domains(following: NDArray[np.int32], ends: NDArray[np.int32], rows: NDArray[np.int64]) -> Domains:
    return Domains(following, ends[0], ends[1], Tournament.of(rows, np.arange(len(rows))))


RULES: dict[Eviction, Callable[[int], Rule]] = {
    "fifo": _Fifo,
    "lowest_priority": functools.partial(_Least, column="priority"),
    "oldest": functools.partial(_Least, column="timestamp"),
    "largest_domain": _LargestDomain,
    "random": _Random,
}


def _bits(priority: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bits of numbers that are not negative, which are in the numbers' own order; of -0.0 those of 0.0."""
    return (priority + 0.0).view(np.int64)
