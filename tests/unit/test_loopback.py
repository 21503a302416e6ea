"""Ports for services: free, outside of what the kernel gives away, and each given once."""

from __future__ import annotations

import socket

import pytest

from janus_memory import loopback
from janus_memory.loopback import free_port


def test_a_port_is_free_and_given_once() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_port_on_which_somebody_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is taken; where there is none, the error says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(loopback, "PORTS", range(port, port + 1))
        with pytest.raises(OSError, match=f"no loopback port between {port} and {port} is free"):
            free_port()
