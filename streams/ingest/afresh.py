"""Forgets how far a market's topic was read, after it was made anew or lost records that no cut holds.

Committed nights, schemas and weights stay. The market's cuts are erased and the consumer group goes back to the
beginning of what the topic holds now; no worker of the group may run meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from janus_memory.errors import BrokerError
from streams.connection import client_options, closed, wait_for_broker
from streams.ingest.cuts import all_cuts
from streams.ingest.log_reader import LogReader, topic_partitions
from streams.ingest.publisher import Publisher
from streams.topics import CUTS, transitions

if TYPE_CHECKING:
    from janus_memory.config import Settings

__all__ = ["start_afresh"]


async def start_afresh(settings: Settings, market: str) -> None:
    """Read the market's topic from its present beginning from now on.

    Raises:
        ConfigError: the market is not in the settings.
        BrokerError: the broker is away, or workers of the group still run.
    """
    settings.market(market)
    kafka, ingest, topic = settings.kafka, settings.ingest, transitions(market)
    await wait_for_broker(kafka)
    partitions = (await topic_partitions(kafka, [topic]))[topic]
    async with LogReader(kafka) as reader:
        bounds = await reader.bounds(topic, partitions)
        keys = [key for key, cut in (await all_cuts(reader)).items() if cut.market == market]
    consumer = AIOKafkaConsumer(**client_options(kafka), group_id=ingest.group, enable_auto_commit=False)
    await consumer.start()
    try:
        begin = {TopicPartition(topic, p): first for p, (first, _) in bounds.items()}
        consumer.assign(list(begin))
        await consumer.commit(begin)
    except KafkaError as error:
        raise BrokerError(
            f"group {ingest.group} could not go back to the beginning of {topic}: {error!r}; nothing was changed; "
            "stop its workers first"
        ) from error
    finally:
        await closed(consumer.stop())
    async with Publisher(kafka, ingest.max_record_bytes) as publisher:
        for key in keys:
            await publisher.erase(CUTS, key)
