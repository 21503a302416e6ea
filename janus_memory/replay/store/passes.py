"""The two passes of a replay step over a store's columns: gather what was drawn, write back how it was judged.

In numpy: what `drawing` and `revising` do in one compiled call each, by steps, for a machine without a compiler and as
the tests' reference. Both give the same bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from janus_memory.errors import ReplayError
from janus_memory.replay.law.laws import LARGEST_PRIORITY

__all__ = ["Judged", "Source", "gather", "judge", "refusal"]

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
U4 = NDArray[np.uint32]
F4 = NDArray[np.float32]
F8 = NDArray[np.float64]


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


def gather(source: Source, slots: I4, now_ns: int, replay_count: I4, last_replayed: I8) -> Source:
    """The rows at `slots`, as copies; each is counted and stamped as replayed, as often as it is drawn.

    Args:
        source: the columns.
        slots: int32 [B], inside the columns.
        now_ns: what `last_replayed` becomes.
        replay_count: int32 [N], in place.
        last_replayed: int64 [N], in place.
    """
    np.add.at(replay_count, slots, 1)
    last_replayed[slots] = now_ns
    return Source._make([column.take(slots, axis=0) for column in source])


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
        ReplayError: a slot that holds nothing, a TD error that is not finite, a violation outside [0, 1], or a
            priority above `LARGEST_PRIORITY`; nothing was written.
    """
    bad = (slots < 0) | (slots >= size) | ~np.isfinite(td)
    if violation is not None:
        bad |= ~((violation >= 0) & (violation <= 1))
    if bad.any():
        raise refusal(int(bad.argmax()), slots, td, violation, size)
    fresh = target.generation[slots] == generations
    kept = slots[fresh]
    v = target.violation[kept] if violation is None else violation[fresh]
    logic, reward, floor = law
    p = np.abs(td[fresh].astype(np.float64)) + logic * v.astype(np.float64)
    p = np.maximum(p + reward * np.abs(target.reward[kept].astype(np.float64)), floor)
    if (p > LARGEST_PRIORITY).any():
        raise refusal(int(np.flatnonzero(fresh)[(p > LARGEST_PRIORITY).argmax()]), slots, td, violation, size)
    if violation is not None:
        target.violation[kept] = v
    target.td_error[kept] = np.abs(td[fresh])
    target.priority[kept] = p
    target.judged[kept] = True
    return kept, p


def refusal(row: int, slots: I4, td: F4, violation: F4 | None, size: int) -> ReplayError:
    """What is wrong with row `row` of an update."""
    if not 0 <= slots[row] < size:
        wrong, cure = f"slot {slots[row]} of {size} held", "update what `sample` has drawn"
    elif not np.isfinite(td[row]):
        wrong, cure = f"TD error {td[row]}", "look for training that left the finite numbers"
    elif violation is not None and not 0 <= violation[row] <= 1:
        wrong, cure = f"violation {violation[row]} outside [0, 1]", "correct what judges the rules"
    else:
        wrong, cure = f"priority above {LARGEST_PRIORITY:g}", "lower lambda_logic and lambda_reward"
    return ReplayError(f"update refused: {wrong} in row {row}; the store is unchanged; {cure}")
