"""The ingest worker on a real broker: what it accepts, refuses and announces."""

from __future__ import annotations

import base64
import signal
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from janus_memory.transition import Transitions
from streams.codec import encode_frame
from streams.topics import FRAME_TYPE, JSON_TYPE, MARKET_EVENTS
from tests.integration.harness import START_NS, get, make_rows, send, wait_until
from tests.integration.ingest_driver import (
    DAY_NS,
    SESSION,
    caught_up,
    close,
    cuts,
    expected_tail,
    frame,
    frames,
    letters,
    ring,
    start,
    status,
    url,
    wait_for_cuts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.harness import Market, Process

pytestmark = pytest.mark.integration


def test_ring_equals_the_last_accepted_rows_of_the_log(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """The endpoint gives the last `capacity` rows that the log holds, byte for byte, before and after a restart."""
    own = market(capacity=50)
    child = start(process, own)
    sent = frames(own, 120)
    send(broker, own.topic, [*sent[:6], sent[5], sent[3], *sent[6:]])
    part = caught_up(own, 14)
    assert part["accepted"] == 120
    assert part["duplicates"] == 20
    expected = encode_frame(expected_tail(own, broker), own.spec)
    assert ring(own) == expected
    child.signal(signal.SIGTERM)
    assert child.exit_code() == 0
    start(process, own)
    assert ring(own) == expected


def test_every_kind_of_bad_input_goes_to_the_dead_letters_and_good_rows_stay(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """Each bad record is a dead letter with its reason and original bytes; the good rows beside it are kept."""
    wide = market()
    own = wide.changed(wide.file.with_name("narrow.toml"), max_record_bytes=20_000)
    spec = own.spec
    not_finite = make_rows(spec, 10, first=10)
    not_finite.state[3, 1] = float("nan")
    not_finite.reward[7] = float("inf")
    future = make_rows(spec, 1, first=20)
    future.timestamp[:] = 2**62
    reordered = msgspec.structs.replace(
        own.settings.market(own.name), features=own.settings.market(own.name).features[::-1]
    ).spec(own.name)
    narrow = msgspec.structs.replace(
        own.settings.market(own.name), features=own.settings.market(own.name).features[:2]
    ).spec(own.name)
    elsewhere = own.settings.market(own.name).spec("elsewhere")
    good = frame(own, make_rows(spec, 10))
    bad = {
        "undecodable": (0, b"\x00\xffnot a frame", FRAME_TYPE),
        "undecodable JSON": (0, b"{", JSON_TYPE),
        "unknown content type": (0, b"x", "text/plain"),
        "without a value": (0, None, FRAME_TYPE),
        "feature set": (0, encode_frame(make_rows(reordered, 2), reordered), FRAME_TYPE),
        "feature set ": (0, encode_frame(make_rows(narrow, 2), narrow), FRAME_TYPE),
        "market 'elsewhere'": (0, encode_frame(make_rows(elsewhere, 2), elsewhere), FRAME_TYPE),
        "state is NaN or infinite": frame(own, not_finite),
        "timestamp": frame(own, future),
        "at most 20000 allowed": frame(own, make_rows(spec, 400, first=1000)),
        "unknown schema version": (
            0,
            encode_frame(make_rows(spec, 1), spec).replace(b"\xa1v\x01", b"\xa1v\x09"),
            FRAME_TYPE,
        ),
    }
    start(process, own)
    send(broker, own.topic, [good, *bad.values(), frame(own, make_rows(spec, 10, first=30))])
    part = caught_up(own, len(bad) + 2)
    found = {letter.offset: letter for letter in letters(own, broker)}
    assert sorted(found) == list(range(1, len(bad) + 1))
    for offset, (reason, record) in enumerate(bad.items(), start=1):
        assert reason.strip() in found[offset].reason, found[offset]
        if reason != "at most 20000 allowed":
            assert base64.b64decode(found[offset].original) == (record[1] or b"")
    by_rows = found[1 + list(bad).index("state is NaN or infinite")]
    assert by_rows.rows == [3, 7]
    assert part["accepted"] == 10 + 8 + 10
    kept = not_finite.take(np.isin(np.arange(10), [3, 7], invert=True))
    rows = Transitions.concatenate([make_rows(spec, 10), kept, make_rows(spec, 10, first=30)])
    assert ring(own) == encode_frame(rows, spec)


def test_a_close_writes_a_barrier_into_every_partition_and_each_gives_a_cut(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """Rows before a barrier are in its cut; the next cut begins after it."""
    own = market(partitions=4)
    start(process, own)
    send(broker, own.topic, [frame(own, make_rows(own.spec, 5, first=10 * p), p) for p in range(4)])
    close(own, broker)
    first = wait_for_cuts(own, broker, 4)
    assert {c.partition: (c.from_offset, c.to_offset, c.rows) for (c,) in first.values()} == dict.fromkeys(
        range(4), (0, 1, 5)
    )
    send(broker, own.topic, [frame(own, make_rows(own.spec, 3, first=100), 2)])
    close(own, broker, session="2023-11-15.1", at=START_NS + 2 * DAY_NS)
    second = wait_for_cuts(own, broker, 8)
    (cut,) = second[f"{own.name}/2023-11-15.1/2"]
    assert (cut.from_offset, cut.to_offset, cut.rows) == (2, 3, 3)


def test_a_second_close_of_a_session_makes_no_second_cut(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """The barrier of a close sent twice is in the log twice and consumed once."""
    own = market()
    start(process, own)
    send(broker, own.topic, frames(own, 30))
    close(own, broker)
    close(own, broker)
    caught_up(own, 5)
    assert {key: len(times) for key, times in cuts(own, broker).items()} == {f"{own.name}/{SESSION}/0": 1}


def test_a_close_for_an_unknown_market_and_a_broken_event_are_dead_letters(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """Market events that nobody can act on are kept with the reason, and the next close is served."""
    own = market()
    start(process, own)
    stranger = own._replace(name=own.name + "-unknown")
    send(broker, MARKET_EVENTS, [(0, own.name.encode() + b" is broken", JSON_TYPE)])
    close(stranger, broker)
    close(own, broker)
    wait_for_cuts(own, broker)
    (unknown,) = letters(stranger, broker)
    assert "unknown market" in unknown.reason
    assert unknown.topic == MARKET_EVENTS


def test_status_metrics_and_health_tell_of_the_partitions(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """The endpoint names position, end, lag, counts and the state of the model; an unknown buffer is not found."""
    own = market()
    start(process, own)
    send(broker, own.topic, frames(own, 20))
    caught_up(own, 2)
    part = wait_until(
        lambda: p if (p := status(own)["partitions"][0])["end_offset"] == 2 else None, "the end is known"
    )
    assert (part["market"], part["lag"], part["accepted"], part["rejected"]) == (own.name, 0, 20, 0)
    assert status(own)["models"][own.name] == {"note": "uncalibrated", "cycle_id": None}
    metrics = (get(url(own, "metrics")) or b"").decode()
    assert f'janus_ingest_accepted_total{{market="{own.name}",partition="0"}} 20.0' in metrics
    assert get(url(own, f"buffer/{own.name}/7")) is None
