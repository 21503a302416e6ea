"""Sends of the ingest worker: awaited where a record may only be acknowledged after them, else in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from janus_memory.errors import BrokerError
from janus_memory.events import DeadLetter, Event, encode
from streams.connection import client_options, closed
from streams.dead_letters import max_dead_letter_bytes
from streams.topics import BARRIER_TYPE, CONTENT_TYPE, DEAD_LETTERS, JSON_TYPE

if TYPE_CHECKING:
    from janus_memory.config import KafkaSettings
    from janus_memory.events import Barrier

__all__ = ["Publisher"]

_logger = logging.getLogger(__name__)
_BACKLOG = 10_000
_OVERHEAD_BYTES = 4096


class Publisher:
    """One idempotent producer, acknowledged by all replicas; `async with Publisher(...) as publisher`.

    Attributes:
        n_dropped: background events given up: more than 10 000 were waiting, or the broker refused.
    """

    def __init__(self, settings: KafkaSettings, max_record_bytes: int) -> None:
        self._producer = AIOKafkaProducer(
            **client_options(settings),
            acks="all",
            enable_idempotence=True,
            max_request_size=max_dead_letter_bytes(max_record_bytes) + _OVERHEAD_BYTES,
        )
        self._waiting: asyncio.Queue[tuple[str, Event]] = asyncio.Queue(_BACKLOG)
        self._drain: asyncio.Task[None] | None = None
        self.n_dropped = 0

    async def __aenter__(self) -> Self:
        await self._producer.start()
        self._drain = asyncio.create_task(self._send_waiting())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._drain is not None:
            self._drain.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._drain
        await closed(self._producer.stop())

    async def send(self, topic: str, event: Event, *, key: str | None = None) -> None:
        """Send an event and return when the broker has it. The key is the market if not given."""
        await self._send(topic, encode(event), (key or event.market).encode())

    async def send_dead_letter(self, letter: DeadLetter) -> None:
        """Send a dead letter and return when the broker has it.

        Raises:
            BrokerError: the broker did not take it; the record must not be acknowledged.
        """
        await self.send(DEAD_LETTERS, letter)

    async def send_barrier(self, topic: str, partition: int, barrier: Barrier) -> None:
        """Write a barrier record into one partition."""
        await self._send(topic, encode(barrier), barrier.market.encode(), partition, BARRIER_TYPE)

    async def erase(self, topic: str, key: str) -> None:
        """Write a tombstone: compaction forgets the key."""
        await self._producer.send_and_wait(topic, None, key=key.encode())

    def offer(self, topic: str, event: Event) -> None:
        """Send an event in the background; never waits. What is too much is dropped and counted."""
        try:
            self._waiting.put_nowait((topic, event))
        except asyncio.QueueFull:
            self.n_dropped += 1

    async def flush(self) -> None:
        """Return when nothing waits in the background."""
        await self._waiting.join()

    async def _send(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        partition: int | None = None,
        content_type: str = JSON_TYPE,
    ) -> None:
        headers = [(CONTENT_TYPE, content_type.encode())]
        try:
            await self._producer.send_and_wait(topic, value, key=key, partition=partition, headers=headers)
        except KafkaError as error:
            raise BrokerError(
                f"{topic} did not take a record of {len(value)} bytes: {error!r}; nothing was acknowledged, so it "
                "is sent again after a restart; check the broker and `janus topics check`"
            ) from error

    async def _send_waiting(self) -> None:
        while True:
            topic, event = await self._waiting.get()
            try:
                await self.send(topic, event)
            except BrokerError as error:
                self.n_dropped += 1
                _logger.warning("%s", error)
            finally:
                self._waiting.task_done()
