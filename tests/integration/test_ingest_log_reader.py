"""A reader of the log opens and closes cleanly, whatever was read in between."""

from __future__ import annotations

import asyncio

import pytest

from janus_memory.config import KafkaSettings
from streams.embedded import EmbeddedBroker
from streams.ingest.log_reader import LogReader
from tests.integration.harness import send

pytestmark = pytest.mark.integration


def test_a_reader_that_reads_nothing_closes_without_an_error() -> None:
    """Aiokafka's own task, cancelled before it ran, once ended the agent that had opened the reader."""

    async def tasks_left(bootstrap: str) -> int:
        async with LogReader(KafkaSettings(bootstrap=bootstrap)):
            pass
        return len(asyncio.all_tasks() - {asyncio.current_task()})

    with EmbeddedBroker({"rows": 1}) as broker:
        assert asyncio.run(tasks_left(broker.bootstrap)) == 0


def test_an_interval_is_read_in_order_and_counted() -> None:
    """Offsets from start to stop - 1, each once."""

    async def read(bootstrap: str) -> tuple[list[tuple[int, bytes | None]], int]:
        async with LogReader(KafkaSettings(bootstrap=bootstrap)) as reader:
            found = [
                (record.offset, record.value)
                async for block in reader.read("rows", 0, 3, 17)
                for record in block
            ]
            return found, reader.n_read

    with EmbeddedBroker({"rows": 1}) as broker:
        send(broker.bootstrap, "rows", [(0, b"%d" % i, None) for i in range(20)])
        assert asyncio.run(read(broker.bootstrap)) == ([(i, b"%d" % i) for i in range(3, 17)], 14)
