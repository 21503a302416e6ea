"""A sum tree with fan-out 16 in float64 whose sums are always recomputed from below (E8).

Nothing is ever updated by differences, so the sums do not drift: after any history each is the sum of what
lies below it from left to right. Leaves may be divided into groups, each with its own sums over the shared
leaves. Single writer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from janus_memory.replay.law import tree_arrays, tree_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F8 = NDArray[np.float64]
    I4 = NDArray[np.int32]
    I8 = NDArray[np.int64]
    Leaves = tuple[F8, F8, F8, F8, F8, F8, I8, I8]

__all__ = ["Backend", "Leaves", "SumTree", "Tree"]

Backend = Literal["numba", "numpy"]

_FAN_OUT = 16


class Tree(NamedTuple):
    """The arrays of a sum tree by the names that its kernels give them.

    Attributes:
        masses, ahead, priorities: float64 [leaves]. group: int32 [leaves], or [0] where there is one group.
        values, sums: float64 [groups * width]. largest: float64 [width]. start: int64 [levels + 1].
        positive, members: int64 [groups]. marked: uint8 [groups * width].
    """

    masses: F8
    ahead: F8
    priorities: F8
    group: I4
    values: F8
    sums: F8
    largest: F8
    start: I8
    positive: I8
    members: I8
    marked: NDArray[np.uint8]


class SumTree:
    """Masses and priorities of `capacity` leaves, the sums of masses and the maxima of priorities above them.

    Masses are 0 or normal float64 numbers.

    Attributes:
        masses: float64 [leaves]; 0 where a leaf is empty. At least `capacity` leaves, in whole blocks.
        priorities: float64 [leaves]; 0 where a leaf is empty.
        group: int32 [leaves], -1 where a leaf is empty; None where there is one group.
        members: int64 [groups], leaves of each group; kept only where there are groups.
        positive: int64 [groups], leaves of each group whose priority is not zero.
        arrays: all arrays by name; another record once `reserve` has made room.
    """

    __slots__ = (
        "_ahead",
        "_largest",
        "_marked",
        "_start",
        "_steps",
        "_sums",
        "_values",
        "arrays",
        "group",
        "masses",
        "members",
        "positive",
        "priorities",
    )

    def __init__(self, capacity: int, *, grouped: bool = False, backend: Backend = "numba") -> None:
        widths = [_whole_blocks(-(-capacity // _FAN_OUT))]
        while widths[-1] > _FAN_OUT:
            widths.append(_whole_blocks(widths[-1] // _FAN_OUT))
        leaves = _FAN_OUT * widths[0]
        self._start = np.cumsum([0, *widths])
        self._values = np.zeros(self._start[-1])
        self._sums = np.zeros(self._start[-1])
        self._largest = np.zeros(self._start[-1])
        self._marked = np.zeros(self._start[-1], np.uint8)
        self._ahead = np.zeros(leaves)
        self._steps = tree_kernels if backend == "numba" else tree_arrays
        self.masses = np.zeros(leaves)
        self.priorities = np.zeros(leaves)
        self.group = np.full(leaves, -1, np.int32) if grouped else None
        self.members = np.zeros(1, np.int64)
        self.positive = np.zeros(1, np.int64)
        self.arrays = self._named()

    def total(self) -> float:
        """The sum of the masses of the first group."""
        last = len(self._largest) - 1
        return float(self._sums[last] + self._values[last])

    def totals(self) -> F8:
        """The sum of the masses of each group; float64 [groups]."""
        last = slice(len(self._largest) - 1, None, len(self._largest))
        totals: F8 = self._sums[last] + self._values[last]
        return totals

    def leaves(self) -> Leaves:
        """What `tree_kernels.assign` changes, in its order; the same arrays for life where there is one group."""
        above = (self._values, self._sums, self._largest, self._start)
        return (self.priorities, self.masses, self._ahead, *above, self.positive)

    def maximum(self) -> float:
        """The largest priority of all leaves."""
        # Of so few the list's own maximum is the faster one.
        return float(max(self._largest[-_FAN_OUT:].tolist()))

    def inspect(self, slots: I4, priority: F8, stop: int, largest: float) -> int:
        """The first entry whose slot is outside 0..stop-1 or whose priority is not in 0..largest; -1 for none."""
        return int(self._steps.inspect(slots, priority, stop, largest))

    def powers(self, priority: F8, alpha: float) -> F8:
        """p^alpha of checked priorities, as `laws.powers`; float64 [n]."""
        masses: F8 = self._steps.powers(priority, alpha)
        return masses

    def reserve(self, groups: int) -> None:
        """Make room for groups 0..groups-1."""
        held = len(self.members)
        if groups > held:
            more = max(groups, 2 * held) - held
            width = len(self._largest)
            self._values = np.concatenate([self._values, np.zeros(more * width)])
            self._sums = np.concatenate([self._sums, np.zeros(more * width)])
            self._marked = np.zeros(len(self._sums), np.uint8)
            self.members = np.concatenate([self.members, np.zeros(more, np.int64)])
            self.positive = np.concatenate([self.positive, np.zeros(more, np.int64)])
            self.arrays = self._named()

    def assign(self, slots: I4, priority: F8, mass: F8, group: I4) -> None:
        """Write leaves in the order given and recompute what lies above them; groups must have been reserved."""
        above = (self._values, self._sums, self._largest, self._start)
        if self.group is None:
            leaves = (self.priorities, self.masses, self._ahead)
            self._steps.assign(slots, priority, mass, *leaves, *above, self.positive)
        else:
            grouped = (self.priorities, self.masses, self._ahead, self.group)
            counts = (self.positive, self.members)
            self._steps.assign_grouped(slots, priority, mass, group, *grouped, *above, *counts, self._marked)

    def descend(self, uniforms: F8, size: int, even: float | None) -> I4 | None:
        """Draw leaves of 0..size-1 by inverse CDF, each weighing `even` above its mass; None: a bad uniform."""
        out = np.empty(len(uniforms), np.int32)
        good = self._steps.descend(
            uniforms, self._ahead, self._values, self._sums, self._start, size, even, out
        )
        return out if good else None

    def descend_grouped(self, uniforms: F8, present: NDArray[np.int64]) -> I4 | None:
        """Draw leaves by inverse CDF, an equal share for each group `present`, in that order; None: a bad uniform."""
        assert self.group is not None  # noqa: S101  (the constructor's own choice)
        out = np.empty(len(uniforms), np.int32)
        above = (self._values, self._sums, self._start)
        good = self._steps.descend_grouped(uniforms, self._ahead, self.group, *above, present, out)
        return out if good else None

    def rebuild(self) -> None:
        """Recompute every sum and maximum from the leaves."""
        for g in range(len(self.members)):
            own = ... if self.group is None else self.group == g
            held = np.zeros_like(self.masses)
            held[own] = self.masses[own]
            before, level = _running(held)
            self._ahead[own] = before[own]
            self._sum_up(g * len(self._largest), level)
        level = self.priorities.reshape(-1, _FAN_OUT).max(axis=1)
        for first in self._start[:-1]:
            self._largest[first : first + len(level)] = level
            level = _filled(level).reshape(-1, _FAN_OUT).max(axis=1)

    def _named(self) -> Tree:
        return Tree(
            self.masses,
            self._ahead,
            self.priorities,
            np.zeros(0, np.int32) if self.group is None else self.group,
            self._values,
            self._sums,
            self._largest,
            self._start,
            self.positive,
            self.members,
            self._marked,
        )

    def _sum_up(self, base: int, level: F8) -> None:
        """Write the levels of the group that begins at `base`, from the totals of its blocks of leaves on."""
        for first in base + self._start[:-1]:
            items = _filled(level)
            self._values[first : first + len(items)] = items
            self._sums[first : first + len(items)], level = _running(items)


def _running(items: F8) -> tuple[F8, F8]:
    """(The sum before each item in its block, the total of each block)."""
    total = np.cumsum(items.reshape(-1, _FAN_OUT), axis=1)
    before = np.zeros_like(total)
    before[:, 1:] = total[:, :-1]
    return before.reshape(-1), total[:, -1]


def _filled(items: F8) -> F8:
    """The items of a level, with empty ones up to a whole block."""
    return np.concatenate([items, np.zeros(-len(items) % _FAN_OUT)])


def _whole_blocks(items: int) -> int:
    return -(-items // _FAN_OUT) * _FAN_OUT
