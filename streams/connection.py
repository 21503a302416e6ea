"""How to reach the broker: aiokafka options from settings, and waiting until it answers."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from janus_memory.errors import BrokerError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from janus_memory.config import KafkaSettings

__all__ = ["Clock", "SystemClock", "client_options", "closed", "wait_for_broker"]

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_LONGEST_CLOSE_S = 10.0


class Clock(Protocol):
    """Time as an argument: seconds that only grow, and waiting."""

    def now(self) -> float:
        """Seconds since an arbitrary moment."""

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(seconds)


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes.

    Raises:
        ConfigError: the address is the word `embedded` (the embedded cluster's own address belongs there),
            SASL without mechanism and user, or a certificate file that cannot be read.
    """
    if settings.bootstrap == "embedded":
        raise ConfigError(
            "kafka.bootstrap is `embedded`, which only `janus demo` starts; "
            "nothing was connected; name a broker as host:port"
        )
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.startswith("SASL"):
        if not (settings.sasl_mechanism and settings.sasl_username):
            raise ConfigError(
                f"kafka.security_protocol {settings.security_protocol} needs kafka.sasl_mechanism and "
                "kafka.sasl_username; nothing was connected"
            )
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password,
        }
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    return options


async def wait_for_broker(
    settings: KafkaSettings, timeout_s: float | None = None, clock: Clock | None = None
) -> None:
    """Return when the broker answers; ask again with growing pauses until `timeout_s` is over.

    Args:
        settings: where the broker is.
        timeout_s: how long to keep asking; the settings' `connect_timeout_s` if not given.
        clock: the time; the machine's own if not given.

    Raises:
        BrokerError: it did not answer in time.
    """
    clock = clock or SystemClock()
    limit_s = settings.connect_timeout_s if timeout_s is None else timeout_s
    options = client_options(settings)
    start, pause_s = clock.now(), _FIRST_PAUSE_S
    while (error := await _ask(options)) is not None:
        left_s = limit_s - (clock.now() - start)
        if left_s <= 0:
            raise BrokerError(
                f"no Kafka broker answered at {settings.bootstrap} within {limit_s:g} s: {error}; "
                "nothing was read or written; start the broker, or correct kafka.bootstrap and the "
                "kafka.security_protocol, sasl_* and ssl_* settings"
            )
        await clock.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def closed(closing: Coroutine[Any, Any, None], longest_s: float = _LONGEST_CLOSE_S) -> None:
    """Wait until an aiokafka client has closed; a cancellation that comes meanwhile is raised after that.

    aiokafka cancels its own tasks and suppresses CancelledError while it waits for them. It so suppresses one that
    was meant for us, after which we would go on as if nobody had asked us to end; and its fetching task one of its
    own, after which the client waits for ever for a task that goes on, unless it is cancelled once more.

    Args:
        closing: the client's `stop()` or `close()`.
        longest_s: how long it may take before it is cancelled, again and again.
    """
    task, ours = asyncio.ensure_future(closing), None
    while not task.done():
        try:
            if not (await asyncio.wait([task], timeout=longest_s))[0]:
                task.cancel()
        except asyncio.CancelledError as error:
            ours = error
    if ours:
        raise ours
    if not task.cancelled():
        task.result()


async def _ask(options: dict[str, Any]) -> Exception | None:
    """Bootstrap once; the error, or None if the broker answered."""
    client = AIOKafkaClient(**options)
    try:
        await client.bootstrap()
    except (KafkaError, OSError, ValueError) as error:
        return error
    finally:
        await closed(client.close())
    return None


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile or None)
        if settings.ssl_certfile:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot read the TLS files of kafka.ssl_cafile, ssl_certfile, ssl_keyfile: {error}; "
            "nothing was connected; correct the paths"
        ) from error
    return context
