"""The compiled steps of the sum tree. `tree_arrays` has the same functions in numpy; both give the same bits.

Leaves lie in blocks of 16; a node is the sum of its 16 children, added from left to right, and there are
as many levels as it takes to come to one root. `nodes` [groups, width] holds the levels one after another,
level l from `start[l]` on. `group` [leaves] says to which group a leaf belongs, -1 none; None where there is
one group. No fastmath: a reordered or fused sum would have other bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["assign", "descend"]

F8 = NDArray[np.float64]
I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False)(function)
    return kernel


@_compiled
def assign(  # noqa: PLR0917, C901  (a kernel takes its arrays one by one; its loops are the levels')
    slots: I4,
    priority: F8,
    mass: F8,
    code: I4 | None,
    priorities: F8,
    masses: F8,
    group: I4 | None,
    nodes: F8,
    largest: F8,
    start: I8,
    members: I8,
    positive: I8,
    marked: NDArray[np.uint8],
) -> None:
    """Write leaves in the order given, the last of a slot counts, and recompute every node above them.

    Args:
        slots, priority, mass, code: [n], the entries. code None leaves the groups as they are.
        priorities, masses, group: [leaves].
        nodes, largest: [groups, width] sums of masses; [width] maxima of priorities.
        start: [levels + 1].
        members, positive: [groups], entries, and entries whose priority is not zero.
        marked: [groups, width], all 0 before and after.
    """
    n = slots.size
    dirty = np.empty(2 * n, np.int64)
    dirty_group = np.empty(2 * n, np.int64)
    m = 0
    for i in range(n):
        s = slots[i]
        parent = s >> 4
        g = 0
        if group is not None:
            g = group[s]
            if code is not None:
                if g >= 0:
                    members[g] -= 1
                    if priorities[s] > 0:
                        positive[g] -= 1
                    if not marked[g, parent]:
                        marked[g, parent] = 1
                        dirty[m] = parent
                        dirty_group[m] = g
                        m += 1
                g = code[i]
                group[s] = g
                members[g] += 1
                if priority[i] > 0:
                    positive[g] += 1
            else:
                positive[g] += (priority[i] > 0) - (priorities[s] > 0)
        else:
            positive[0] += (priority[i] > 0) - (priorities[s] > 0)
        priorities[s] = priority[i]
        masses[s] = mass[i]
        if not marked[g, parent]:
            marked[g, parent] = 1
            dirty[m] = parent
            dirty_group[m] = g
            m += 1
    for level in range(start.size - 1):
        here = start[level]
        above = start[level + 1]
        kept = 0
        for i in range(m):
            node = dirty[i]
            g = dirty_group[i]
            marked[g, node] = 0
            total = 0.0
            top = 0.0
            if level == 0:
                first = 16 * node
                for c in range(first, first + 16):
                    if group is None:
                        total += masses[c]
                    else:
                        total += masses[c] if group[c] == g else 0.0
                    top = max(top, priorities[c])
            else:
                first = start[level - 1] + 16 * (node - here)
                for c in range(first, first + 16):
                    total += nodes[g, c]
                    top = max(top, largest[c])
            nodes[g, node] = total
            largest[node] = top
            if level < start.size - 2:
                parent = above + ((node - here) >> 4)
                if not marked[g, parent]:
                    marked[g, parent] = 1
                    dirty[kept] = parent
                    dirty_group[kept] = g
                    kept += 1
        m = kept


@_compiled
def descend(  # noqa: PLR0917, C901  (a kernel takes its arrays one by one)
    uniforms: F8,
    masses: F8,
    group: I4 | None,
    nodes: F8,
    start: I8,
    present: I8,
    size: int,
    even: float,
    out: I4,
) -> bool:
    """Inverse-CDF draws; False where a uniform is not in [0, 1), and then nothing is meant by `out`.

    Args:
        uniforms: [B]. masses, group, nodes, start: the tree.
        present: groups that have entries, in order; each has an equal share.
        size: entries; they are leaves 0..size-1.
        even: what each entry's weight is above its mass (the uniform half of a mixture).
        out: int32 [B], the leaves.
    """
    top = start.size - 2
    for i in range(uniforms.size):
        u = uniforms[i]
        if not 0.0 <= u < 1.0:
            return False
        g = present[0]
        if group is not None:
            x = u * present.size
            rank = min(int(x), present.size - 1)
            u = x - rank
            g = present[rank]
        t = u * (nodes[g, start[top]] + size * even)
        node = 0
        for level in range(top, -1, -1):
            width = 1 << (4 * level)
            before = 0.0
            total = 0.0
            k = 0
            last = 0
            for c in range(16):
                child = 16 * node + c
                if level > 0:
                    w = nodes[g, start[level - 1] + child]
                elif group is None:
                    w = masses[child]
                else:
                    w = masses[child] if group[child] == g else 0.0
                if even > 0.0:
                    w += even * min(max(size - child * width, 0), width)
                total += w
                if total <= t:
                    before = total
                    k = c + 1
                if w > 0.0:
                    last = c
            if k == 16:
                # Rounding has left the target at or above the node's sum: its last entry with mass.
                k = last
                t = np.inf
            else:
                t -= before
            node = 16 * node + k
        out[i] = node
    return True
