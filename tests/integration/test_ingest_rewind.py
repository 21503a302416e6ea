"""After a rebalance a worker goes back to what its group has committed, in every partition."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from janus_memory.config import KafkaSettings
from streams.connection import client_options, closed
from streams.embedded import EmbeddedBroker
from streams.ingest.faust_consumer import rewind
from tests.integration.harness import send

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.integration

N = 5


@pytest.mark.parametrize("paused", [False, True], ids=["flowing", "paused as Faust has them"])
def test_records_that_were_fetched_and_dropped_come_again(*, paused: bool) -> None:
    """Also where nothing is committed, or offset 0: aiokafka alone stays where it is."""
    places = [TopicPartition("rows", p) for p in range(3)]

    async def offsets(consumer: AIOKafkaConsumer[bytes, bytes], n: int) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {tp.partition: [] for tp in places}
        while sum(map(len, found.values())) < n:
            for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                found[tp.partition] += [record.offset for record in records]
        return found

    async def run(bootstrap: str) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        consumer: AIOKafkaConsumer[bytes, bytes] = AIOKafkaConsumer(
            **client_options(KafkaSettings(bootstrap=bootstrap)),
            group_id="ingest",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            consumer.assign(places)
            first = await offsets(consumer, 3 * N)
            await consumer.commit({places[1]: OffsetAndMetadata(0, ""), places[2]: OffsetAndMetadata(2, "")})
            _pause(consumer, places if paused else ())
            committed = await rewind(consumer)
            assert [committed[tp] for tp in places] == [None, 0, 2]
            consumer.resume(*places)
            return first, await offsets(consumer, 3 * N - 2)
        finally:
            await closed(consumer.stop())

    with EmbeddedBroker({"rows": 3}) as broker:
        send(broker.bootstrap, "rows", [(p, b"%d" % i, None) for i in range(N) for p in range(3)])
        first, again = asyncio.run(asyncio.wait_for(run(broker.bootstrap), 120))
    whole = list(range(N))
    assert first == {0: whole, 1: whole, 2: whole}
    assert again == {0: whole, 1: whole, 2: whole[2:]}


def _pause(consumer: AIOKafkaConsumer[bytes, bytes], places: Sequence[TopicPartition]) -> None:
    if places:
        consumer.pause(*places)
