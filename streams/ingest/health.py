"""The worker's loopback endpoint: /healthz, /status, /buffer/{market}/{partition} and /metrics."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from aiohttp import web

from janus_memory.errors import ConfigError
from streams.codec import encode_frame
from streams.topics import FRAME_TYPE, transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.ingest.tail import PartitionTail

__all__ = ["listen", "serve"]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, opened before anything else is started.

    Raises:
        ConfigError: the address cannot be used; most often another worker has the port.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"the health endpoint cannot listen on {host}:{port}: {error}; nothing was started; "
            "stop what listens there, or set ingest.port (JANUS_INGEST__PORT) to a free one"
        ) from error
    return listener


async def serve(
    listener: socket.socket,
    *,
    status: Callable[[], dict[str, Any]],
    tails: Callable[[], Mapping[tuple[str, int], PartitionTail]],
    metrics: Callable[[], bytes],
) -> web.AppRunner:
    """Answer on the listener until the runner returned is cleaned up.

    Args:
        listener: see `listen`.
        status: the status document; `reasons` in it is empty when the worker is healthy.
        tails: the loaded tails by (topic, partition).
        metrics: the figures as Prometheus text.
    """

    async def healthz(_: web.Request) -> web.Response:
        reasons = status()["reasons"]
        body = {"healthy": not reasons, "reasons": reasons}
        return web.json_response(body, status=503 if reasons else 200)

    async def buffer(request: web.Request) -> web.Response:
        market, text = request.match_info["market"], request.match_info["partition"]
        tail = tails().get((transitions(market), int(text)))
        if tail is None:
            why = f"partition {text} of market {market!r} is not assigned to this worker or still loading"
            return web.json_response({"error": why}, status=404)
        if len(tail.ring) == 0:
            return web.Response(status=204)
        return web.Response(body=encode_frame(tail.ring.rows(), tail.spec), content_type=FRAME_TYPE)

    async def show_status(_: web.Request) -> web.Response:
        return web.json_response(status())

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/status", show_status)
    application.router.add_get("/metrics", show_metrics)
    application.router.add_get("/buffer/{market}/{partition:[0-9]{1,9}}", buffer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner
