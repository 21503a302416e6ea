"""The embedded cluster speaks Kafka well enough for aiokafka, consumer groups and the Faust worker."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer

from janus_memory.config import IngestSettings, KafkaSettings, MarketSettings, Settings
from janus_memory.errors import BrokerError
from janus_memory.loopback import free_port
from janus_memory.settings import dump_settings
from streams.admin import topic_plans
from streams.codec import encode_frame
from streams.embedded import EmbeddedBroker, main
from tests.integration.harness import Market, read_topic, send
from tests.integration.ingest_driver import (
    caught_up,
    close,
    expected_tail,
    frames,
    ring,
    start,
    wait_for_cuts,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.harness import Process

pytestmark = pytest.mark.integration


def test_topics_have_their_partitions_and_a_group_reads_what_was_written() -> None:
    """Produced records come back through a consumer group, and its committed offsets are kept."""
    with EmbeddedBroker({"rows": 4, "events": 1}) as broker:
        offsets = send(broker.bootstrap, "rows", [(i % 4, b"%d" % i, None) for i in range(20)])
        assert offsets == [i // 4 for i in range(20)]

        async def read() -> tuple[set[bytes | None], dict[int, int | None]]:
            consumer = AIOKafkaConsumer(
                "rows", bootstrap_servers=broker.bootstrap, group_id="g", auto_offset_reset="earliest"
            )
            await consumer.start()
            try:
                found = {(await consumer.getone()).value for _ in range(20)}
                await consumer.commit()
                return found, {tp.partition: await consumer.committed(tp) for tp in consumer.assignment()}
            finally:
                await consumer.stop()

        found, committed = asyncio.run(read())
        assert found == {b"%d" % i for i in range(20)}
        assert committed == dict.fromkeys(range(4), 5)
        broker.create_topics({"later": 2})
        assert read_topic(broker.bootstrap, "later", [0, 1]) == []


def test_a_topic_that_exists_and_a_closed_cluster_are_refused() -> None:
    """Nothing is changed silently."""
    with EmbeddedBroker({"rows": 4}) as broker, pytest.raises(BrokerError, match="refused topic 'rows'"):
        broker.create_topics({"rows": 3})
    with pytest.raises(BrokerError, match="closed"):
        broker.create_topics({"more": 1})


def test_the_ingest_worker_runs_on_the_embedded_cluster(
    tmp_path: Path, process: Callable[..., Process]
) -> None:
    """Rows, ring, barrier and cut as on a real broker; SIGTERM ends with code 0."""
    own = MarketSettings(features=("a", "b"), action_names=("hold", "buy"), partitions=2)
    settings = Settings(
        data_dir=str(tmp_path / "data"),
        ingest=IngestSettings(port=free_port(), capacity=50, watchdog_timeout_s=120.0),
        markets={"fx": own},
    )
    topics = {plan.name: plan.partitions for plan in topic_plans(settings, ["fx"])}
    options = [f"--topic={name}:{partitions}" for name, partitions in topics.items()]
    address = process("-m", "streams.embedded", *options).wait_for("bootstrap").split()[1]
    settings = Settings(
        data_dir=settings.data_dir,
        kafka=KafkaSettings(bootstrap=address),
        ingest=settings.ingest,
        markets=settings.markets,
    )
    file = tmp_path / "janus.toml"
    file.write_text(dump_settings(settings))
    market = Market("fx", own.spec("fx"), settings, file)
    child = start(process, market)
    send(address, market.topic, frames(market, 80))
    caught_up(market, 8)
    assert ring(market) == encode_frame(expected_tail(market, address), market.spec)
    close(market, address)
    found = wait_for_cuts(market, address, 2)
    assert sorted(cut.rows for (cut,) in found.values()) == [0, 80]
    child.signal(signal.SIGTERM)
    assert child.exit_code() == 0


def test_a_topic_without_partitions_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line says what it wants instead."""
    assert main(["--topic", "rows"]) == 2
    assert "NAME:PARTITIONS" in capsys.readouterr().err
