"""What integration tests stand on: a broker, markets of their own, and child processes that are ended by id.

The broker is, in this order: the one at KAFKA_BOOTSTRAP, a container where a Docker engine answers, the Java
broker of `infra/kafka`. With CI=true a missing broker is a failure, never a skip.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from infra.kafka.broker import Broker, BrokerStartError
from janus_memory.config import IngestSettings, KafkaSettings, MarketSettings, Settings
from janus_memory.loopback import free_port
from janus_memory.settings import dump_settings
from streams.admin import create_topics
from tests.integration.harness import Market, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FEATURES = ("ret_1", "ret_5", "volatility", "position")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real Kafka broker, the same for all tests of a run."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given:
        yield given
        return
    with contextlib.ExitStack() as stack:
        yield _container(stack) or _java_broker(stack, tmp_path_factory.mktemp("kafka"))


def _container(stack: contextlib.ExitStack) -> str | None:
    """A Kafka container, or None where no Docker engine answers."""
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "info"], capture_output=True, check=False).returncode != 0:
        return None
    from testcontainers.kafka import KafkaContainer  # noqa: PLC0415  (needs a Docker engine to be of use)

    container = stack.enter_context(KafkaContainer("apache/kafka:4.3.1").with_kraft())
    return str(container.get_bootstrap_server())


def _java_broker(stack: contextlib.ExitStack, folder: Path) -> str:
    try:
        return stack.enter_context(Broker(folder)).bootstrap
    except BrokerStartError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs a real broker: {error}")
        pytest.skip(f"no broker: {error}")


@pytest.fixture
def market(broker: str, tmp_path: Path) -> Callable[..., Market]:
    """Makes a market with a name, topics, group, port and data folder of its own."""

    def make(*, partitions: int = 1, create: bool = True, **ingest: Any) -> Market:
        name = f"m{uuid.uuid4().hex[:10]}"
        chosen: dict[str, Any] = {
            "group": f"ingest-{name}",
            "port": free_port(),
            # A worker that stands still for seconds on a machine with much to do is no dead one.
            "session_timeout_s": 30.0,
            "watchdog_timeout_s": 120.0,
            "capacity": 200,
        } | ingest
        own = MarketSettings(features=FEATURES, action_names=("short", "flat", "long"), partitions=partitions)
        settings = Settings(
            data_dir=str(tmp_path / "data"),
            kafka=KafkaSettings(bootstrap=broker, connect_timeout_s=120.0),
            ingest=IngestSettings(**chosen),
            markets={name: own},
        )
        file = tmp_path / f"{name}.toml"
        file.write_text(dump_settings(settings))
        if create:
            asyncio.run(create_topics(settings, [name]))
        return Market(name, own.spec(name), settings, file)

    return make


@pytest.fixture
def settings_file(market: Callable[..., Market]) -> Path:
    """A settings file of a fresh market with four partitions."""
    return market(partitions=4).file


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    """Starts `python ARGUMENTS...` as a child; whatever still runs at the end of the test is killed by its id."""
    started: list[Process] = []

    def start(*arguments: str, **options: Any) -> Process:
        started.append(Process([sys.executable, *arguments], **options))
        return started[-1]

    yield start
    for child in started:
        child.kill()
