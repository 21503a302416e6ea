"""Look at dead letters, and send their originals again once the cause is gone.

Redriving is idempotent: rows that were accepted meanwhile are dropped by their ids. The originals keep
their key, content type and partition, so that an episode stays in one log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from janus_memory.errors import BrokerError, WireError
from janus_memory.events import DeadLetter, decode
from streams.connection import client_options, closed, wait_for_broker
from streams.topics import BARRIER_TYPE, CONTENT_TYPE, DEAD_LETTERS, transitions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from janus_memory.config import KafkaSettings, Settings

__all__ = ["Letter", "RedriveSummary", "list_letters", "max_dead_letter_bytes", "redrive"]

_SIZE_FACTOR = 5
_POLL_MS = 500


def max_dead_letter_bytes(max_record_bytes: int) -> int:
    """Largest dead letter of a record of at most `max_record_bytes`.

    Base64 takes 4/3; a row takes at least 26 bytes in a frame and at most 70 as number and reason.
    """
    return _SIZE_FACTOR * max_record_bytes + 4096


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and where it lies in the dead-letter topic; `event` is None if it cannot be read."""

    partition: int
    offset: int
    event: DeadLetter | None


@dataclass(frozen=True, slots=True)
class RedriveSummary:
    """What a redrive did: records sent again by topic, and those left alone by reason."""

    sent: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


async def list_letters(settings: Settings, *, market: str | None = None, limit: int = 100) -> list[Letter]:
    """The newest dead letters, oldest first.

    Args:
        settings: where the broker is.
        market: only this market's.
        limit: how many letters are looked at in each partition, before the choice by market.

    Raises:
        BrokerError: the broker is away.
    """
    letters = [letter async for letter in _read(settings, limit)]
    return [x for x in letters if market is None or (x.event is not None and x.event.market == market)]


async def redrive(settings: Settings, *, market: str, limit: int = 10_000) -> RedriveSummary:
    """Send the originals of a market's newest dead letters to its transitions topic again.

    Args:
        settings: where the broker is.
        market: the market.
        limit: how many letters are looked at in each partition, the newest.

    Raises:
        BrokerError: the broker is away or did not take a record; running it again is safe.
        ConfigError: the market is not in the settings.
    """
    settings.market(market)
    sent: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    done: set[tuple[int, bytes]] = set()
    async with _producer(settings) as producer:
        async for letter in _read(settings, limit):
            why = _not_to_send(letter, market)
            if why is not None or letter.event is None:
                skipped[why or ""] += 1
                continue
            # A letter of an original that failed again; sending each would double them every time.
            original = (letter.event.partition, hashlib.sha256(letter.event.original.encode()).digest())
            if original in done:
                skipped["the same original was sent already"] += 1
                continue
            done.add(original)
            await _send(producer, letter.event)
            sent[letter.event.topic] += 1
    return RedriveSummary(dict(sent), dict(skipped))


def _not_to_send(letter: Letter, market: str) -> str | None:
    """Why a letter is left alone, or None."""
    event = letter.event
    if event is None:
        return "not a dead letter"
    if event.market != market:
        return "another market"
    if event.topic != transitions(market):
        return "not from the market's transitions topic"
    if event.content_type == BARRIER_TYPE:
        return "a barrier; close the market again instead"
    if not event.original:
        return "its original was too large to be kept; it is where the letter says"
    return None


async def _send(producer: AIOKafkaProducer, event: DeadLetter) -> None:
    await producer.send_and_wait(
        event.topic,
        base64.b64decode(event.original),
        key=None if event.key is None else base64.b64decode(event.key),
        partition=event.partition,
        headers=[(CONTENT_TYPE, event.content_type.encode())],
    )


async def _read(settings: Settings, limit: int) -> AsyncIterator[Letter]:
    """The newest `limit` letters of each partition, by a consumer that belongs to no group."""
    async with _consumer(settings.kafka, max_dead_letter_bytes(settings.ingest.max_record_bytes)) as consumer:
        partitions = await _partitions(consumer)
        if not partitions:
            return
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        for partition in partitions:
            begin = max(begins[partition], ends[partition] - limit)
            consumer.seek(partition, begin)
        while behind := [p for p in partitions if await consumer.position(p) < ends[p]]:
            batches = await consumer.getmany(*behind, timeout_ms=_POLL_MS)
            for partition, messages in batches.items():
                for message in messages:
                    if message.offset < ends[partition]:
                        yield Letter(partition.partition, message.offset, _decoded(message.value))


async def _partitions(consumer: AIOKafkaConsumer) -> list[TopicPartition]:
    """Partitions of the dead-letter topic; none if there is no such topic."""
    if DEAD_LETTERS not in await consumer.topics():
        return []
    first = TopicPartition(DEAD_LETTERS, 0)
    consumer.assign([first])
    await consumer.end_offsets([first])  # only now does the consumer know how the topic is split
    numbers = consumer.partitions_for_topic(DEAD_LETTERS) or {0}
    return [TopicPartition(DEAD_LETTERS, number) for number in sorted(numbers)]


def _decoded(value: bytes | None) -> DeadLetter | None:
    try:
        event = decode(DeadLetter, value or b"")
        base64.b64decode(event.original, validate=True)
        base64.b64decode(event.key or "", validate=True)
    except (WireError, binascii.Error, ValueError):
        return None
    return event


@asynccontextmanager
async def _consumer(kafka: KafkaSettings, max_bytes: int) -> AsyncIterator[AIOKafkaConsumer]:
    await wait_for_broker(kafka)
    consumer = AIOKafkaConsumer(
        **client_options(kafka),
        enable_auto_commit=False,
        max_partition_fetch_bytes=max_bytes,
    )
    try:
        await consumer.start()
        yield consumer
    except KafkaError as error:
        raise BrokerError(
            f"cannot read {DEAD_LETTERS} at {kafka.bootstrap}: {error!r}; nothing was changed; check the broker"
        ) from error
    finally:
        await closed(consumer.stop())


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    kafka = settings.kafka
    await wait_for_broker(kafka)
    producer = AIOKafkaProducer(
        **client_options(kafka),
        acks="all",
        enable_idempotence=True,
        max_request_size=settings.ingest.max_record_bytes + 4096,
    )
    try:
        await producer.start()
        yield producer
    except KafkaError as error:
        raise BrokerError(
            f"the broker at {kafka.bootstrap} did not take a record: {error!r}; letters are where they were; "
            "running the redrive again is safe"
        ) from error
    finally:
        await closed(producer.stop())
