"""The compiled passes give the bytes of their numpy forms, and those follow (E7)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.config import ReplaySettings
from janus_memory.errors import ReplayError
from janus_memory.replay.priorities import priorities
from janus_memory.replay.store.passes import Judged, Source, gather, gather_numpy, judge, judge_numpy

N = 20
SETTINGS = ReplaySettings(priority_floor=0.3)
LAW = (SETTINGS.lambda_logic, SETTINGS.lambda_reward, SETTINGS.priority_floor)


def make_source(d: int, *, vector: bool, seed: int) -> Source:
    rng = np.random.default_rng(seed)

    def states() -> NDArray[np.float32]:
        return rng.standard_normal((N, d)).astype(np.float32)

    def actions() -> NDArray[np.int32] | NDArray[np.float32]:
        return (
            rng.standard_normal((N, 2)).astype(np.float32)
            if vector
            else rng.integers(-1, 3, N).astype(np.int32)
        )

    return Source(
        state=states(),
        action=actions(),
        reward=rng.standard_normal(N).astype(np.float32),
        next_state=states(),
        next_action=actions(),
        done=rng.integers(0, 2, N).astype(np.uint8),
        timestamp=rng.integers(-(2**60), 2**60, N),
        generation=rng.integers(0, 2**32, N).astype(np.uint32),
    )


def make_target(seed: int) -> Judged:
    rng = np.random.default_rng(seed)
    return Judged(
        generation=np.ones(N, np.uint32),
        reward=rng.standard_normal(N).astype(np.float32),
        td_error=np.zeros(N, np.float32),
        violation=rng.random(N).astype(np.float32),
        priority=np.zeros(N),
        judged=np.zeros(N, np.bool_),
    )


def copy(target: Judged) -> Judged:
    return Judged._make(column.copy() for column in target)


def same(left: tuple[NDArray[np.generic], ...], right: tuple[NDArray[np.generic], ...]) -> bool:
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(left, right, strict=True)
    )


@given(
    slots=st.lists(st.integers(0, N - 1), max_size=40),
    d=st.integers(1, 5),
    vector=st.booleans(),
    seed=st.integers(0, 3),
)
def test_gathered_rows_are_the_rows_at_the_slots(slots: list[int], d: int, vector: bool, seed: int) -> None:
    """Odd and even widths, both kinds of action; a row drawn twice is counted twice."""
    source = make_source(d, vector=vector, seed=seed)
    at = np.array(slots, np.int32)
    count, last = np.zeros(N, np.int32), np.full(N, -7)
    rows = gather(source, at, 5, count, last)
    assert same(rows, tuple(column[at] for column in source))
    assert count.tolist() == [slots.count(slot) for slot in range(N)]
    assert last.tolist() == [5 if slot in slots else -7 for slot in range(N)]
    other_count, other_last = np.zeros(N, np.int32), np.full(N, -7)
    assert same(rows, gather_numpy(source, at, 5, other_count, other_last))
    assert same((count, last), (other_count, other_last))


@given(
    entries=st.lists(
        st.tuples(
            st.integers(0, N - 1),
            st.booleans(),
            st.floats(-65536, 65536, width=32),
            st.floats(0, 1, width=32),
        ),
        max_size=30,
    ),
    given_violation=st.booleans(),
)
def test_a_judgement_is_that_of_the_entries_one_by_one(
    entries: list[tuple[int, bool, float, float]], given_violation: bool
) -> None:
    """Priorities are (E7) of what is stored, the last entry of a slot stays, stale entries change nothing."""
    slots = np.array([entry[0] for entry in entries], np.int32)
    generations = np.array([1 if entry[1] else 2 for entry in entries], np.uint32)
    td = np.array([entry[2] for entry in entries], np.float32)
    violation = np.array([entry[3] for entry in entries], np.float32) if given_violation else None
    target, other, expected = make_target(0), make_target(0), make_target(0)
    kept, p = judge(target, slots, generations, td, violation, N, LAW)
    for row, slot in enumerate(slots):
        if generations[row] == 1:
            if violation is not None:
                expected.violation[slot] = violation[row]
            expected.td_error[slot] = abs(td[row])
            here = slice(slot, slot + 1)
            expected.priority[here] = priorities(
                td[row : row + 1], expected.violation[here], expected.reward[here], SETTINGS
            )
            expected.judged[slot] = True
    assert same(target, expected)
    assert kept.tolist() == slots[generations == 1].tolist()
    last = dict(zip(kept.tolist(), p.tolist(), strict=True))
    assert all(expected.priority[slot] == value for slot, value in last.items())
    assert same((kept, p), judge_numpy(other, slots, generations, td, violation, N, LAW))
    assert same(target, other)


@pytest.mark.parametrize("form", [judge, judge_numpy])
@pytest.mark.parametrize(
    ("slot", "td", "violation", "match"),
    [
        (3, np.nan, None, "TD error nan in row 1"),
        (3, -np.inf, None, "TD error -inf in row 1"),
        (N, 0.0, None, f"slot {N} of {N} held in row 1"),
        (-1, 0.0, None, "slot -1 "),
        (3, 0.0, 1.5, r"violation 1\.5 outside"),
        (3, 0.0, np.nan, "violation nan outside"),
    ],
)
def test_a_judgement_with_one_bad_entry_changes_nothing(
    form: Callable[..., object], slot: int, td: float, violation: float | None, match: str
) -> None:
    """The entries before the bad one are not written either."""
    target = make_target(1)
    before = copy(target)
    v = None if violation is None else np.array([0, violation, 0], np.float32)
    with pytest.raises(ReplayError, match=match):
        form(
            target,
            np.array([2, slot, 4], np.int32),
            np.ones(3, np.uint32),
            np.array([1, td, 1], np.float32),
            v,
            N,
            LAW,
        )
    assert same(target, before)
