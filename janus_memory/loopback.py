"""Loopback ports for services that are about to start."""

from __future__ import annotations

import secrets
import socket

__all__ = ["PORTS", "free_port"]

PORTS = range(20_000, 32_768)
"""Below what the kernel gives away by itself: from 32768 on Linux, from 49152 elsewhere. Ray's workers end at 19999."""

_given: set[int] = set()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on, given once by this process.

    One that the kernel chooses for a socket bound to 0 may be taken before its service binds it: the kernel goes on
    giving such ports to others, and every outgoing connection has one too.

    Raises:
        OSError: a thousand ports were tried; all of them are taken.
    """
    for _ in range(1000):
        port = PORTS[secrets.randbelow(len(PORTS))]
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise OSError(f"no loopback port between {PORTS[0]} and {PORTS[-1]} is free; end what listens there")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
