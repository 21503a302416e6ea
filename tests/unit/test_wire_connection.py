"""Options for clients, and waiting for a broker with a clock moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from janus_memory.config import KafkaSettings
from janus_memory.errors import BrokerError, ConfigError
from janus_memory.loopback import free_port
from streams.connection import client_options, closed, wait_for_broker
from streams.embedded import EmbeddedBroker

if TYPE_CHECKING:
    from pathlib import Path


class HandClock:
    """Time that passes only while somebody waits; remembers the pauses and may call back at one."""

    def __init__(self) -> None:
        self.time = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        """Seconds waited so far."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Move the time on."""
        self.pauses.append(seconds)
        self.time += seconds


def test_a_broker_that_answers_is_not_waited_for() -> None:
    """No pause at all."""
    clock = HandClock()
    with EmbeddedBroker() as broker:
        asyncio.run(wait_for_broker(KafkaSettings(bootstrap=broker.bootstrap), 5, clock))
    assert clock.pauses == []


def test_an_absent_broker_is_asked_with_growing_pauses_and_then_named() -> None:
    """Pauses double up to 5 s and end at the limit; the message says what to do."""
    clock = HandClock()
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(BrokerError, match=f"{address} within 12 s.*start the broker"):
        asyncio.run(wait_for_broker(KafkaSettings(bootstrap=address), 12, clock))
    assert clock.pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 4.25]


def test_a_cancellation_that_closing_suppresses_is_raised_after_it() -> None:
    """As aiokafka does it: its own cancelled task is awaited, and whatever CancelledError comes is suppressed."""
    finished: list[bool] = []

    async def closing() -> None:
        own = asyncio.create_task(asyncio.Event().wait())
        own.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await own
        finished.append(True)

    async def cancelled() -> bool:
        task = asyncio.create_task(closed(closing()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(cancelled())
    assert finished == [True]


def test_closing_that_waits_for_ever_is_cancelled_until_it_ends() -> None:
    """As aiokafka's fetching task does, one of its tasks loses its first cancellation and goes on."""
    finished: list[bool] = []

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def closing() -> None:
        own = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        own.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await own
        finished.append(True)

    asyncio.run(closed(closing(), longest_s=0.01))
    assert finished == [True]


def test_an_error_while_closing_is_raised() -> None:
    """It is the client's, and nobody else would tell."""

    async def closing() -> None:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        asyncio.run(closed(closing()))


def test_plain_settings_give_plain_options() -> None:
    """No password, no certificate."""
    assert client_options(KafkaSettings(bootstrap="a:1,b:2")) == {
        "bootstrap_servers": "a:1,b:2",
        "security_protocol": "PLAINTEXT",
    }


def test_sasl_settings_reach_the_client() -> None:
    """Over TLS with the machine's own authorities."""
    options = client_options(
        KafkaSettings(
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username="u",
            sasl_password="p",  # noqa: S106  (a made-up password)
        )
    )
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("u", "p")
    assert options["ssl_context"].check_hostname


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (KafkaSettings(bootstrap="embedded"), "name a broker as host:port"),
        (KafkaSettings(security_protocol="SASL_PLAINTEXT"), "needs kafka.sasl_mechanism"),
        (KafkaSettings(security_protocol="SSL", ssl_cafile="/nowhere/ca.pem"), "cannot read the TLS files"),
    ],
)
def test_unusable_settings_are_refused(settings: KafkaSettings, message: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ConfigError, match=message):
        client_options(settings)


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    """A file with other content is as bad as none."""
    file = tmp_path / "cert.pem"
    file.write_text("not a certificate")
    with pytest.raises(ConfigError, match="cannot read the TLS files"):
        client_options(KafkaSettings(security_protocol="SSL", ssl_certfile=str(file)))
