"""The steps of the sum tree in numpy, for machines without a compiler: bit for bit those of `tree_kernels`.

`np.cumsum` adds from left to right as the kernels do; `np.sum` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F8 = NDArray[np.float64]
    I4 = NDArray[np.int32]
    I8 = NDArray[np.int64]

__all__ = ["assign", "descend"]

_CHILDREN = np.arange(16)


def assign(  # noqa: PLR0917  (the kernel's arguments)
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
    marked: NDArray[np.uint8],  # noqa: ARG001  (the kernel's arguments)
) -> None:
    """As `tree_kernels.assign`."""
    _, last = np.unique(slots[::-1], return_index=True)
    kept = len(slots) - 1 - last
    slots, priority, mass = slots[kept], priority[kept], mass[kept]
    dirty = slots >> 4
    if group is None:
        positive[0] += np.count_nonzero(priority) - np.count_nonzero(priorities[slots])
        pairs = np.unique(dirty)[:, None] * [0, 1] + [0, 0]
    else:
        old = group[slots]
        held = old >= 0
        new = old if code is None else code[kept]
        np.add.at(members, new, 1)
        np.subtract.at(members, old[held], 1)
        np.add.at(positive, new, priority > 0)
        np.subtract.at(positive, old[held], priorities[slots[held]] > 0)
        group[slots] = new
        both = (np.concatenate([old[held], new]), np.concatenate([dirty[held], dirty]))
        pairs = np.unique(np.stack(both, axis=1), axis=0)
    priorities[slots] = priority
    masses[slots] = mass
    for level in range(len(start) - 1):
        g, node = pairs[:, 0], pairs[:, 1]
        children = 16 * node[:, None] + _CHILDREN
        if level:
            below = nodes[g[:, None], start[level - 1] + children]
            tops = largest[start[level - 1] + children]
        else:
            below = masses[children]
            tops = priorities[children]
            if group is not None:
                below = np.where(group[children] == g[:, None], below, 0.0)
        nodes[g, start[level] + node] = np.cumsum(below, axis=1)[:, -1]
        largest[start[level] + node] = tops.max(axis=1)
        pairs = np.unique(np.stack([g, node >> 4], axis=1), axis=0)


def descend(  # noqa: PLR0917  (the kernel's arguments)
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
    """As `tree_kernels.descend`."""
    if not ((uniforms >= 0) & (uniforms < 1)).all():
        return False
    u = uniforms
    g = np.full(len(u), present[0])
    if group is not None:
        x = u * len(present)
        rank = np.minimum(x.astype(np.int64), len(present) - 1)
        u = x - rank
        g = present[rank]
    top = len(start) - 2
    t = u * (nodes[g, start[top]] + size * even)
    node = np.zeros(len(u), np.int64)
    for level in range(top, -1, -1):
        child = 16 * node[:, None] + _CHILDREN
        if level:
            weight = nodes[g[:, None], start[level - 1] + child]
        else:
            weight = masses[child]
            if group is not None:
                weight = np.where(group[child] == g[:, None], weight, 0.0)
        if even > 0:
            width = 1 << (4 * level)
            weight = weight + even * np.clip(size - child * width, 0, width)
        total = np.cumsum(weight, axis=1)
        k = (total <= t[:, None]).sum(axis=1)
        before = np.where(k > 0, np.take_along_axis(total, np.maximum(k - 1, 0)[:, None], 1)[:, 0], 0.0)
        over = k == 16
        last = 15 - (weight[:, ::-1] > 0).argmax(axis=1)
        t = np.where(over, np.inf, t - before)
        node = 16 * node + np.where(over, last, k)
    out[:] = node
    return True
