"""The Java broker: its own folder and port, restarted where it was, ended by its id, clear about what is missing."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from infra.kafka import broker as broker_module
from infra.kafka.broker import Broker, BrokerStartError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.harness import Process

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_the_command_prints_the_address_and_ends_on_a_signal(
    tmp_path: Path, process: Callable[..., Process]
) -> None:
    """`bootstrap HOST:PORT` appears when the broker answers; SIGTERM ends it and frees the port."""
    child = process("infra/kafka/broker.py", "--data", str(tmp_path / "kafka"))
    host, port = child.wait_for("bootstrap").split()[1].split(":")
    socket.create_connection((host, int(port)), timeout=5).close()
    child.signal(signal.SIGTERM)
    assert child.exit_code() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


def test_a_cluster_id_is_never_read_as_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random bytes whose base64 begins with a dash start a broker like any others."""
    monkeypatch.setattr(os, "urandom", lambda size: b"\xfb" * size)
    with Broker(tmp_path / "kafka") as broker:
        host, port = broker.bootstrap.split(":")
        socket.create_connection((host, int(port)), timeout=5).close()


def test_a_taken_port_and_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each error says what to install or to change; nothing is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerStartError, match=f"port {port} is taken"):
            Broker(tmp_path / "kafka", port).start()
    monkeypatch.setattr(broker_module, "LIBS", tmp_path / "target" / "libs")
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(BrokerStartError, match="JDK"):
        Broker(tmp_path / "kafka").start()
    with pytest.raises(BrokerStartError, match="Maven"):
        broker_module.jars()
