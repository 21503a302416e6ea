"""Transitions as columns: order, round trips and the successor's action."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_memory.errors import WireError
from janus_memory.transition import MarketSpec, Transitions, feature_set_id, fill_next_actions

SPEC = MarketSpec("m", ("a", "b"), "discrete", 3)


def _rows(n: int, seed: int = 0) -> Transitions:
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(n + 1, 2)).astype(np.float32)
    empty = Transitions.empty(SPEC, n)
    return dataclasses.replace(
        empty,
        transition_id=np.array([f"t{i:05d}" for i in range(n)], "S64"),
        instrument=np.full(n, b"EURUSD", "S64"),
        agent_id=np.full(n, b"agent", "S64"),
        episode_id=np.full(n, b"e", "S64"),
        timestamp=np.arange(n, dtype=np.int64),
        state=state[:-1],
        next_state=state[1:],
        action=rng.integers(0, 3, n).astype(np.int32),
        reward=rng.normal(size=n).astype(np.float32),
    )


@given(st.permutations(range(12)))
def test_total_order_ignores_arrival(order: list[int]) -> None:
    """Whatever the arrival, sorting gives the same bytes; equal times fall back to the id."""
    rows = _rows(12)
    rows = dataclasses.replace(rows, timestamp=rows.timestamp // 3)
    assert rows.take(np.array(order)).sorted().canonical_bytes() == rows.sorted().canonical_bytes()


def test_next_action_comes_from_the_successor() -> None:
    """Each row learns the action of the next one; the last one stays unknown."""
    rows = fill_next_actions(_rows(5))
    assert rows.next_action.tolist() == [*_rows(5).action[1:].tolist(), -1]


def test_a_missing_row_leaves_the_next_action_unknown() -> None:
    """Where a row is missing, the successor's state differs and nothing is filled in."""
    kept = np.array([0, 1, 3, 4])
    rows = fill_next_actions(_rows(5).take(kept))
    assert rows.next_action[1] == -1
    assert rows.next_action[2] == rows.action[3]


def test_a_done_row_has_no_successor() -> None:
    """An episode that ended does not borrow the next one's action."""
    rows = _rows(3)
    rows = dataclasses.replace(rows, done=np.array([1, 0, 0], np.uint8))
    assert fill_next_actions(rows).next_action.tolist() == [-1, int(rows.action[2]), -1]


def test_known_next_actions_are_kept() -> None:
    """What the producer said wins over what the log would say."""
    rows = dataclasses.replace(_rows(2), next_action=np.array([2, 1], np.int32))
    assert fill_next_actions(rows).next_action.tolist() == [2, 1]


def test_interleaved_episodes_do_not_mix() -> None:
    """Two agents on the same bars each find their own successor."""
    one, two = _rows(4, 1), _rows(4, 2)
    two = dataclasses.replace(
        two, agent_id=np.full(4, b"other", "S64"), transition_id=np.array([f"u{i}" for i in range(4)], "S64")
    )
    rows = fill_next_actions(Transitions.concatenate([one, two]).sorted())
    for agent, source in ((b"agent", one), (b"other", two)):
        assert rows.next_action[rows.agent_id == agent].tolist() == [*source.action[1:].tolist(), -1]


def test_vector_actions_are_filled_row_by_row() -> None:
    """A real-valued action travels whole; unknown is a row of NaN."""
    spec = dataclasses.replace(SPEC, action_kind="vector", action_size=2)
    base = _rows(3)
    action = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = dataclasses.replace(base, action=action, next_action=Transitions.empty(spec, 3).next_action)
    filled = fill_next_actions(rows).next_action
    assert filled[:2].tolist() == action[1:].tolist()
    assert np.isnan(filled[2]).all()


def test_arrays_round_trip_and_sizes_zero_and_one() -> None:
    """A batch rebuilt from its columns is the same batch, also when empty."""
    for n in (0, 1, 7):
        rows = _rows(n)
        again = Transitions.from_arrays(rows.arrays("rows/"), "rows/")
        assert again.canonical_bytes() == rows.canonical_bytes()
        assert len(fill_next_actions(rows)) == n


def test_feature_order_changes_the_feature_set() -> None:
    """A reordered vector cannot pass for the right one."""
    assert feature_set_id(("a", "b")) != feature_set_id(("b", "a"))
    assert feature_set_id(("a", "b")) == feature_set_id(("a", "b"))


def test_rows_are_built_from_the_columns_that_one_has() -> None:
    """Single values stand for all rows, the domain is the instrument, the others are empty."""
    spec = MarketSpec("fx", ("a", "b"), "discrete", 3)
    rows = Transitions.of(
        spec, timestamp=[1, 2], instrument="€", state=[[1, 2], [3, 4]], action=[0, 2], done=True
    )
    expected = Transitions.empty(spec, 2)
    expected.timestamp[:], expected.done[:], expected.action[:] = [1, 2], 1, [0, 2]
    expected.state[:] = [[1, 2], [3, 4]]
    expected.instrument[:] = expected.domain[:] = "€".encode()
    assert rows.canonical_bytes() == expected.canonical_bytes()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"price": [1, 2]}, "unknown column 'price'"),
        ({"reward": [1, 2, 3]}, "`reward` of shape"),
        ({"state": [[1], [2]]}, "`state` of shape"),
        ({"action": [0.5, 1]}, "`action` has values that are not int32"),
        ({"action": [0, 2**40]}, "`action` has values that are not int32"),
        ({"agent_id": "x" * 65}, "over 64 bytes"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, Any], message: str) -> None:
    """Nothing is cut, wrapped or rounded."""
    with pytest.raises(WireError, match=re.escape(message)):
        Transitions.of(MarketSpec("fx", ("a", "b"), "discrete", 3), timestamp=[1, 2], **columns)
