"""Rows are judged all at once, and as if each came alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_memory.transition import MarketSpec, Transitions
from streams.codec import Frame, Ids, encode_frame, read_frame
from streams.validation import Verdict, judge
from tests.unit.wire_rows import DISCRETE, NOW_MS, NOW_NS, VECTOR, make_rows

SKEW_S = 60.0
LATEST = NOW_NS + 60_000_000_000


def _judge(frame: Frame, spec: MarketSpec = DISCRETE) -> Verdict:
    return judge(frame, spec, record_ms=NOW_MS, max_skew_s=SKEW_S)


def _frame(rows: Transitions, spec: MarketSpec = DISCRETE) -> Frame:
    return read_frame(encode_frame(rows, spec), spec)


def _with(rows: Transitions, name: str, row: int, value: Any) -> Transitions:
    column = getattr(rows, name).copy()
    column[row] = value
    return dataclasses.replace(rows, **{name: column})


@pytest.mark.parametrize(
    ("spec", "name", "value", "reason"),
    [
        (DISCRETE, "state", [0, np.nan, 0], "state is NaN or infinite"),
        (DISCRETE, "next_state", [0, 0, -np.inf], "next_state is NaN or infinite"),
        (DISCRETE, "reward", np.inf, "reward is NaN or infinite"),
        (DISCRETE, "action", 3, "action is out of range 0..2"),
        (DISCRETE, "action", -1, "action is out of range 0..2"),
        (DISCRETE, "next_action", 3, "next_action is out of range 0..2"),
        (DISCRETE, "next_action", -2, "next_action is out of range 0..2"),
        (VECTOR, "action", [0, np.nan], "action is NaN or infinite"),
        (VECTOR, "next_action", [0, np.nan], "next_action is NaN or infinite"),
        (VECTOR, "next_action", [np.inf, 0], "next_action is NaN or infinite"),
        (DISCRETE, "timestamp", -1, "timestamp is negative"),
        (DISCRETE, "timestamp", LATEST + 1, "timestamp is ahead of the record's Kafka timestamp"),
        (DISCRETE, "done", 2, "done is neither 0 nor 1"),
        (DISCRETE, "transition_id", b"", "transition_id is empty"),
        (DISCRETE, "instrument", b"a\0b", "instrument contains NUL"),
        (DISCRETE, "instrument", b"\0b", "instrument contains NUL"),
        (DISCRETE, "agent_id", b"\xff", "agent_id is not UTF-8"),
        (DISCRETE, "episode_id", b"\xed\xa0\x80", "episode_id is not UTF-8"),
        (DISCRETE, "domain", b"", "domain is empty"),
    ],
)
@pytest.mark.parametrize("row", [0, 2])
def test_a_bad_row_is_named_and_the_others_stay(
    spec: MarketSpec, name: str, value: Any, reason: str, row: int
) -> None:
    """One bad value costs its own row only."""
    rows = make_rows(["a", "bb", "c"], spec)
    verdict = _judge(_frame(_with(rows, name, row, value), spec), spec)
    assert (verdict.rejected, verdict.reasons) == ((row,), (reason,))
    others = np.arange(3) != row
    expected = _with(rows, name, row, value).take(others)
    assert verdict.good.canonical_bytes() == expected.canonical_bytes()


@pytest.mark.parametrize(
    ("spec", "name", "value"),
    [
        (DISCRETE, "timestamp", LATEST),
        (DISCRETE, "timestamp", 0),
        (DISCRETE, "state", [3e38, 3e38, 3e38]),
        (DISCRETE, "action", 2),
        (DISCRETE, "next_action", 2),
        (VECTOR, "next_action", [1, 2]),
        (DISCRETE, "agent_id", "é".encode() * 32),
        (DISCRETE, "transition_id", b"x" * 64),
    ],
)
def test_a_value_at_the_edge_is_good(spec: MarketSpec, name: str, value: Any) -> None:
    """Limits are inclusive."""
    rows = _with(make_rows(["a", "bb", "c"], spec), name, 1, value)
    verdict = _judge(_frame(rows, spec), spec)
    assert verdict.rejected == ()
    assert verdict.good.canonical_bytes() == rows.canonical_bytes()


def test_a_row_at_the_limit_stays_beside_one_that_is_beyond() -> None:
    """The mask of bad rows is as inclusive as the cheap question."""
    rows = make_rows(["a", "b", "c"], stamps=[LATEST, LATEST + 1, 0])
    assert _judge(_frame(rows)).rejected == (1,)


def _ids_frame(values: list[bytes], width: int) -> Frame:
    """A frame whose transition ids have any width."""
    frame = _frame(make_rows([str(i) for i in range(len(values))]))
    column = Ids(w=width, b=b"".join(value.ljust(width, b"\0") for value in values))
    return dataclasses.replace(frame, ids={**frame.ids, "transition_id": column})


def test_an_id_beyond_64_bytes_is_rejected() -> None:
    """A wide column is fine as long as the ids in it are not long."""
    verdict = _judge(_ids_frame([b"a" * 64, b"b" * 65, b"c"], 100))
    assert verdict.rejected == (1,)
    assert verdict.reasons == ("transition_id is longer than 64 bytes",)
    assert verdict.good.transition_id.tolist() == [b"a" * 64, b"c"]


def test_two_halves_of_a_letter_are_two_bad_ids() -> None:
    """Bytes that are UTF-8 only across the border of two rows are not UTF-8."""
    verdict = _judge(_ids_frame([b"a\xc3", b"\xa9b", b"ok"], 2))
    assert verdict.rejected == (0, 1)


def test_a_bad_value_for_all_rows_rejects_all() -> None:
    """An id sent once is every row's id."""
    frame = _frame(make_rows(["a", "b"]))
    verdict = _judge(dataclasses.replace(frame, ids={**frame.ids, "agent_id": Ids(w=1, b=b"\xff")}))
    assert verdict.rejected == (0, 1)
    assert len(verdict.good) == 0


@pytest.mark.parametrize("record_ms", [-(2**62), -1, 2**62, 2**63 - 1])
def test_no_kafka_timestamp_breaks_the_check(record_ms: int) -> None:
    """A record's own timestamp is the producer's word and may be anything."""
    verdict = judge(_frame(make_rows(["a"])), DISCRETE, record_ms=record_ms, max_skew_s=0.0)
    assert len(verdict.rejected) == (0 if record_ms > 0 else 1)


def test_the_first_failed_check_gives_the_reason() -> None:
    """Reasons do not depend on how many checks a row fails."""
    rows = _with(_with(make_rows(["a"]), "reward", 0, np.nan), "state", 0, np.nan)
    assert _judge(_frame(rows)).reasons == ("state is NaN or infinite",)


_BROKEN: dict[str, list[Any]] = {
    "transition_id": [b"", b"\xff", b"a\0b", "é".encode()],
    "agent_id": [b"", b"\xc3", b"\0a"],
    "state": [np.nan, np.inf, 3e38],
    "reward": [np.nan, -np.inf],
    "action": [-1, 3, 2**31 - 1],
    "next_action": [-2, 3, 0],
    "timestamp": [-1, LATEST + 1, 2**63 - 1, -(2**63)],
    "done": [2, 255],
}


@given(st.data(), st.integers(1, 7))
def test_a_frame_is_judged_as_its_rows_one_by_one(data: st.DataObject, n: int) -> None:
    """Batch = singles: the verdict on a row does not depend on its neighbours."""
    rows = make_rows([f"t{i}" for i in range(n)])
    for name in data.draw(st.lists(st.sampled_from(sorted(_BROKEN)), max_size=4)):
        rows = _with(rows, name, data.draw(st.integers(0, n - 1)), data.draw(st.sampled_from(_BROKEN[name])))
    whole = _judge(_frame(rows))
    singles = [_judge(_frame(rows.take(slice(i, i + 1)))) for i in range(n)]
    assert whole.rejected == tuple(i for i, single in enumerate(singles) if single.rejected)
    assert whole.reasons == tuple(reason for single in singles for reason in single.reasons)
    kept = Transitions.concatenate([single.good for single in singles])
    assert whole.good.canonical_bytes() == kept.canonical_bytes()
