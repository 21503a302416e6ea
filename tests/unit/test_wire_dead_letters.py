"""Dead letters through the embedded cluster: bounded listing, and redriving that changes nothing twice."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from janus_memory.config import KafkaSettings, MarketSettings, Settings
from janus_memory.errors import ConfigError
from janus_memory.events import encode
from janus_memory.transition import MarketSpec
from streams import topics
from streams.connection import client_options
from streams.dead_letters import list_letters, max_dead_letter_bytes, redrive
from streams.embedded import EmbeddedBroker
from streams.partition_log import PartitionLog, RawRecord, Rejection, content_type, dead_letter
from tests.unit.wire_rows import DISCRETE, NOW_MS, barrier_record, frame_record, make_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

TOPIC = topics.transitions("fx")


@pytest.fixture
def settings() -> Iterator[Settings]:
    """A fresh embedded cluster with a transitions topic of three partitions and two of dead letters."""
    with EmbeddedBroker({TOPIC: 3, topics.DEAD_LETTERS: 2}) as broker:
        yield Settings(
            kafka=KafkaSettings(bootstrap=broker.bootstrap, connect_timeout_s=120),
            markets={"fx": MarketSettings(features=DISCRETE.features, n_actions=3)},
        )


def _letter(record: RawRecord, partition: int = 2, topic: str = TOPIC, limit: int = 10_000) -> bytes:
    return encode(dead_letter("fx", topic, partition, record, Rejection("bad"), max_bytes=limit))


async def _write(settings: Settings, letters: list[bytes]) -> None:
    async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
        for i, letter in enumerate(letters):
            await producer.send_and_wait(topics.DEAD_LETTERS, letter, partition=i % 2)


async def _read(settings: Settings, n: int) -> list[tuple[int, RawRecord]]:
    async with AIOKafkaConsumer(**client_options(settings.kafka), enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition(TOPIC, i) for i in range(3)])
        await consumer.seek_to_beginning()
        found: list[tuple[int, RawRecord]] = []
        async with asyncio.timeout(120):
            while len(found) < n:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    for m in messages:
                        record = RawRecord(m.offset, m.timestamp, m.key, m.value, content_type(m.headers))
                        found.append((m.partition, record))
        return found


def test_originals_go_back_as_they_were_and_only_once(settings: Settings) -> None:
    """Key, bytes, content type and partition; others are skipped with a reason."""
    good = frame_record(0, make_rows(["a", "b"]))
    keyless = RawRecord(1, NOW_MS, None, b"{}", topics.JSON_TYPE)
    letters = [
        _letter(good),
        _letter(keyless, partition=0),
        _letter(good),
        _letter(barrier_record(2, "d1", 5)),
        _letter(good, topic="janus.cuts"),
        _letter(good, limit=5),
        b"junk",
        encode(dead_letter("other", TOPIC, 0, good, Rejection("bad"), max_bytes=10_000)),
    ]
    asyncio.run(_write(settings, letters))
    summary = asyncio.run(redrive(settings, market="fx"))
    assert summary.sent == {TOPIC: 2}
    assert sum(summary.skipped.values()) == 6
    assert summary.skipped["the same original was sent already"] == 1
    sent = asyncio.run(_read(settings, 2))
    assert {(p, r.key, r.value, r.content_type) for p, r in sent} == {
        (2, good.key, good.value, good.content_type),
        (0, None, keyless.value, topics.JSON_TYPE),
    }


def test_redriving_twice_adds_no_rows(settings: Settings) -> None:
    """The ids drop what was accepted before."""
    asyncio.run(_write(settings, [_letter(frame_record(0, make_rows(["a", "b"])))]))
    for _ in range(2):
        asyncio.run(redrive(settings, market="fx"))
    log = PartitionLog(DISCRETE, 2, settings.ingest)
    applied = [log.apply(record) for _, record in asyncio.run(_read(settings, 2))]
    assert [0 if a.accepted is None else len(a.accepted) for a in applied] == [2, 0]
    assert applied[1].duplicates == 2


def test_listing_is_bounded_and_names_what_cannot_be_read(settings: Settings) -> None:
    """The newest letters of each partition, oldest first."""
    records = [RawRecord(i, NOW_MS, None, b"x") for i in range(8)]
    asyncio.run(_write(settings, [*map(_letter, records), b"junk", b'{"original": 1}']))
    newest = asyncio.run(list_letters(settings, limit=2))
    by_partition = [[x.offset for x in newest if x.partition == p] for p in range(2)]
    assert by_partition == [[3, 4], [3, 4]]
    assert [x.event is None for x in newest if x.offset == 4] == [True, True]
    assert len(asyncio.run(list_letters(settings, market="fx"))) == 8
    assert asyncio.run(list_letters(settings, market="other")) == []


def test_no_topic_and_no_letters_are_an_empty_list(settings: Settings) -> None:
    """Nothing was ever rejected."""
    assert asyncio.run(list_letters(settings)) == []
    with EmbeddedBroker() as broker:
        bare = Settings(kafka=KafkaSettings(bootstrap=broker.bootstrap, connect_timeout_s=120))
        assert asyncio.run(list_letters(bare)) == []


def test_an_unknown_market_is_refused(settings: Settings) -> None:
    """A typing error must not look like success."""
    with pytest.raises(ConfigError, match="unknown market 'fy'"):
        asyncio.run(redrive(settings, market="fy"))


def test_the_largest_dead_letter_fits_its_limit() -> None:
    """One feature, shortest ids, every row rejected with the longest reason."""
    spec = MarketSpec("fx", ("x",), "discrete", 2)
    rows = make_rows(["i"] * 3000, spec)
    late = dataclasses.replace(rows, timestamp=np.full(3000, 2**63 - 1))
    record = frame_record(0, late, spec)
    log = PartitionLog(spec, 0, Settings().ingest)
    rejected = log.apply(record).rejected
    assert rejected is not None
    assert len(rejected) == 3000
    size = len(record.value or b"")
    letter = encode(dead_letter("fx", TOPIC, 0, record, rejected, max_bytes=size))
    assert len(letter) <= max_dead_letter_bytes(size)
