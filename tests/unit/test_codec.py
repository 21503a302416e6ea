"""Frames and JSON transitions: what is written is read, and nothing else is."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from janus_memory.errors import WireError
from janus_memory.transition import MarketSpec, Transitions
from streams.codec import decode_frame, decode_json, encode_frame, read_frame, read_json
from tests.unit.wire_rows import DISCRETE, VECTOR, make_rows, transitions

JSON: dict[str, Any] = {
    "v": 1,
    "market": "fx",
    "feature_set_id": DISCRETE.feature_set_id,
    "transition_id": "t",
    "instrument": "I",
    "agent_id": "a",
    "episode_id": "e",
    "state": [1.0, 2.0, 3.0],
    "action": 1,
    "reward": 0.5,
    "next_state": [0, 0, 0],
    "done": True,
    "timestamp": 5,
}


def _frame(rows: Transitions, **changes: object) -> bytes:
    """A frame with some keys of its map replaced; None takes a key out."""
    content = msgspec.msgpack.decode(encode_frame(rows, DISCRETE)) | changes
    return msgspec.msgpack.encode({key: value for key, value in content.items() if value is not None})


def _json(**changes: object) -> bytes:
    return msgspec.json.encode(JSON | changes)


@given(transitions(DISCRETE))
def test_a_discrete_frame_is_read_as_written(rows: Transitions) -> None:
    """Every column keeps every bit."""
    assert decode_frame(encode_frame(rows, DISCRETE), DISCRETE).canonical_bytes() == rows.canonical_bytes()


@given(transitions(VECTOR))
def test_a_vector_frame_is_read_as_written(rows: Transitions) -> None:
    """Every column keeps every bit, unknown next actions as NaN included."""
    assert decode_frame(encode_frame(rows, VECTOR), VECTOR).canonical_bytes() == rows.canonical_bytes()


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_equal_ids_are_sent_once(n: int) -> None:
    """A thousand rows of one agent do not repeat its name."""
    rows = make_rows([f"t{i:03}" for i in range(n)])
    content = msgspec.msgpack.decode(encode_frame(rows, DISCRETE))
    assert content["agent_id"] == {"w": 5, "b": b"agent"}
    assert len(content["transition_id"]["b"]) == 4 * n
    assert "domain" not in content
    assert "next_action" not in content


def test_a_frame_without_rows_is_not_written() -> None:
    """An empty record would have nobody to belong to."""
    with pytest.raises(WireError, match="at least one row"):
        encode_frame(make_rows([]), DISCRETE)


def test_rows_of_another_market_are_not_written() -> None:
    """The encoder names the column that does not fit."""
    with pytest.raises(WireError, match="column action"):
        encode_frame(make_rows(["a"], VECTOR), DISCRETE)


def test_unknown_keys_are_passed_over() -> None:
    """A producer may add keys of its own."""
    rows = make_rows(["a", "b"])
    assert len(decode_frame(_frame(rows, extra={"x": [1]}), DISCRETE)) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"v": 2}, "unknown schema version 2"),
        ({"v": 2, "state": None}, "unknown schema version 2"),
        ({"market": "other"}, "market 'other' on the topic of market 'fx'"),
        ({"feature_set_id": "0" * 16}, "feature set"),
        ({"state": b"\0" * 20}, "wrong dimension: state has 20 bytes, 24 expected"),
        ({"next_state": b""}, "wrong dimension: next_state"),
        ({"action": b"\0" * 9}, "wrong dimension: action"),
        ({"next_action": b"\0"}, "wrong dimension: next_action"),
        ({"timestamp": b"\0" * 8}, "wrong dimension: timestamp"),
        ({"done": b"\0\0\0"}, "wrong dimension: done"),
        ({"reward": None}, "missing required field `reward`"),
        ({"n": 0}, "a frame of 0 rows"),
        ({"n": 10**15}, "rows in"),
        ({"n": -1}, "a frame of -1 rows"),
        ({"n": 3}, "transition_id has 2 bytes for 3 rows"),
        ({"transition_id": {"w": 1, "b": b"a"}}, "transition_id has 1 bytes for 2 rows"),
        ({"agent_id": {"w": 0, "b": b""}}, "agent_id has 0 bytes"),
        ({"agent_id": {"w": -1, "b": b""}}, "agent_id has 0 bytes"),
        ({"agent_id": {"w": 2, "b": b"abc"}}, "agent_id has 3 bytes"),
        ({"agent_id": "a"}, "Expected `object`"),
    ],
)
def test_a_bad_frame_says_what_is_wrong(changes: dict[str, object], message: str) -> None:
    """A frame that is wrong as a whole is refused with the reason."""
    with pytest.raises(WireError, match=message):
        read_frame(_frame(make_rows(["a", "b"]), **changes), DISCRETE)


def test_a_reordered_feature_set_is_refused() -> None:
    """The same features in another order are another set."""
    other = dataclasses.replace(DISCRETE, features=DISCRETE.features[::-1])
    with pytest.raises(WireError, match="feature set"):
        read_frame(encode_frame(make_rows(["a"]), other), DISCRETE)


@pytest.mark.parametrize(("spec", "action"), [(DISCRETE, 2), (VECTOR, [0.5, -1.5])])
@pytest.mark.parametrize("known", [False, True])
def test_a_json_transition_equals_its_frame(spec: MarketSpec, action: object, known: bool) -> None:
    """One row by JSON and the same row by msgpack are the same bytes afterwards."""
    content = JSON | {"market": spec.name, "action": action, "domain": "D"}
    content |= {"next_action": action} if known else {}
    rows = decode_json(msgspec.json.encode(content), spec)
    assert decode_frame(encode_frame(rows, spec), spec).canonical_bytes() == rows.canonical_bytes()
    assert (rows.transition_id[0], rows.domain[0], rows.timestamp[0], rows.done[0]) == (b"t", b"D", 5, 1)
    assert np.array_equal(np.atleast_1d(rows.action[0]), np.atleast_1d(action))  # type: ignore[call-overload]  # an int or a list
    assert rows.state.tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"v": 9}, "unknown schema version 9"),
        ({"state": [1.0]}, "wrong dimension: state has 1 values, 3 expected"),
        ({"action": [1.0]}, "wrong dimension: action of market fx is an index"),
        ({"next_action": [1.0]}, "wrong dimension: next_action"),
        ({"transition_id": "a\0"}, "transition_id contains NUL"),
        ({"timestamp": 2**63}, "64 bits"),
        ({"timestamp": 10**30}, "undecodable|64 bits"),
        ({"reward": None}, "undecodable"),
        ({"done": 1}, "undecodable"),
    ],
)
def test_a_bad_json_transition_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    """A JSON transition that is wrong as a whole is refused with the reason."""
    text = (
        _json(**changes)
        if changes.get("timestamp") != 10**30
        else _json().replace(b":5}", b":1" + b"0" * 30 + b"}")
    )
    with pytest.raises(WireError, match=message):
        read_json(text, DISCRETE)


def test_a_number_beyond_float32_becomes_infinite() -> None:
    """It is left to the row check, which rejects it by name."""
    assert np.isinf(read_json(_json(reward=1e300), DISCRETE).reward).all()


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b"\x91" * 100_000)
@example(b'{"v":1,"market":"\xff"}')
def test_random_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    """Whatever the bytes, the only error is WireError."""
    for read in (read_frame, read_json):
        with pytest.raises(WireError):
            read(data, DISCRETE)


@given(st.data())
def test_damaged_frames_are_read_or_refused(data: st.DataObject) -> None:
    """Flipping any byte of a good frame gives rows or WireError, never another error."""
    value = bytearray(encode_frame(make_rows(["a", "bb"]), DISCRETE))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        rows = decode_frame(bytes(value), DISCRETE)
    except WireError:
        return
    assert len(rows.canonical_bytes()) > 0
