"""The producer: one episode, one key, in order, in records that fit; and what it says when it cannot."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from janus_memory.config import IngestSettings, KafkaSettings
from janus_memory.errors import BrokerError, ConfigError, WireError
from janus_memory.events import MarketEvent, decode
from janus_memory.transition import Transitions
from streams import topics
from streams.codec import decode_frame
from streams.connection import client_options
from streams.embedded import EmbeddedBroker
from streams.partition_log import PartitionLog, RawRecord, content_type
from streams.producer import JanusProducer, episode_key, frames, market_event
from tests.unit.wire_rows import DISCRETE, make_rows, transitions

if TYPE_CHECKING:
    from collections.abc import Iterator

TOPIC = topics.transitions("fx")


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaSettings]:
    """An embedded cluster with the market's topics."""
    with EmbeddedBroker({TOPIC: 4, topics.MARKET_EVENTS: 1}) as broker:
        yield KafkaSettings(bootstrap=broker.bootstrap, connect_timeout_s=120)


async def _read(kafka: KafkaSettings, topic: str, n_partitions: int, n_records: int) -> list[list[RawRecord]]:
    """The first records of a topic, by partition."""
    found: list[list[RawRecord]] = [[] for _ in range(n_partitions)]
    consumer = AIOKafkaConsumer(**client_options(kafka), enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, i) for i in range(n_partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        async with asyncio.timeout(120):
            while sum(map(len, found)) < n_records:
                for message in [m for ms in (await consumer.getmany(timeout_ms=200)).values() for m in ms]:
                    record = RawRecord(
                        message.offset,
                        message.timestamp,
                        message.key,
                        message.value,
                        content_type(message.headers),
                    )
                    found[message.partition].append(record)
    finally:
        await consumer.stop()
    return found


def test_what_is_sent_is_accepted_in_the_order_of_its_episodes(kafka: KafkaSettings) -> None:
    """Through a broker: every row once, an episode in one partition, open and close around them."""
    rows = make_rows([f"t{i:03}" for i in range(60)])

    async def go() -> tuple[list[list[RawRecord]], list[list[RawRecord]]]:
        async with JanusProducer(kafka, DISCRETE, frame_rows=4) as producer:
            await producer.open_market("d1", 5)
            await producer.send(rows)
            await producer.close_market("d1", 100)
        return await _read(kafka, TOPIC, 4, 18), await _read(kafka, topics.MARKET_EVENTS, 1, 2)

    records, announced = asyncio.run(go())
    logs = [PartitionLog(DISCRETE, p, IngestSettings()) for p in range(4)]
    taken = [log.apply(record) for log, part in zip(logs, records, strict=True) for record in part]
    accepted = Transitions.concatenate([a.accepted for a in taken if a.accepted is not None])
    assert accepted.sorted().canonical_bytes() == rows.sorted().canonical_bytes()
    for i in range(6):
        keys = {
            r.key
            for part in records
            for r in part
            if r.key == episode_key(b"I%d" % (i % 2), b"agent", b"e%d" % (i % 3))
        }
        homes = [p for p, part in enumerate(records) if any(r.key in keys for r in part)]
        assert len(homes) == 1
        of_episode = (accepted.instrument == b"I%d" % (i % 2)) & (accepted.episode_id == b"e%d" % (i % 3))
        assert (np.diff(accepted.timestamp[of_episode]) > 0).all()
    events = [decode(MarketEvent, record.value or b"") for record in announced[0]]
    assert [(e.kind, e.session_id, e.as_of) for e in events] == [("open", "d1", 5), ("close", "d1", 100)]
    assert [r.key for r in announced[0]] == [b"fx", b"fx"]


def test_a_row_too_large_for_a_record_is_not_sent() -> None:
    """The message names the row and the setting."""
    with pytest.raises(WireError, match=r"transition 'a' takes .* raise ingest.max_record_bytes"):
        list(frames(make_rows(["a"]), DISCRETE, frame_rows=5, max_record_bytes=10))


def test_a_producer_that_is_not_open_sends_nothing() -> None:
    """It is a context manager."""
    producer = JanusProducer(KafkaSettings(), DISCRETE)
    with pytest.raises(BrokerError, match="not open"):
        asyncio.run(producer.send(make_rows(["a"])))


@given(transitions(DISCRETE, max_rows=9), st.integers(1, 4), st.integers(700, 1200))
def test_frames_hold_all_rows_within_their_limits(rows: Transitions, frame_rows: int, limit: int) -> None:
    """Each frame one episode, no more rows and bytes than allowed, rows in order, none lost."""
    made = list(frames(rows, DISCRETE, frame_rows=frame_rows, max_record_bytes=limit))
    parts = [decode_frame(value, DISCRETE) for _, value in made]
    assert all(
        len(part) <= frame_rows and len(value) <= limit for part, (_, value) in zip(parts, made, strict=True)
    )
    by_key: dict[bytes, list[bytes]] = {}
    for (key, _), part in zip(made, parts, strict=True):
        episodes = set(
            zip(part.instrument.tolist(), part.agent_id.tolist(), part.episode_id.tolist(), strict=True)
        )
        assert {episode_key(*episode) for episode in episodes} == {key}
        by_key.setdefault(key, []).extend(part.transition_id.tolist())
    expected: dict[bytes, list[bytes]] = {}
    for i in range(len(rows)):
        key = episode_key(bytes(rows.instrument[i]), bytes(rows.agent_id[i]), bytes(rows.episode_id[i]))
        expected.setdefault(key, []).append(bytes(rows.transition_id[i]))
    assert by_key == expected
    assert list(by_key) == list(expected)


def test_a_frame_above_the_limit_is_halved() -> None:
    """All rows are there, in order, in frames that fit."""
    rows = make_rows([f"t{i:02}" for i in range(21)])
    rows = dataclasses.replace(rows, instrument=rows.agent_id, episode_id=rows.agent_id, domain=rows.agent_id)
    values = [v for _, v in frames(rows, DISCRETE, frame_rows=21, max_record_bytes=500)]
    assert len(values) > 1
    assert max(map(len, values)) <= 500
    parts = Transitions.concatenate([decode_frame(value, DISCRETE) for value in values])
    assert parts.canonical_bytes() == rows.canonical_bytes()


def test_no_rows_make_no_frames() -> None:
    """Sending nothing is fine."""
    assert list(frames(make_rows([]), DISCRETE, frame_rows=5, max_record_bytes=1000)) == []


def test_frames_of_no_rows_are_refused() -> None:
    """A frame holds at least one row."""
    with pytest.raises(ConfigError, match="frame_rows is 0"):
        JanusProducer(KafkaSettings(), DISCRETE, frame_rows=0)


@pytest.mark.parametrize(("session", "at"), [("", 5), ("d/1", 5), ("../x", 5), ("d1", -1)])
def test_an_event_needs_a_session_and_a_time(session: str, at: int) -> None:
    """A close that nobody can match is refused before it is sent."""
    with pytest.raises(ConfigError, match="needs a name of 1 to 64"):
        market_event("fx", "close", session, at)


def test_the_same_close_is_the_same_event() -> None:
    """Sent twice it is known by its id; another time is another event."""
    assert market_event("fx", "close", "d1", 5) == market_event("fx", "close", "d1", 5)
    ids = {market_event("fx", kind, "d1", at).event_id for kind in ("open", "close") for at in (5, 6)}
    assert len(ids) == 4
