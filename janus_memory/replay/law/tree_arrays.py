"""The steps of the sum tree in numpy, for machines without a compiler: bit for bit those of `tree_kernels`.

`np.cumsum` adds from left to right as the kernels do; `np.sum` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.replay.law.laws import SMALLEST_PRIORITY
from janus_memory.replay.law.power import raised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F8 = NDArray[np.float64]
    I4 = NDArray[np.int32]
    I8 = NDArray[np.int64]
    U1 = NDArray[np.uint8]

__all__ = ["assign", "assign_grouped", "descend", "descend_grouped", "inspect", "powers"]

_CHILDREN = np.arange(16)
_BELOW = 1.0 - 2.0**-53


def inspect(slots: I4, priority: F8, stop: int, largest: float) -> int:
    """As `tree_kernels.inspect`."""
    good = (slots >= 0) & (slots < stop) & (priority >= 0) & (priority <= largest)
    return -1 if good.all() else int(good.argmin())


def powers(priority: F8, alpha: float) -> F8:
    """As `tree_kernels.powers`."""
    masses: F8 = raised(np.maximum(priority, SMALLEST_PRIORITY), alpha) * (priority > 0)
    return masses


def assign(  # noqa: PLR0917  (the kernel's arguments)
    slots: I4,
    priority: F8,
    mass: F8,
    priorities: F8,
    masses: F8,
    ahead: F8,
    values: F8,
    sums: F8,
    largest: F8,
    start: I8,
    positive: I8,
) -> None:
    """As `tree_kernels.assign`."""
    kept = _last_of_each(slots)
    slots, priority, mass = slots[kept], priority[kept], mass[kept]
    positive[0] += np.count_nonzero(priority) - np.count_nonzero(priorities[slots])
    priorities[slots] = priority
    masses[slots] = mass
    block = np.unique(slots >> 4)
    items = 16 * block[:, None] + _CHILDREN
    ahead[items], values[block] = _running(masses[items])
    largest[block] = priorities[items].max(axis=1)
    _raise(block, np.zeros_like(block), values, sums, largest, start)


def assign_grouped(  # noqa: PLR0917  (the kernel's arguments)
    slots: I4,
    priority: F8,
    mass: F8,
    code: I4,
    priorities: F8,
    masses: F8,
    ahead: F8,
    group: I4,
    values: F8,
    sums: F8,
    largest: F8,
    start: I8,
    positive: I8,
    members: I8,
    marked: U1,  # noqa: ARG001  (the kernel's arguments)
) -> None:
    """As `tree_kernels.assign_grouped`."""
    kept = _last_of_each(slots)
    slots, priority, mass, code = slots[kept], priority[kept], mass[kept], code[kept]
    old = group[slots]
    held = old >= 0
    np.subtract.at(members, old[held], 1)
    np.add.at(members, code, 1)
    np.subtract.at(positive, old[held], priorities[slots[held]] > 0)
    np.add.at(positive, code, priority > 0)
    group[slots] = code
    priorities[slots] = priority
    masses[slots] = mass
    owner = np.concatenate([old[held], code])
    owner, block = np.unique([owner, np.concatenate([slots[held], slots]) >> 4], axis=1)
    items = 16 * block[:, None] + _CHILDREN
    own = group[items] == owner[:, None]
    before, total = _running(np.where(own, masses[items], 0.0))
    ahead[items[own]] = before[own]
    values[owner * np.int64(len(largest)) + block] = total
    largest[block] = priorities[items].max(axis=1)
    _raise(block, owner, values, sums, largest, start)


def _last_of_each(slots: I4) -> NDArray[np.intp]:
    """Where each slot occurs last."""
    _, last = np.unique(slots[::-1], return_index=True)
    return len(slots) - 1 - last


def _running(items: F8) -> tuple[F8, F8]:
    """(The sums before each item of a block, the block's total) of items [n, 16]."""
    total = np.cumsum(items, axis=1)
    return np.concatenate([np.zeros((len(items), 1)), total[:, :-1]], axis=1), total[:, -1]


def _raise(block: I4, owner: I4, values: F8, sums: F8, largest: F8, start: I8) -> None:  # noqa: PLR0917  (the kernel's arguments)
    """As `tree_kernels._raise`."""
    for level in range(len(start) - 1):
        owner, block = np.unique([owner, block >> 4], axis=1)
        base = owner * np.int64(len(largest))
        items = start[level] + 16 * block[:, None] + _CHILDREN
        at = base[:, None] + items
        sums[at], total = _running(values[at])
        if level < len(start) - 2:
            values[base + start[level + 1] + block] = total
            largest[start[level + 1] + block] = largest[items].max(axis=1)


def descend(  # noqa: PLR0917  (the kernel's arguments)
    uniforms: F8,
    ahead: F8,
    values: F8,
    sums: F8,
    start: I8,
    size: int,
    even: float | None,
    out: I4,
) -> bool:
    """As `tree_kernels.descend`."""
    if not ((uniforms >= 0) & (uniforms < 1)).all():
        return False
    extra = 0.0 if even is None else even
    total = sums[-1] + values[-1] + extra * size
    target = uniforms * total
    place = np.zeros(len(uniforms), np.int64)
    none = np.zeros(len(uniforms), np.int64)
    covered = 16.0 ** (len(start) - 1)
    for level in range(len(start) - 2, -1, -1):
        target, place = _step(sums, values, none + start[level], covered, size, extra, target, place)
        covered /= 16.0
    out[:] = _step(ahead, None, none, 1.0, size, extra, target, place)[1]
    return True


def _step(  # noqa: PLR0917  (the kernel's arguments)
    sums: F8,
    values: F8 | None,
    first: I8,
    covered: float,
    size: int,
    even: float,
    target: F8,
    place: I8,
) -> tuple[F8, I8]:
    """As `tree_kernels._step`, with where each draw's level begins."""
    at = first + 16 * place
    rest = np.maximum(size - 16.0 * covered * place, 0.0)[:, None]
    before = sums[at[:, None] + _CHILDREN] + even * np.minimum(covered * _CHILDREN, rest)
    k = (before[:, 1:] <= target[:, None]).sum(axis=1)
    if values is None:
        return target, 16 * place + k
    value = values[at + k] + even * np.clip(rest[:, 0] - covered * k, 0.0, covered)
    target = np.minimum(target - before[np.arange(len(k)), k], value * _BELOW)
    return target, 16 * place + k


def descend_grouped(  # noqa: PLR0917  (the kernel's arguments)
    uniforms: F8,
    ahead: F8,
    group: I4,
    values: F8,
    sums: F8,
    start: I8,
    present: I8,
    out: I4,
) -> bool:
    """As `tree_kernels.descend_grouped`."""
    if not ((uniforms >= 0) & (uniforms < 1)).all():
        return False
    x = uniforms * len(present)
    rank = x.astype(np.int64)
    base = present[rank] * start[-1]
    last = base + start[-1] - 1
    target = (x - rank) * (sums[last] + values[last])
    place = np.zeros(len(uniforms), np.int64)
    for level in range(len(start) - 2, -1, -1):
        target, place = _step(sums, values, base + start[level], 1.0, 0, 0.0, target, place)
    items = 16 * place[:, None] + _CHILDREN
    reached = (group[items] == present[rank][:, None]) & (ahead[items] <= target[:, None])
    out[:] = 16 * place + 15 - reached[:, ::-1].argmax(axis=1)
    return True
