"""The compiled steps of the sum tree. `tree_arrays` has the same functions in numpy; both give the same bits.

Items lie in blocks of 16. Each item knows its value and the sum of those before it in its block, added from
left to right. The leaves are the lowest level; the items of a level are the totals of the blocks below, until
one block holds all. The levels above the leaves lie one after another, level l from `start[l]` on. No
fastmath: a reordered or fused sum has other bits. Indices are unsigned, which lets the loops become vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from janus_memory.replay.law.laws import SMALLEST_PRIORITY
from janus_memory.replay.law.power import power

__all__ = ["assign", "assign_grouped", "descend", "descend_grouped", "inspect", "powers"]

F8 = NDArray[np.float64]
I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
U1 = NDArray[np.uint8]
_Function = TypeVar("_Function", bound=Callable[..., Any])

_0 = np.uint64(0)
_1 = np.uint64(1)
_2 = np.uint64(2)
_4 = np.uint64(4)
_8 = np.uint64(8)
_16 = np.uint64(16)
# v * _BELOW is the float64 next below v, for every normal v.
_BELOW = 1.0 - 2.0**-53


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return kernel


@_compiled
def inspect(slots: I4, priority: F8, stop: int, largest: float) -> int:
    """The first entry whose slot is outside 0..stop-1 or whose priority is not in 0..largest; -1 for none."""
    for i in range(slots.size):
        if not (0 <= slots[i] < stop and 0.0 <= priority[i] <= largest):
            return i
    return -1


@_compiled
def powers(priority: F8, alpha: float) -> F8:
    """p^alpha of checked priorities, as `laws.powers`; float64 [n]."""
    out = np.empty(priority.size)
    for i in range(priority.size):
        p = priority[i]
        # Not max(), which is no vector instruction.
        normal = p if p > SMALLEST_PRIORITY else SMALLEST_PRIORITY  # noqa: FURB136
        out[i] = power(normal, alpha) if p > 0.0 else 0.0
    return out


@_compiled
def assign(  # noqa: PLR0917  (a kernel takes its arrays one by one)
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
    """Write leaves in the order given (of a slot twice the last counts) and recompute every block above them.

    Args:
        slots: int32 [n], the leaves to write.
        priority: float64 [n].
        mass: float64 [n].
        priorities: [leaves].
        masses: [leaves].
        ahead: [leaves], the masses before each leaf in its block.
        values: [width], the items above the leaves.
        sums: [width], the values before each item in its block.
        largest: [width], the largest priority below each item.
        start: [levels + 1].
        positive: [1], how many priorities are not zero.
    """
    more = 0
    runs = 0
    last = np.uint64(priorities.size)
    for i in range(slots.size):
        s = np.uint64(slots[i])
        runs += int(s >> _4 != last)
        last = s >> _4
        more += int(priority[i] > 0.0) - int(priorities[s] > 0.0)
        priorities[s] = priority[i]
        masses[s] = mass[i]
    positive[0] += more
    _add_up(slots, runs, _4, masses, ahead, priorities, values, largest)
    for level in range(start.size - 1):
        items = slice(start[level], start[level + 1])
        # The highest block has no item above it: its total is its last sum and value.
        above = slice(start[level + 1], start[-1])
        shift = np.uint64(4 * level + 8)
        _add_up(slots, runs, shift, values[items], sums[items], largest[items], values[above], largest[above])


@_compiled
def _add_up(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    slots: I4,
    runs: int,
    shift: np.uint64,
    items: F8,
    before: F8,
    tops: F8,
    totals: F8,
    largest: F8,
) -> None:
    """Recompute the blocks of a level that lie above these slots, or all of them where that is no more work.

    Args:
        slots: int32 [n]; a slot's block is slot >> shift.
        runs: how often a slot's block of leaves is another than that of the slot before it.
        shift: 4 for the leaves, and 4 more for each level above.
        items: the level's values.
        before: the values before each item in its block.
        tops: the largest priority of each item.
        totals: the block's total, an item of the level above; [0] above the highest.
        largest: the largest priority of each block; [0] above the highest.
    """
    blocks = items.size // 16
    whole = blocks <= runs
    last = np.uint64(blocks)
    for i in range(blocks if whole else slots.size):
        block = np.uint64(i) if whole else np.uint64(slots[i]) >> shift
        # Slots that follow one another share a block.
        if block == last:
            continue
        last = block
        first = _16 * block
        total = 0.0
        top = 0.0
        for c in range(_16):
            before[first + c] = total
            total += items[first + c]
            top = max(top, tops[first + c])
        if totals.size:
            totals[block] = total
            largest[block] = top


@_compiled
def assign_grouped(  # noqa: PLR0917  (a kernel takes its arrays one by one)
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
    marked: U1,
) -> None:
    """As `assign`, where leaves belong to groups and move between them; a group has its own levels.

    Args:
        slots: int32 [n], the leaves to write.
        priority: float64 [n].
        mass: float64 [n].
        code: int32 [n], the group of each entry.
        priorities: [leaves].
        masses: [leaves].
        ahead: [leaves], the masses of its own group before each leaf in its block.
        group: int32 [leaves], -1 where a leaf is empty.
        values: [groups * width], the items above the leaves, group by group.
        sums: [groups * width].
        largest: [width], the largest priority below each item.
        start: [levels + 1].
        positive: [groups], leaves whose priority is not zero.
        members: [groups], leaves.
        marked: [groups * width], all 0 before and after.
    """
    width = largest.size
    dirty = np.empty(2 * slots.size, np.uint64)
    owner = np.empty(2 * slots.size, np.int32)
    m = 0
    for i in range(slots.size):
        s = np.uint64(slots[i])
        block = s // _16
        old = group[s]
        for g in (old, code[i]):
            if g >= 0:
                at = np.uint64(g * width) + block
                dirty[m] = block
                owner[m] = g
                m += 1 - marked[at]
                marked[at] = 1
        if old >= 0:
            members[old] -= 1
            positive[old] -= np.int64(priorities[s] > 0.0)
        members[code[i]] += 1
        positive[code[i]] += np.int64(priority[i] > 0.0)
        group[s] = code[i]
        priorities[s] = priority[i]
        masses[s] = mass[i]
    for i in range(m):
        first = _16 * dirty[i]
        total = 0.0
        top = 0.0
        for c in range(_16):
            own = group[first + c] == owner[i]
            ahead[first + c] = total if own else ahead[first + c]
            total += masses[first + c] if own else 0.0
            top = max(top, priorities[first + c])
        at = np.uint64(owner[i] * width) + dirty[i]
        values[at] = total
        largest[dirty[i]] = top
        marked[at] = 0
    _raise(dirty, owner, m, values, sums, largest, start, marked)


@_compiled
def _raise(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    dirty: NDArray[np.uint64],
    owner: I4,
    m: int,
    values: F8,
    sums: F8,
    largest: F8,
    start: I8,
    marked: U1,
) -> None:
    """Recompute what lies above the m changed items `dirty` of the lowest level; `owner` [m] are their groups."""
    width = largest.size
    for level in range(start.size - 1):
        here = np.uint64(start[level])
        above = np.uint64(start[level + 1])
        kept = 0
        for i in range(m):
            block = dirty[i] // _16
            base = np.uint64(owner[i] * width)
            owner[kept] = owner[i]
            dirty[kept] = block
            kept += 1 - marked[base + here + block]
            marked[base + here + block] = 1
        m = kept
        for i in range(m):
            block = dirty[i]
            first = here + _16 * block
            base = np.uint64(owner[i] * width)
            marked[base + here + block] = 0
            total = 0.0
            top = 0.0
            for c in range(_16):
                sums[base + first + c] = total
                total += values[base + first + c]
                top = max(top, largest[first + c])
            # The highest block has no item above it: its total is its last sum and value.
            if level < start.size - 2:
                values[base + above + block] = total
                largest[above + block] = top


@_compiled
def descend(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    uniforms: F8,
    ahead: F8,
    values: F8,
    sums: F8,
    start: I8,
    size: int,
    even: float | None,
    out: I4,
) -> bool:
    """Inverse-CDF draws; False where a uniform is not in [0, 1), and then nothing is meant by `out`.

    Args:
        uniforms: float64 [B].
        ahead: [leaves].
        values: [width].
        sums: [width].
        start: [levels + 1].
        size: entries; they are leaves 0..size-1.
        even: what each entry weighs above its mass (the uniform half of a mixture); None for nothing.
        out: int32 [B], the leaves.
    """
    n = uniforms.size
    target = np.empty(n)
    place = np.zeros(n, np.uint64)
    total = sums[-1] + values[-1]
    if even is not None:
        total += even * size
    good = True
    for i in range(n):
        good &= 0.0 <= uniforms[i] < 1.0
        target[i] = uniforms[i] * total
    if not good:
        return False
    # Level by level for the whole batch: the draws are independent, so they share vectors.
    covered = 16.0 ** (start.size - 1)
    for level in range(start.size - 2, -1, -1):
        _step(sums, values, None, np.uint64(start[level]), covered, size, even, target, place)
        covered /= 16.0
    _step(ahead, None, None, np.uint64(0), 1.0, size, even, target, place)
    for i in range(n):
        out[i] = place[i]
    return True


@_compiled
def _step(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    sums: F8,
    values: F8 | None,
    base: NDArray[np.uint64] | None,
    first: np.uint64,
    covered: float,
    size: int,
    even: float | None,
    target: F8,
    place: NDArray[np.uint64],
) -> None:
    """Move each draw from its block to the last item of it that has no more than the target before it.

    An item covers `covered` leaves. The target goes on below as what is left of it, kept under the item's own
    value whatever the rounding, so that no item without mass is ever reached. Below the leaves there is nothing to go
    on to: their `values` are None.
    """
    for i in range(place.size):
        t = target[i]
        at = first + _16 * place[i]
        if base is not None:
            at += base[i]
        k = np.uint64(0)
        if even is None:
            k += _8 * np.uint64(sums[at + k + _8] <= t)
            k += _4 * np.uint64(sums[at + k + _4] <= t)
            k += _2 * np.uint64(sums[at + k + _2] <= t)
            k += _1 * np.uint64(sums[at + k + _1] <= t)
            if values is not None:
                target[i] = min(t - sums[at + k], values[at + k] * _BELOW)
        else:
            rest = max(size - 16.0 * covered * place[i], 0.0)
            # The leaves before item k, as a float64 beside k: exact, and no conversion in the chain.
            leaves = 0.0
            inside = sums[at + _8] + even * min(8.0 * covered, rest) <= t
            leaves += 8.0 * covered if inside else 0.0
            k += _8 if inside else _0
            inside = sums[at + k + _4] + even * min(leaves + 4.0 * covered, rest) <= t
            leaves += 4.0 * covered if inside else 0.0
            k += _4 if inside else _0
            inside = sums[at + k + _2] + even * min(leaves + 2.0 * covered, rest) <= t
            leaves += 2.0 * covered if inside else 0.0
            k += _2 if inside else _0
            inside = sums[at + k + _1] + even * min(leaves + covered, rest) <= t
            leaves += covered if inside else 0.0
            k += _1 if inside else _0
            if values is not None:
                before = sums[at + k] + even * min(leaves, rest)
                value = values[at + k] + even * min(max(rest - leaves, 0.0), covered)
                target[i] = min(t - before, value * _BELOW)
        place[i] = _16 * place[i] + k


@_compiled
def descend_grouped(  # noqa: PLR0917  (a kernel takes its arrays one by one)
    uniforms: F8,
    ahead: F8,
    group: I4,
    values: F8,
    sums: F8,
    start: I8,
    present: I8,
    out: I4,
) -> bool:
    """As `descend`, with an equal share for each group of `present` [n], int64, in that order."""
    n = uniforms.size
    width = start[-1]
    target = np.empty(n)
    place = np.zeros(n, np.uint64)
    base = np.empty(n, np.uint64)
    for i in range(n):
        if not 0.0 <= uniforms[i] < 1.0:
            return False
        # A product with a uniform below 1 rounds to less than the factor: rank and target stay inside.
        x = uniforms[i] * present.size
        rank = int(x)
        base[i] = np.uint64(present[rank] * width)
        last = base[i] + np.uint64(width) - _1
        target[i] = (x - rank) * (sums[last] + values[last])
        out[i] = present[rank]
    for level in range(start.size - 2, -1, -1):
        _step(sums, values, base, np.uint64(start[level]), 1.0, 0, None, target, place)
    for i in range(n):
        first = _16 * place[i]
        g = out[i]
        k = np.uint64(0)
        for c in range(_16):
            reached = (group[first + c] == g) & (ahead[first + c] <= target[i])
            k = np.uint64(c) if reached else k
        out[i] = first + k
    return True
