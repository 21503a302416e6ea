"""What the broker knows of ingest: offsets per partition and the newest cuts. Imported by commands only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from janus_memory.errors import BrokerError, WireError
from janus_memory.events import Cut, decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka import AIOKafkaConsumer, TopicPartition

    from janus_memory.config import Settings

__all__ = ["cuts_and_lag"]

CONNECT_TIMEOUT_S = 5.0
_POLL_MS = 500


async def cuts_and_lag(settings: Settings, markets: Sequence[str]) -> dict[str, Any]:
    """Lag of the ingest group in each partition of each market, and each partition's newest cut.

    Raises:
        BrokerError: the broker does not answer.
    """
    from aiokafka import AIOKafkaConsumer
    from aiokafka.errors import KafkaError

    from streams.connection import client_options, closed, wait_for_broker
    from streams.topics import transitions

    await wait_for_broker(settings.kafka, min(CONNECT_TIMEOUT_S, settings.kafka.connect_timeout_s))
    # The ingest group's own id, without joining it: only its committed offsets are asked for.
    consumer = AIOKafkaConsumer(
        **client_options(settings.kafka), group_id=settings.ingest.group, enable_auto_commit=False
    )
    try:
        await consumer.start()
        topics = await consumer.topics()
        partitions = {}
        for market in markets:
            topic = transitions(market)
            partitions[market] = await _lag(consumer, topic, settings) if topic in topics else []
        return {"partitions": partitions, "cuts": await _cuts(consumer, markets, topics)}
    except KafkaError as error:
        raise BrokerError(
            f"the broker at {settings.kafka.bootstrap} did not answer: {error!r}; nothing was changed; check it"
        ) from error
    finally:
        await closed(consumer.stop())


async def _lag(consumer: AIOKafkaConsumer, topic: str, settings: Settings) -> list[dict[str, int | None]]:
    from aiokafka import TopicPartition

    n = next(m.partitions for name, m in settings.markets.items() if topic.endswith(f".{name}"))
    assigned = [TopicPartition(topic, number) for number in range(n)]
    consumer.assign(assigned)
    begins, ends = await consumer.beginning_offsets(assigned), await consumer.end_offsets(assigned)
    rows: list[dict[str, int | None]] = []
    for partition in assigned:
        committed = await consumer.committed(partition)
        behind = ends[partition] - (begins[partition] if committed is None else committed)
        rows.append(
            {"partition": partition.partition, "end": ends[partition], "committed": committed, "lag": behind}
        )
    return rows


async def _cuts(
    consumer: AIOKafkaConsumer, markets: Sequence[str], topics: set[str]
) -> dict[str, list[dict[str, Any]]]:
    """The newest cut of each partition, from the whole (compacted) topic."""
    from aiokafka import TopicPartition

    from streams.topics import CUTS

    newest: dict[tuple[str, int], Cut] = {}
    if CUTS in topics:
        partition = TopicPartition(CUTS, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        async for cut in _read(consumer, partition, end):
            newest[cut.market, cut.partition] = cut
    return {
        market: [
            {
                "partition": cut.partition,
                "session": cut.session_id,
                "offsets": f"{cut.from_offset}..{cut.to_offset}",
                "rows": cut.rows,
                "early": cut.early,
                "late": cut.late,
            }
            for key, cut in sorted(newest.items())
            if key[0] == market
        ]
        for market in markets
    }


async def _read(consumer: AIOKafkaConsumer, partition: TopicPartition, end: int) -> AsyncIterator[Cut]:
    while await consumer.position(partition) < end:
        for message in (await consumer.getmany(partition, timeout_ms=_POLL_MS)).get(partition, []):
            try:
                yield decode(Cut, message.value or b"")
            except WireError:
                continue
