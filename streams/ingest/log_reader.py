"""Reads intervals of a partition's log outside any consumer group."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from janus_memory.errors import BrokerError
from streams.connection import client_options, closed
from streams.partition_log import RawRecord, content_type

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from janus_memory.config import KafkaSettings

__all__ = ["LogReader", "committed_offsets", "topic_partitions"]

_POLL_MS = 1000
# The broker holds a fetch back for so long when there is nothing more, and the next interval's waits behind it.
_FETCH_WAIT_MS = 20
_FETCH_BYTES = 4_000_000
# A broker that answers nothing for this many polls is away.
_SILENT_POLLS = 30


class LogReader:
    """A group-less consumer. One interval is read at a time; `async with LogReader(settings) as reader`.

    Attributes:
        n_read: records read so far.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.n_read = 0
        self._settings = settings
        self._bootstrap = settings.bootstrap
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            BrokerError: the broker is away.
        """
        try:
            await self._consumer.start()
        except asyncio.CancelledError:
            await closed(self._consumer.stop())
            raise
        except KafkaError as error:
            await closed(self._consumer.stop())
            raise BrokerError(
                f"cannot reach the broker at {self._bootstrap}: {error}; nothing was read; start it and try again"
            ) from error
        # aiokafka's close fails, and leaves its connections open, before its own task has had a turn.
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await closed(self._consumer.stop())

    async def partitions(self, topics: Iterable[str]) -> dict[str, list[int]]:
        """As `topic_partitions`, for the same broker."""
        return await topic_partitions(self._settings, topics)

    async def bounds(self, topic: str, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """First offset and end offset (one past the last record) of each partition."""
        asked = [TopicPartition(topic, p) for p in partitions]
        first = await self._consumer.beginning_offsets(asked)
        end = await self._consumer.end_offsets(asked)
        return {tp.partition: (first[tp], end[tp]) for tp in asked}

    async def read(self, topic: str, partition: int, start: int, stop: int) -> AsyncIterator[list[RawRecord]]:
        """Blocks of records with start <= offset < stop, in order of offset.

        Raises:
            BrokerError: the broker stopped answering.
        """
        if start >= stop:
            return
        tp = TopicPartition(topic, partition)
        self._consumer.assign([tp])
        self._consumer.seek(tp, start)
        silent = 0
        while await self._consumer.position(tp) < stop:
            try:
                found = (await self._consumer.getmany(tp, timeout_ms=_POLL_MS)).get(tp, [])
            except KafkaError as error:
                raise BrokerError(
                    f"{topic}/{partition} cannot be read from offset {start}: {error}; nothing was lost; restart"
                ) from error
            silent = 0 if found else silent + 1
            if silent > _SILENT_POLLS:
                raise BrokerError(
                    f"{self._bootstrap} gave no records of {topic}/{partition} below offset {stop} for "
                    f"{_SILENT_POLLS} s; nothing was lost; check the broker and restart"
                )
            block = [
                RawRecord(r.offset, r.timestamp, r.key, r.value, content_type(r.headers))
                for r in found
                if r.offset < stop
            ]
            self.n_read += len(block)
            if block:
                yield block


async def committed_offsets(
    settings: KafkaSettings, group: str, topic: str, partitions: Iterable[int]
) -> dict[int, int | None]:
    """The offsets that a group has committed; None where it has none. Does not join the group."""
    consumer = AIOKafkaConsumer(**client_options(settings), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        asked = [TopicPartition(topic, p) for p in partitions]
        consumer.assign(asked)
        return {tp.partition: await consumer.committed(tp) for tp in asked}
    finally:
        await closed(consumer.stop())


async def topic_partitions(settings: KafkaSettings, topics: Iterable[str]) -> dict[str, list[int]]:
    """The partitions of each topic.

    Raises:
        BrokerError: the broker is away, or a topic does not exist.
    """
    client = AIOKafkaClient(**client_options(settings))
    try:
        await client.bootstrap()
        cluster = await client.fetch_all_metadata()
    except KafkaError as error:
        raise BrokerError(
            f"cannot reach the broker at {settings.bootstrap}: {error}; nothing was started; try again"
        ) from error
    finally:
        await closed(client.close())
    found = {topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in topics}
    missing = [topic for topic, partitions in found.items() if not partitions]
    if missing:
        raise BrokerError(
            f"no topic {', '.join(missing)} on {settings.bootstrap}; nothing was started; "
            "make the topics with `janus topics create`"
        )
    return found
