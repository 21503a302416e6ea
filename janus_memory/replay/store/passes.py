"""The two passes of a replay step over a store's columns: gather what was drawn, write back how it was judged.

Each is one call into compiled code, because at a few microseconds a step the calls themselves are what costs.
The numpy forms give the same bytes; they are for a machine without a compiler's cache, and the tests' reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from janus_memory.errors import ReplayError

__all__ = [
    "Judged",
    "Source",
    "empty_rows",
    "gather",
    "gather_kernel",
    "gather_numpy",
    "judge",
    "judge_numpy",
]

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
U4 = NDArray[np.uint32]
F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_NONE = np.zeros(0, np.float32)
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Source(NamedTuple):
    """The columns that training needs, one row a slot.

    Attributes:
        state: float32 [N, d].
        action: int32 [N] or float32 [N, m].
        reward: float32 [N].
        next_state, next_action: as state and action.
        done: uint8 [N].
        timestamp: int64 [N].
        generation: uint32 [N].
    """

    state: F4
    action: NDArray[Any]
    reward: F4
    next_state: F4
    next_action: NDArray[Any]
    done: NDArray[np.uint8]
    timestamp: I8
    generation: U4


class Judged(NamedTuple):
    """What is written when a row has been judged, one entry a slot.

    Attributes:
        generation: uint32 [N], to know a row that has been overwritten.
        reward: float32 [N], only read.
        td_error, violation: float32 [N]. priority: float64 [N].
        judged: bool [N].
    """

    generation: U4
    reward: F4
    td_error: F4
    violation: F4
    priority: F8
    judged: NDArray[np.bool_]


def _compiled(function: _Function) -> _Function:
    """Compile a kernel; the type stays that of the Python function."""
    kernel: _Function = njit(cache=True, nogil=True, fastmath=False)(function)
    return kernel


@_compiled
def _copy(column: NDArray[Any], slots: I4, out: NDArray[Any]) -> None:
    """out[i] = column[slots[i]]; numba drops the branch that does not fit the column's dimensions.

    Indices are unsigned, which lets the loop over a row become vectors.
    """
    if column.ndim == 1:
        for i in range(slots.size):
            out[i] = column[np.uint64(slots[i])]
    else:
        for i in range(slots.size):
            row, slot = np.uint64(i), np.uint64(slots[i])
            for j in range(column.shape[1]):
                out[row, j] = column[slot, j]


@_compiled
def _copy_wide(column: F4, slots: I4, out: F4) -> None:
    """The same for states, two numbers at a time where their count is even."""
    if column.shape[1] % 2 == 0:
        _copy(column.view(np.uint64), slots, out.view(np.uint64))
    else:
        _copy(column, slots, out)


@_compiled
def gather_kernel(  # noqa: PLR0917  (one flat call: a record of arrays takes longer to unpack than to use)
    slots: I4,
    now_ns: int,
    replay_count: I4,
    last_replayed: I8,
    state: F4,
    action: NDArray[Any],
    reward: F4,
    next_state: F4,
    next_action: NDArray[Any],
    done: NDArray[np.uint8],
    timestamp: I8,
    generation: U4,
    out_state: F4,
    out_action: NDArray[Any],
    out_reward: F4,
    out_next_state: F4,
    out_next_action: NDArray[Any],
    out_done: NDArray[np.uint8],
    out_timestamp: I8,
    out_generation: U4,
) -> None:
    """The compiled step of `gather`, which other kernels call too; `out_...` have one row for each slot."""
    for i in range(slots.size):
        slot = np.uint64(slots[i])
        out_reward[i] = reward[slot]
        out_done[i] = done[slot]
        out_timestamp[i] = timestamp[slot]
        out_generation[i] = generation[slot]
        replay_count[slot] += 1
        last_replayed[slot] = now_ns
    _copy(action, slots, out_action)
    _copy(next_action, slots, out_next_action)
    _copy_wide(state, slots, out_state)
    _copy_wide(next_state, slots, out_next_state)


def empty_rows(source: Source, n: int) -> Source:
    """Room for n rows of these columns."""
    # Column by column: a loop over the columns takes longer than the memory they need.
    states, actions = (n, source.state.shape[1]), (n, *source.action.shape[1:])
    kind = source.action.dtype
    return Source(
        state=np.empty(states, np.float32),
        action=np.empty(actions, kind),
        reward=np.empty(n, np.float32),
        next_state=np.empty(states, np.float32),
        next_action=np.empty(actions, kind),
        done=np.empty(n, np.uint8),
        timestamp=np.empty(n, np.int64),
        generation=np.empty(n, np.uint32),
    )


def gather(source: Source, slots: I4, now_ns: int, replay_count: I4, last_replayed: I8) -> Source:
    """The rows at `slots`, as copies; each is counted and stamped as replayed, as often as it is drawn.

    Args:
        source: the columns.
        slots: int32 [B], inside the columns.
        now_ns: what `last_replayed` becomes.
        replay_count: int32 [N], in place.
        last_replayed: int64 [N], in place.
    """
    out = empty_rows(source, slots.size)
    gather_kernel(slots, now_ns, replay_count, last_replayed, *source, *out)
    return out


def gather_numpy(source: Source, slots: I4, now_ns: int, replay_count: I4, last_replayed: I8) -> Source:
    """`gather` without compiled code."""
    np.add.at(replay_count, slots, 1)
    last_replayed[slots] = now_ns
    return Source._make([column.take(slots, axis=0) for column in source])


@_compiled
def _judge(  # noqa: PLR0917  (as gather_kernel)
    slots: I4,
    generations: U4,
    td: F4,
    violation: F4,
    size: int,
    lambda_logic: float,
    lambda_reward: float,
    floor: float,
    generation: U4,
    reward: F4,
    td_error: F4,
    stored_violation: F4,
    priority: F8,
    judged: NDArray[np.bool_],
    kept: I4,
    p: F8,
) -> int:
    """Rows kept, or -1 - i where row i cannot be used; nothing is written then."""
    given = violation.size > 0
    for i in range(slots.size):
        if not (0 <= slots[i] < size and np.isfinite(td[i])):
            return -1 - i
        if given and not 0 <= violation[i] <= 1:
            return -1 - i
    n = 0
    for i in range(slots.size):
        slot = slots[i]
        if generation[slot] != generations[i]:
            continue
        if given:
            stored_violation[slot] = violation[i]
        td_error[slot] = abs(td[i])
        judged[slot] = True
        value = (
            abs(np.float64(td[i]))
            + lambda_logic * np.float64(stored_violation[slot])
            + lambda_reward * abs(np.float64(reward[slot]))
        )
        priority[slot] = p[n] = max(value, floor)
        kept[n] = slot
        n += 1
    return n


def judge(  # noqa: PLR0917  (a batch's columns, in their order)
    target: Judged,
    slots: I4,
    generations: U4,
    td: F4,
    violation: F4 | None,
    size: int,
    law: tuple[float, float, float],
) -> tuple[I4, F8]:
    """Write back TD errors, and the priorities that follow from them (E7), for rows that are still there.

    Args:
        target: the columns, in place.
        slots: int32 [B]; of a slot that stands in it twice the last entry counts.
        generations: those the slots had when they were drawn, uint32 [B].
        td: delta, float32 [B].
        violation: v, float32 [B] in [0, 1]; the stored ones if None.
        size: rows held; slots are below it.
        law: lambda_logic, lambda_reward and the floor.

    Returns:
        The slots that still hold the row that was drawn, int32 [k], in the order given, and their p, float64 [k].

    Raises:
        ReplayError: a slot that holds nothing, a TD error that is not finite, a violation outside [0, 1];
            nothing was written.
    """
    kept, p = np.empty(slots.size, np.int32), np.empty(slots.size, np.float64)
    given = _NONE if violation is None else violation
    n = _judge(
        slots,
        generations,
        td,
        given,
        size,
        *law,
        target.generation,
        target.reward,
        target.td_error,
        target.violation,
        target.priority,
        target.judged,
        kept,
        p,
    )
    if n < 0:
        raise _refusal(-1 - n, slots, td, violation, size)
    return kept[:n], p[:n]


def judge_numpy(  # noqa: PLR0917  (a batch's columns, in their order)
    target: Judged,
    slots: I4,
    generations: U4,
    td: F4,
    violation: F4 | None,
    size: int,
    law: tuple[float, float, float],
) -> tuple[I4, F8]:
    """`judge` without compiled code."""
    bad = (slots < 0) | (slots >= size) | ~np.isfinite(td)
    if violation is not None:
        bad |= ~((violation >= 0) & (violation <= 1))
    if bad.any():
        raise _refusal(int(bad.argmax()), slots, td, violation, size)
    fresh = target.generation[slots] == generations
    kept = slots[fresh]
    if violation is not None:
        target.violation[kept] = violation[fresh]
    v = target.violation[kept] if violation is None else violation[fresh]
    logic, reward, floor = law
    p = np.abs(td[fresh].astype(np.float64)) + logic * v.astype(np.float64)
    p = np.maximum(p + reward * np.abs(target.reward[kept].astype(np.float64)), floor)
    target.td_error[kept] = np.abs(td[fresh])
    target.priority[kept] = p
    target.judged[kept] = True
    return kept, p


def _refusal(row: int, slots: I4, td: F4, violation: F4 | None, size: int) -> ReplayError:
    """What is wrong with row `row` of an update."""
    if not 0 <= slots[row] < size:
        wrong, cure = f"slot {slots[row]} of {size} held", "update what `sample` has drawn"
    elif not np.isfinite(td[row]):
        wrong, cure = f"TD error {td[row]}", "look for training that left the finite numbers"
    else:
        found = None if violation is None else violation[row]
        wrong, cure = f"violation {found} outside [0, 1]", "correct what judges the rules"
    return ReplayError(f"update refused: {wrong} in row {row}; the store is unchanged; {cure}")
