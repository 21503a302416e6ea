"""Rows that wait for their successor: who leaves, when, and with which next action."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_memory.replay.online.waiting import WaitingRoom
from janus_memory.store.arrays import array_digest
from janus_memory.transition import MarketSpec, Transitions, fill_next_actions
from tests.unit.online_rows import SPEC, frames, walks


def rows_of(**columns: object) -> Transitions:
    """Rows of one episode at times 1, 2, ..., each followed by the next one, unless the columns say otherwise."""
    n = len(columns["state"])  # type: ignore[arg-type]  # every call gives the states
    state = np.array(columns.pop("state"), np.float32)
    base = {
        "timestamp": np.arange(1, n + 1),
        "state": np.column_stack((state, state)),
        "action": np.arange(n) % 3,
    }
    rows = Transitions.of(SPEC, **{**base, **columns})  # type: ignore[arg-type]  # columns by name
    rows.next_state[:-1] = rows.state[1:]
    return rows


def names(rows: Transitions) -> list[int]:
    return [int(time) for time in rows.timestamp]


def joined(parts: list[Transitions]) -> Transitions:
    return Transitions.concatenate([Transitions.empty(SPEC), *parts])


def test_a_row_leaves_with_its_successors_action() -> None:
    """The last one waits, and leaves as it came."""
    room = WaitingRoom(SPEC, 10)
    rows = rows_of(state=[1, 2, 3])
    assert len(room.admit(rows.take(slice(0, 1)))) == 0
    first = room.admit(rows.take(slice(1, 2)))
    assert (names(first), first.next_action.tolist()) == ([1], [1])
    second = room.admit(rows.take(slice(2, 3)))
    assert (names(second), second.next_action.tolist()) == ([2], [2])
    rest = room.release()
    assert (names(rest), rest.next_action.tolist(), len(room)) == ([3], [-1], 0)


def test_done_settles_a_row_at_once() -> None:
    """And what comes after under the same name is another episode."""
    room = WaitingRoom(SPEC, 10)
    left = room.admit(rows_of(state=[1, 2, 3], done=[0, 1, 0]))
    assert (names(left), left.next_action.tolist()) == ([1, 2], [1, -1])
    assert names(room.release()) == [3]


@pytest.mark.parametrize("change", ["gap", "minus zero"])
def test_a_successor_must_continue_bit_for_bit(change: str) -> None:
    """Before a gap the next action stays unknown; -0.0 is not 0.0."""
    rows = rows_of(state=[1, 0])
    rows.next_state[0] = 5 if change == "gap" else -0.0
    left = WaitingRoom(SPEC, 10).admit(rows)
    assert (names(left), left.next_action.tolist()) == ([1], [-1])


@pytest.mark.parametrize("column", ["instrument", "agent_id", "episode_id"])
def test_another_episode_settles_nothing(column: str) -> None:
    """Instrument, agent and episode must all agree."""
    room = WaitingRoom(SPEC, 10)
    assert len(room.admit(rows_of(state=[1, 2], **{column: ["x", "y"]}))) == 0
    assert len(room) == 2


def test_what_the_row_knows_is_kept() -> None:
    """A next action that came on the wire is not overwritten."""
    left = WaitingRoom(SPEC, 10).admit(rows_of(state=[1, 2], next_action=[0, -1]))
    assert left.next_action.tolist() == [0]


def test_a_row_that_comes_late_is_settled_by_the_one_that_waits() -> None:
    """The later row goes on waiting for its own successor."""
    room = WaitingRoom(SPEC, 10)
    rows = rows_of(state=[1, 2, 3])
    left = room.admit(rows.take(np.array([1, 0, 2])))
    assert (names(left), left.next_action.tolist()) == ([1, 2], [1, 2])
    assert names(room.release()) == [3]


def test_nothing_follows_a_late_row_that_is_done() -> None:
    """Even if the row that waits begins where it ended."""
    rows = rows_of(state=[1, 2], done=[1, 0])
    left = WaitingRoom(SPEC, 10).admit(rows.take(np.array([1, 0])))
    assert (names(left), left.next_action.tolist()) == ([1], [-1])


def test_vector_actions_are_filled_too() -> None:
    """A next action that is not known is a row of NaN."""
    spec = MarketSpec("fx", ("a",), "vector", 2)
    rows = Transitions.of(
        spec,
        timestamp=[1, 2],
        state=[[1], [2]],
        next_state=[[2], [9]],
        action=[[1, 2], [3, 4]],
        next_action=np.full((2, 2), np.nan),
    )
    room = WaitingRoom(spec, 10)
    assert room.admit(rows).next_action.tolist() == [[3, 4]]
    assert np.isnan(room.release().next_action).all()


def test_the_room_is_bounded() -> None:
    """Above its capacity the row that has waited longest leaves, without a next action."""
    room = WaitingRoom(SPEC, 2)
    rows = rows_of(state=[1, 2, 3, 4], episode_id=["a", "b", "a", "c"])
    rows.next_state[0] = rows.state[2]
    left = room.admit(rows)
    # Row 1 is settled by row 3, which then is younger than row 2: that one gives way to row 4.
    assert (names(left), left.next_action.tolist()) == ([1, 2], [2, -1])
    assert names(room.release()) == [3, 4]


@given(
    n=st.integers(0, 60),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    capacity=st.integers(1, 5),
    shuffled=st.booleans(),
    seed=st.integers(0, 50),
)
def test_frames_do_not_matter(n: int, sizes: list[int], capacity: int, shuffled: bool, seed: int) -> None:
    """Any cut gives what single rows give: the same rows leave in the same order, the same wait."""
    rows = walks(n, seed=seed, shuffled=shuffled)
    one, many = WaitingRoom(SPEC, capacity), WaitingRoom(SPEC, capacity)
    singles = joined([one.admit(row) for row in frames(rows, [1])])
    cut = joined([many.admit(frame) for frame in frames(rows, sizes)])
    assert singles.canonical_bytes() == cut.canonical_bytes()
    assert array_digest(one.snapshot()) == array_digest(many.snapshot())
    assert len(singles) + len(one) == n


@given(n=st.integers(0, 60), seed=st.integers(0, 50))
def test_in_order_it_fills_what_a_night_fills(n: int, seed: int) -> None:
    """Rows that arrive in the total order get the next actions of `fill_next_actions`."""
    rows = walks(n, seed=seed)
    room = WaitingRoom(SPEC, n + 1)
    left = joined([room.admit(rows), room.release()]).sorted()
    assert left.canonical_bytes() == fill_next_actions(rows).canonical_bytes()


@given(n=st.integers(0, 40), at=st.integers(0, 40), seed=st.integers(0, 20))
def test_a_restored_room_goes_on(n: int, at: int, seed: int) -> None:
    """With the same rows in the same order, and from copies: what the caller does to its rows later is no matter."""
    rows = walks(n, seed=seed)
    here = WaitingRoom(SPEC, 2)
    first = rows.take(np.arange(min(at, n)))
    here.admit(first)
    there = WaitingRoom.restore(SPEC, 2, here.snapshot())
    first.state[...] = 7
    rest = rows.take(slice(at, None))
    assert here.admit(rest).canonical_bytes() == there.admit(rest).canonical_bytes()
    assert array_digest(here.snapshot()) == array_digest(there.snapshot())


def test_the_rows_that_leave_are_copies() -> None:
    """A caller may fill its arrays anew for the next frame."""
    room = WaitingRoom(SPEC, 10)
    rows = rows_of(state=[1, 2])
    left = room.admit(rows)
    before = dataclasses.replace(left, state=left.state.copy())
    rows.state[...] = 7
    assert left.canonical_bytes() == before.canonical_bytes()
