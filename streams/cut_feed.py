"""All cuts ever announced, from the beginning of their topic, and then each new one as it comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from janus_memory.errors import BrokerError, WireError
from janus_memory.events import Cut, decode
from streams import topics
from streams.connection import client_options, closed

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka import ConsumerRecord

    from janus_memory.config import KafkaSettings

__all__ = ["follow_cuts"]

_POLL_MS = 500


async def follow_cuts(
    kafka: KafkaSettings,
    take: Callable[[Cut], None],
    complain: Callable[[str], None],
    caught_up: asyncio.Event,
) -> None:
    """Hand over every cut, for ever, without a group and without commits: who starts again reads all again.

    Args:
        kafka: where the broker is.
        take: given each cut.
        complain: given a line about each record that is no cut; it is passed over.
        caught_up: set once all cuts that were there at the start have been handed over.

    Raises:
        BrokerError: the topic does not exist, or the broker refused. While it is only away the client waits.
    """
    consumer = AIOKafkaConsumer(
        **client_options(kafka), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        async with asyncio.timeout(kafka.connect_timeout_s):
            await consumer.start()
        places = await _places(consumer)
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        async with asyncio.timeout(kafka.connect_timeout_s):
            ends = await consumer.end_offsets(places)
        while True:
            batches = await consumer.getmany(timeout_ms=_POLL_MS)
            for record in (record for batch in batches.values() for record in batch):
                _hand_over(record, take, complain)
            if not caught_up.is_set() and await _reached(consumer, ends):
                caught_up.set()
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerError(
            f"cannot read {topics.CUTS} at {kafka.bootstrap}: {error or 'no answer'}; no session is lost; "
            "it is read again from its beginning"
        ) from error
    finally:
        await closed(consumer.stop())


async def _places(consumer: AIOKafkaConsumer) -> list[TopicPartition]:
    if topics.CUTS not in await consumer.topics():
        raise BrokerError(f"topic {topics.CUTS} does not exist; run `janus topics create`")
    first = TopicPartition(topics.CUTS, 0)
    consumer.assign([first])
    await consumer.end_offsets([first])  # only now does the consumer know how the topic is split
    partitions = consumer.partitions_for_topic(topics.CUTS) or {0}
    return [TopicPartition(topics.CUTS, p) for p in sorted(partitions)]


async def _reached(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    return all([await consumer.position(place) >= end for place, end in ends.items()])


def _hand_over(
    record: ConsumerRecord[bytes | None, bytes | None],
    take: Callable[[Cut], None],
    complain: Callable[[str], None],
) -> None:
    if record.value is None:
        return
    try:
        cut = decode(Cut, record.value)
    except WireError as error:
        complain(f"{topics.CUTS} partition {record.partition} offset {record.offset}: {error}")
        return
    take(cut)
