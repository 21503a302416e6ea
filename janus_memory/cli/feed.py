"""Following what the memory publishes: reports, schemas, anomalies and dead letters, as a plain consumer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

from janus_memory.events import Anomaly, DeadLetter, SchemaUpdate, SleepReport, decode
from janus_memory.topics import SCHEMA_UPDATES, SLEEP_REPORTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import AIOKafkaConsumer

    from janus_memory.config import KafkaSettings
    from janus_memory.events import Event

__all__ = ["Feed"]

_GONE = {"archived", "merged", "pruned"}
_POLL_MS = 200


class Feed:
    """What has been published so far. Events are counted once by their ids, however often they arrive.

    Attributes:
        reports: sleep reports by session.
        schemas: what is known now, by schema id.
        changes: how many schema events of each kind.
        anomalies: states that ingest flagged while they came in, in order of arrival.
        dead_letters: records that could not be used.
    """

    def __init__(self) -> None:
        self.reports: dict[str, SleepReport] = {}
        self.schemas: dict[str, SchemaUpdate] = {}
        self.changes: dict[str, int] = {}
        self.anomalies: list[Anomaly] = []
        self.dead_letters: list[DeadLetter] = []
        self._seen: set[str] = set()
        self._news = asyncio.Event()

    def take(self, topic: str, value: bytes) -> None:
        """Note one record."""
        if topic == SLEEP_REPORTS:
            report = decode(SleepReport, value)
            self.reports[report.session_id] = report
        elif topic == SCHEMA_UPDATES:
            schema = decode(SchemaUpdate, value)
            if self._is_new(schema):
                self._schema(schema)
        elif topic.endswith("anomalies"):
            anomaly = decode(Anomaly, value)
            if self._is_new(anomaly):
                self.anomalies.append(anomaly)
        else:
            letter = decode(DeadLetter, value)
            if self._is_new(letter):
                self.dead_letters.append(letter)
        self._news.set()

    async def news(self, timeout_s: float) -> None:
        """Return when something has arrived since the last call, or after the time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    @classmethod
    @asynccontextmanager
    async def follow(cls, kafka: KafkaSettings) -> AsyncIterator[Self]:
        """A feed that is filled from the topics' beginnings until the block ends."""
        from aiokafka import AIOKafkaConsumer, TopicPartition

        from streams.connection import client_options, closed, wait_for_broker
        from streams.topics import ANOMALIES, DEAD_LETTERS

        await wait_for_broker(kafka)
        consumer = AIOKafkaConsumer(**client_options(kafka), enable_auto_commit=False)
        topics = (SLEEP_REPORTS, SCHEMA_UPDATES, ANOMALIES, DEAD_LETTERS)
        await consumer.start()
        partitions = [TopicPartition(topic, 0) for topic in topics]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        feed = cls()
        task = asyncio.create_task(feed._fill(consumer))
        try:
            yield feed
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await closed(consumer.stop())

    async def _fill(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for partition, messages in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                for message in messages:
                    self.take(partition.topic, message.value or b"")

    def _schema(self, event: SchemaUpdate) -> None:
        self.changes[event.kind] = self.changes.get(event.kind, 0) + 1
        if event.kind in _GONE:
            self.schemas.pop(event.schema_id, None)
        else:
            self.schemas[event.schema_id] = event

    def _is_new(self, event: Event) -> bool:
        known = event.event_id in self._seen
        self._seen.add(event.event_id)
        return not known
