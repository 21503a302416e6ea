"""Events cross topics as JSON and come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from janus_memory.errors import SessionError, WireError
from janus_memory.events import (
    Barrier,
    Cut,
    MarketEvent,
    PackedArray,
    decode,
    encode,
    event_id,
    is_session_id,
)
from janus_memory.sleep.sessions import session_folder

BARRIER = Barrier(event_id="x", market="fx", as_of=5, session_id="d1")


def test_equal_parts_give_equal_ids() -> None:
    """An id is a function of what the event says, and of nothing else."""
    assert event_id("cut", "fx", 1) == event_id("cut", "fx", 1)
    assert len({event_id("a", "bc"), event_id("ab", "c"), event_id("abc"), event_id("a", "b", "c")}) == 4
    assert len(event_id("a")) == 32


@given(
    market=st.text(),
    session=st.text(),
    as_of=st.integers(0, 2**63 - 1),
    kind=st.sampled_from(["open", "close"]),
)
def test_an_event_survives_its_encoding(market: str, session: str, as_of: int, kind: str) -> None:
    """Any text and any time of 64 bits."""
    event = MarketEvent(
        event_id=event_id(market, as_of),
        market=market,
        as_of=as_of,
        kind="open" if kind == "open" else "close",
        session_id=session,
    )
    assert decode(MarketEvent, encode(event)) == event


@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=4)))
def test_a_packed_array_keeps_every_bit(array: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """NaN payloads and negative zeros included."""
    unpacked = PackedArray.pack(array).unpack()
    assert unpacked.shape == array.shape
    assert unpacked.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a Barrier"),
        (b"{}", "not a Barrier"),
        (b'"\xff"', "not a Barrier"),
        (b"[" * 100_000, "not a Barrier"),
        (encode(BARRIER).replace(b'"fx"', b"1"), "not a Barrier"),
        (encode(BARRIER).replace(b'"market"', b'"markt"'), "not a Barrier"),
        (encode(BARRIER).replace(b'"version":1', b'"version":2'), "version 2, this program reads 1"),
        (encode(BARRIER).replace(b'"barrier"', b'"cut"'), "not a Barrier"),
    ],
)
def test_what_is_not_the_event_is_refused(data: bytes, message: str) -> None:
    """Damage, another version, unknown fields and another event are all WireError."""
    with pytest.raises(WireError, match=message):
        decode(Barrier, data)


@given(st.binary(max_size=60))
def test_random_bytes_are_refused(data: bytes) -> None:
    """The only error is WireError."""
    with pytest.raises(WireError):
        decode(Cut, data)


@given(st.one_of(st.text(max_size=4), st.from_regex(r"[0-9a-zA-Z._:+/-]{1,66}", fullmatch=True)))
def test_a_session_id_is_what_can_be_a_folder(text: str) -> None:
    """Events refuse exactly the names that the state folder would refuse."""
    try:
        session_folder(Path(), text)
    except SessionError:
        assert not is_session_id(text)
    else:
        assert is_session_id(text)


def test_a_cut_has_a_key_of_its_own() -> None:
    """Compaction keeps the newest cut of each market, session and partition."""
    cut = Cut(
        event_id="x",
        market="fx",
        as_of=1,
        session_id="d1",
        partition=3,
        from_offset=0,
        to_offset=1,
        rows=0,
        early=0,
        late=0,
        sha256="",
        settings_version="",
    )
    assert cut.key == "fx/d1/3"
