"""A sum tree with fan-out 16 in float64 whose nodes are always recomputed from their children (E8).

Nothing is ever updated by differences, so the sums do not drift: after any history a node is the sum of
its children from left to right. Leaves may be divided into groups, each with its own sums over the shared
leaves. Single writer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from janus_memory.replay import tree_arrays, tree_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F8 = NDArray[np.float64]
    I4 = NDArray[np.int32]

__all__ = ["Backend", "SumTree"]

Backend = Literal["numba", "numpy"]

_FAN_OUT = 16


class SumTree:
    """Masses and priorities of `capacity` leaves, the sums of masses and the maxima of priorities above them.

    Attributes:
        masses: float64 [leaves]; 0 where a leaf is empty.
        priorities: float64 [leaves]; 0 where a leaf is empty.
        group: int32 [leaves], -1 where a leaf is empty; None where there is one group.
        members: int64 [groups], leaves of each group; kept only where there are groups.
        positive: int64 [groups], leaves of each group whose priority is not zero.
    """

    __slots__ = (
        "_largest",
        "_marked",
        "_nodes",
        "_start",
        "_steps",
        "group",
        "masses",
        "members",
        "positive",
        "priorities",
    )

    def __init__(self, capacity: int, *, grouped: bool = False, backend: Backend = "numba") -> None:
        widths = [_padded(-(-capacity // _FAN_OUT))]
        while widths[-1] > 1:
            widths.append(_padded(widths[-1] // _FAN_OUT))
        leaves = _FAN_OUT * widths[0]
        self._start = np.cumsum([0, *widths])
        self._nodes = np.zeros((1, self._start[-1]))
        self._largest = np.zeros(self._start[-1])
        self._marked = np.zeros(self._nodes.shape, np.uint8)
        self._steps = tree_kernels if backend == "numba" else tree_arrays
        self.masses = np.zeros(leaves)
        self.priorities = np.zeros(leaves)
        self.group = np.full(leaves, -1, np.int32) if grouped else None
        self.members = np.zeros(1, np.int64)
        self.positive = np.zeros(1, np.int64)

    def total(self) -> float:
        """The sum of the first group's masses."""
        return float(self._nodes[0, -1])

    def totals(self) -> F8:
        """The sum of each group's masses; float64 [groups]."""
        return self._nodes[:, -1]

    def maximum(self) -> float:
        """The largest priority of all leaves."""
        return float(self._largest[-1])

    def reserve(self, groups: int) -> None:
        """Make room for groups 0..groups-1."""
        held = len(self._nodes)
        if groups <= held:
            return
        more = max(groups, 2 * held) - held
        self._nodes = np.concatenate([self._nodes, np.zeros((more, self._nodes.shape[1]))])
        self._marked = np.zeros(self._nodes.shape, np.uint8)
        self.members = np.concatenate([self.members, np.zeros(more, np.int64)])
        self.positive = np.concatenate([self.positive, np.zeros(more, np.int64)])

    def assign(self, slots: I4, priority: F8, mass: F8, group: I4 | None = None) -> None:
        """Write leaves in the order given and recompute what lies above them; `group` None keeps theirs, others are reserved."""
        self._steps.assign(
            slots,
            priority,
            mass,
            group,
            self.priorities,
            self.masses,
            self.group,
            self._nodes,
            self._largest,
            self._start,
            self.members,
            self.positive,
            self._marked,
        )

    def descend(self, uniforms: F8, present: NDArray[np.int64], size: int, even: float) -> I4 | None:
        """Draw leaves by inverse CDF, groups in the order of `present`; None where a uniform is not in [0, 1).

        Each of the leaves 0..size-1 weighs `even` more than its mass.
        """
        out = np.empty(len(uniforms), np.int32)
        inside = self._steps.descend(
            uniforms, self.masses, self.group, self._nodes, self._start, present, size, even, out
        )
        return out if inside else None

    def rebuild(self) -> None:
        """Recompute every node from the leaves."""
        for g in range(len(self._nodes)):
            held = self.masses if self.group is None else np.where(self.group == g, self.masses, 0.0)
            self._sum_up(self._nodes[g], held)
        self._largest[:] = 0.0
        level = self.priorities
        for first, stop in zip(self._start[:-1], self._start[1:], strict=True):
            top = level.reshape(-1, _FAN_OUT).max(axis=1)
            self._largest[first : first + len(top)] = top
            level = self._largest[first:stop]

    def _sum_up(self, nodes: F8, leaves: F8) -> None:
        level = leaves
        for first, stop in zip(self._start[:-1], self._start[1:], strict=True):
            sums = np.cumsum(level.reshape(-1, _FAN_OUT), axis=1)[:, -1]
            nodes[first : first + len(sums)] = sums
            level = nodes[first:stop]


def _padded(nodes: int) -> int:
    """A level of one node is the root; others are filled up to whole blocks."""
    return nodes if nodes <= 1 else -(-nodes // _FAN_OUT) * _FAN_OUT
