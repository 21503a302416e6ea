"""What the ingest worker refuses at its start: exit code and a message that says what to do."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from janus_memory.loopback import free_port
from janus_memory.settings import dump_settings
from streams.admin import create_topics
from tests.integration.harness import send
from tests.integration.ingest_driver import caught_up, close, frames, start, wait_for_cuts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.harness import Market, Process

pytestmark = pytest.mark.integration


def worker(process: Callable[..., Process], market: Market, *options: str) -> Process:
    return process("-m", "streams.ingest.worker", "--config", str(market.file), *options)


def stop(child: Process) -> None:
    child.signal(signal.SIGTERM)
    assert child.exit_code() == 0, child.output


async def _recreate(market: Market, broker: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.delete_topics([market.topic])
        while market.topic in await admin.list_topics():
            pass
    finally:
        await admin.close()
    await create_topics(market.settings, [market.name])


async def _eat(market: Market, broker: str, before: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(market.topic, 0): RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


def test_a_recreated_topic_is_refused_until_it_is_started_afresh(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """The log ends below what was read: refused with the command that helps, which then makes it start."""
    own = market()
    child = start(process, own)
    send(broker, own.topic, frames(own, 50))
    close(own, broker)
    wait_for_cuts(own, broker)
    stop(child)
    asyncio.run(_recreate(own, broker))
    refused = worker(process, own)
    assert refused.exit_code() == 5
    assert "made anew" in refused.output
    assert f"--start-afresh {own.name}" in refused.output
    afresh = worker(process, own, "--start-afresh", own.name)
    assert afresh.exit_code() == 0, afresh.output
    start(process, own)
    send(broker, own.topic, frames(own, 20))
    assert caught_up(own, 2)["accepted"] == 20


def test_records_that_retention_has_eaten_before_a_cut_held_them_are_named(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """Exit code 7 names the lost offsets; what a cut holds may be eaten."""
    own = market()
    child = start(process, own)
    send(broker, own.topic, frames(own, 50))
    close(own, broker)
    wait_for_cuts(own, broker)
    send(broker, own.topic, frames(own, 50, first=50))
    caught_up(own, 11)
    stop(child)
    asyncio.run(_eat(own, broker, 3))
    child = start(process, own)
    child.wait_for("retention has eaten offsets below 3")
    stop(child)
    asyncio.run(_eat(own, broker, 9))
    refused = worker(process, own)
    assert refused.exit_code() == 7
    assert "offsets 6 to 8" in refused.output


def test_a_taken_port_is_refused_before_anything_starts(
    market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """Exit code 2, and the setting to change is named."""
    own = market(create=False)
    with socket.create_server(("127.0.0.1", own.settings.ingest.port)):
        refused = worker(process, own)
        assert refused.exit_code() == 2
    assert "ingest.port" in refused.output


def test_a_broker_that_is_away_is_asked_again_until_the_time_is_over(
    market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """Exit code 5 after kafka.connect_timeout_s, with the address that was asked."""
    own = market(create=False)
    kafka = msgspec.structs.replace(
        own.settings.kafka, bootstrap=f"127.0.0.1:{free_port()}", connect_timeout_s=2.0
    )
    own.file.write_text(dump_settings(msgspec.structs.replace(own.settings, kafka=kafka)))
    refused = worker(process, own)
    refused.wait_for("waiting for the broker at")
    assert refused.exit_code() == 5
    assert kafka.bootstrap in refused.output


def test_a_signal_while_the_broker_is_away_ends_with_code_0(
    market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """Waiting can be given up."""
    own = market(create=False)
    kafka = msgspec.structs.replace(own.settings.kafka, bootstrap=f"127.0.0.1:{free_port()}")
    own.file.write_text(dump_settings(msgspec.structs.replace(own.settings, kafka=kafka)))
    child = worker(process, own)
    child.wait_for("waiting for the broker at")
    stop(child)


def test_a_missing_topic_is_refused_with_the_command_that_makes_it(
    market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """Exit code 5: the worker makes no topics by itself."""
    refused = worker(process, market(create=False))
    assert refused.exit_code() == 5
    assert "janus topics create" in refused.output
