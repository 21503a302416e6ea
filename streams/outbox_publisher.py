"""Publish a committed night's outbox to Kafka: in order, at least once, from where it was left.

Ids of the events are deterministic, so a record that is published twice (a crash between the broker's
acknowledgement and the cursor) is the same record twice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from janus_memory.errors import BrokerError
from streams.connection import client_options, closed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from janus_memory.config import KafkaSettings
    from janus_memory.sleep.outbox import OutboxRecord

__all__ = ["BATCH", "publish"]

BATCH = 100
_LARGEST_REQUEST = 16 * 1024 * 1024


async def publish(
    kafka: KafkaSettings,
    records: Sequence[OutboxRecord],
    start: int,
    advance: Callable[[int], None],
    *,
    batch: int = BATCH,
) -> None:
    """Publish records[start:] and wait for the acknowledgement of all replicas.

    Args:
        kafka: where the broker is.
        records: a night's whole outbox.
        start: how many of them are published already.
        advance: stores how many are published now; called after each acknowledged batch.
        batch: records between two calls of `advance`.

    Raises:
        BrokerError: the broker is away or refused a record; what was stored by `advance` stays published.
    """
    producer = AIOKafkaProducer(
        **client_options(kafka),
        acks="all",
        max_request_size=_LARGEST_REQUEST,
        request_timeout_ms=int(kafka.connect_timeout_s * 1000),
    )
    done = start
    try:
        async with asyncio.timeout(kafka.connect_timeout_s):
            await producer.start()
        while done < len(records):
            stop = min(done + batch, len(records))
            async with asyncio.timeout(2 * kafka.connect_timeout_s):
                await _send(producer, records[done:stop])
            done = stop
            advance(done)
    except (KafkaError, OSError, TimeoutError) as error:
        at = records[done].topic if done < len(records) else "the last record"
        raise BrokerError(
            f"outbox: record {done + 1} of {len(records)} ({at}) was not taken by {kafka.bootstrap}: "
            f"{error or 'no answer'}; the night is committed and the rest is sent again"
        ) from error
    finally:
        await closed(producer.stop())


async def _send(producer: AIOKafkaProducer, records: Sequence[OutboxRecord]) -> None:
    sent = [await producer.send(r.topic, r.value, key=r.key.encode()) for r in records]
    await asyncio.gather(*sent)
