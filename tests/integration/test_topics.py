"""Topics on a real broker, and what the producer says when the broker does not take a record."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from janus_memory.errors import BrokerError
from janus_memory.transition import Transitions
from streams.admin import Difference, check_topics, create_topics, ensure_topic
from streams.connection import client_options
from streams.producer import JanusProducer
from streams.topics import MARKET_EVENTS, replay, transitions

if TYPE_CHECKING:
    from collections.abc import Callable

    from janus_memory.config import Settings
    from tests.integration.harness import Market

pytestmark = pytest.mark.integration


def _changed(market: Market, *, partitions: int, retention_days: float) -> Settings:
    own = msgspec.structs.replace(market.settings.markets[market.name], partitions=partitions)
    kafka = msgspec.structs.replace(market.settings.kafka, retention_days=retention_days)
    return msgspec.structs.replace(market.settings, markets={market.name: own}, kafka=kafka)


async def _keys(settings: Settings, topic: str) -> set[bytes | None]:
    """The keys of all records of a topic's only partition."""
    place = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(**client_options(settings.kafka), enable_auto_commit=False) as consumer:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        keys: set[bytes | None] = set()
        while await consumer.position(place) < end:
            keys |= {m.key for m in (await consumer.getmany(place, timeout_ms=200)).get(place, [])}
        return keys


def test_created_topics_are_as_planned_and_creating_again_does_nothing(
    market: Callable[..., Market],
) -> None:
    """Create is idempotent and check finds no difference."""
    mine = market(partitions=3, create=False)
    topic = transitions(mine.name)
    missing = asyncio.run(check_topics(mine.settings, [mine.name]))
    assert Difference(topic, "topic", "3 partitions", None) in missing
    assert topic in asyncio.run(create_topics(mine.settings, [mine.name]))
    assert asyncio.run(create_topics(mine.settings, [mine.name])) == []
    assert [d for d in asyncio.run(check_topics(mine.settings, [mine.name])) if d.topic == topic] == []


def test_one_topic_is_created_where_it_is_missing(market: Callable[..., Market]) -> None:
    """As it is planned, once, and no other topic with it."""
    mine = market(create=False)
    topic = replay(mine.name)
    assert asyncio.run(ensure_topic(mine.settings, mine.name, topic))
    assert not asyncio.run(ensure_topic(mine.settings, mine.name, topic))
    found = {difference.topic for difference in asyncio.run(check_topics(mine.settings, [mine.name]))}
    assert topic not in found
    assert transitions(mine.name) in found


def test_a_changed_partition_count_is_refused(market: Callable[..., Market]) -> None:
    """Another count would move episodes between logs; nothing is created. Other changes are only reported."""
    mine = market(partitions=3)
    other = _changed(mine, partitions=4, retention_days=1)
    found = asyncio.run(check_topics(other, [mine.name]))
    topic = transitions(mine.name)
    assert {(d.what, d.wanted, d.found) for d in found if d.topic == topic} == {
        ("partitions", "4", "3"),
        ("retention.ms", "86400000", "2592000000"),
    }
    with pytest.raises(BrokerError, match=r"has 3 partitions, the settings say 4; nothing was created"):
        asyncio.run(create_topics(other, [mine.name]))


def test_a_record_that_the_broker_refuses_stops_the_close(market: Callable[..., Market]) -> None:
    """The producer says how many records failed and that sending again is safe."""
    mine = market(max_record_bytes=10_000)
    n = 4_000
    blank = Transitions.empty(mine.spec, n)
    ids = {name: np.full(n, b"x", "S64") for name in ("instrument", "agent_id", "episode_id", "domain")}
    rows = dataclasses.replace(blank, transition_id=np.array([b"%d" % i for i in range(n)], "S64"), **ids)

    async def go() -> None:
        async with JanusProducer(
            mine.settings.kafka, mine.spec, frame_rows=n, max_record_bytes=900_000
        ) as producer:
            await producer.send(rows)
            await producer.close_market("2024-01-05.1", 5)

    with pytest.raises(BrokerError, match=r"1 records were not acknowledged: .*send the same rows again"):
        asyncio.run(go())
    assert mine.name.encode() not in asyncio.run(_keys(mine.settings, MARKET_EVENTS))
