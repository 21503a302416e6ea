"""Faust's consumer, without its pauses of a second while the stream's buffer is full.

Faust stops fetching a partition whose frames fill the stream's buffer. When that is so for all of them it sleeps
a second, and when it is so for some it waits up to a second for the others, of which the fetcher may hold
nothing; a worker with frames of 100 has emptied the buffer long before. Here it looks again after five
milliseconds as long as any partition is held back.

aiokafka sends one fetch at a time to a broker. While the rows' partitions are held back it may ask for the
market events alone, and Faust lets the broker wait 1.5 seconds for one: no row is fetched meanwhile. Here it
waits 20 milliseconds.

Faust puts each record into its stream's buffer by four tasks: the delivery, and one each that waits for a
suspension, a stop and a crash. They cost about as much as judging a frame of 100 rows. Where the buffer has room and the
flow is on, the delivery ends without waiting for anything, so it is awaited alone.

After a rebalance Faust goes back to what the group has committed, because it drops what it fetched meanwhile. Where the group
has committed nothing aiokafka goes nowhere, and the partition's first records would never be read. Here it goes back
to the beginning of the log.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, TopicPartition

__all__ = ["EagerConsumer", "rewind"]

_LOOK_AGAIN_S = 0.005
_FETCH_WAIT_MS = 20
# What Faust waits for with a record: its delivery, and the flow's suspension.
_DELIVERY = 2


async def rewind(
    consumer: AIOKafkaConsumer[bytes | None, bytes | None],
) -> dict[TopicPartition, int | None]:
    """Go back to what the group has committed of each assigned partition, or else to the log's beginning.

    Returns:
        The committed offsets; None where there is none.
    """
    committed = await consumer.seek_to_committed()
    fresh = [tp for tp, offset in committed.items() if not offset]
    for tp, first in (await consumer.beginning_offsets(fresh)).items() if fresh else ():
        consumer.seek(tp, first)
    return dict(committed)


class _Thread(AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust's classes are untyped here
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS  # noqa: SLF001  (Faust sets it and offers no setting)
        return consumer

    async def seek_to_committed(self) -> Any:
        return await self.call_thread(rewind, self._ensure_consumer())


class EagerConsumer(Consumer):  # type: ignore[misc]  # Faust's classes are untyped here
    """Takes up fetching as soon as the buffer has room again."""

    def _new_consumer_thread(self) -> Any:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:  # noqa: ASYNC109  (Faust's signature)
        if self.flow_active and not self._get_active_partitions():
            await asyncio.sleep(_LOOK_AGAIN_S)
            return {}, set()
        if self._buffered_partitions:
            timeout = _LOOK_AGAIN_S
        return await super()._wait_next_records(timeout)  # type: ignore[no-any-return]  # untyped base

    async def wait_first(self, *waits: Any, **options: Any) -> Any:
        """As Faust's, but a delivery that nothing can hold up is awaited alone."""
        if len(waits) == _DELIVERY and asyncio.iscoroutine(waits[0]) and self._unhindered():
            delivery, suspended = waits
            suspended.close()
            return await delivery
        return await super().wait_first(*waits, **options)

    def _unhindered(self) -> bool:
        """Whether a record goes into its stream's buffer without waiting for anything."""
        topics = self.app.topics
        return (
            self.flow_active
            and self.app.flow_control.is_active()
            and not topics._tp_to_callback_lock.locked()  # noqa: SLF001  (Faust has no public way)
            and not any(topic.queue.full() for topic in topics)
        )
