"""Options for clients, and waiting for a broker with a clock moved by hand."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from janus_memory.config import KafkaSettings
from janus_memory.errors import BrokerError, ConfigError
from streams.connection import client_options, wait_for_broker
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_broker_that_answers_is_not_waited_for() -> None:
    """No pause at all."""
    clock = HandClock()
    with EmbeddedBroker() as broker:
        asyncio.run(wait_for_broker(KafkaSettings(bootstrap=broker.bootstrap), 5, clock))
    assert clock.pauses == []


def test_an_absent_broker_is_asked_with_growing_pauses_and_then_named() -> None:
    """Pauses double up to 5 s and end at the limit; the message says what to do."""
    clock = HandClock()
    address = f"127.0.0.1:{_free_port()}"
    with pytest.raises(BrokerError, match=f"{address} within 12 s.*start the broker"):
        asyncio.run(wait_for_broker(KafkaSettings(bootstrap=address), 12, clock))
    assert clock.pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 4.25]


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
