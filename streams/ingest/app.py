"""The Faust application: raw bytes in, every outcome decided here, acknowledged by hand.

Faust acknowledges a record past which an agent raised, and one whose agent was cancelled. So the streams do
not acknowledge at all; a record is acknowledged after everything it caused has been sent, and an error that
nobody foresaw ends the process before its record is acknowledged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import faust

from janus_memory.errors import ConfigError
from streams.connection import client_options
from streams.ingest.bursts import bursts
from streams.ingest.faust_consumer import EagerConsumer
from streams.partition_log import RawRecord, content_type
from streams.topics import MARKET_EVENTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from janus_memory.config import KafkaSettings, Settings
    from streams.ingest.ingestor import Ingestor

__all__ = ["build_app", "is_member"]

_COMMIT_INTERVAL_S = 1.0
_LONGEST_HEARTBEAT_S = 3.0
_REQUEST_MARGIN_S = 30.0
_FETCH_BYTES = 2_000_000


def build_app(
    settings: Settings, ingestor: Ingestor, fail: Callable[[BaseException], Awaitable[None]]
) -> Any:
    """The application of one worker.

    Args:
        settings: where the broker is, the group and its timeouts.
        ingestor: what happens to records.
        fail: told of an error that must end the process; does not return.
    """
    ingest = settings.ingest
    app = faust.App(
        ingest.group,
        **_broker(settings.kafka),
        datadir=_data_folder(settings),
        store="memory://",
        web_enabled=False,
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=_FETCH_BYTES,
        stream_buffer_maxsize=ingest.stream_buffer,
        stream_wait_empty=False,
        cython_optimizations=True,
        broker_commit_interval=_COMMIT_INTERVAL_S,
        broker_session_timeout=ingest.session_timeout_s,
        broker_rebalance_timeout=ingest.session_timeout_s,
        broker_heartbeat_interval=min(ingest.session_timeout_s / 3, _LONGEST_HEARTBEAT_S),
        broker_request_timeout=ingest.session_timeout_s + _REQUEST_MARGIN_S,
    )
    app.transport.Consumer = EagerConsumer
    rows = app.topic(*ingestor.topics, key_serializer="raw", value_serializer="raw")
    events = app.topic(MARKET_EVENTS, key_serializer="raw", value_serializer="raw")
    app.agent(rows, name="transitions", concurrency=1)(_consume(ingestor.take, fail))
    app.agent(events, name="market-events", concurrency=1)(_consume(ingestor.announce, fail))

    async def assigned(_: Any, assigned: set[Any], **__: Any) -> None:
        ingestor.assign((place.topic, place.partition) for place in assigned)
        app.add_future(_load(ingestor, fail))

    # Signals hold their receivers weakly; the application keeps this one alive.
    app.janus_assigned = assigned
    app.on_partitions_assigned.connect(assigned)
    return app


def is_member(app: Any) -> bool:
    """Whether the application's consumer is a member of its group and not waiting to rejoin."""
    try:
        coordinator = app.consumer._thread._consumer._coordinator  # noqa: SLF001  (Faust has no public way)
        return bool(coordinator.generation >= 0 and not coordinator._rejoin_needed_fut.done())  # noqa: SLF001
    except AttributeError:  # not started yet
        return False


def _consume(
    handle: Callable[[str, int, RawRecord], Awaitable[None]],
    fail: Callable[[BaseException], Awaitable[None]],
) -> Callable[[Any], Awaitable[None]]:
    """An agent body that acknowledges what `handle` has finished."""

    async def agent(stream: Any) -> None:
        stream = stream.noack()
        async for event in bursts(stream.app, stream):
            message = event.message
            record = RawRecord(
                message.offset,
                round(message.timestamp * 1000),
                message.key,
                message.value,
                content_type(message.headers),
            )
            try:
                await handle(message.topic, message.partition, record)
            except Exception as error:  # noqa: BLE001  (whatever it is, the record must not be acknowledged)
                await fail(error)
            await stream.ack(event)

    return agent


async def _load(ingestor: Ingestor, fail: Callable[[BaseException], Awaitable[None]]) -> None:
    try:
        await ingestor.load_assigned()
    except Exception as error:  # noqa: BLE001  (a partition that cannot be loaded must not be consumed)
        await fail(error)


def _broker(kafka: KafkaSettings) -> dict[str, Any]:
    """Faust's names for the options of `client_options`."""
    options = client_options(kafka)
    credentials: Any = None
    context = options.get("ssl_context")
    if kafka.security_protocol.startswith("SASL"):
        credentials = faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password,
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    elif context is not None:
        credentials = faust.SSLCredentials(context)
    brokers = ";".join(f"kafka://{address.strip()}" for address in kafka.bootstrap.split(","))
    return {"broker": brokers, "broker_credentials": credentials}


def _data_folder(settings: Settings) -> Path:
    """Faust insists on a folder although nothing is kept in it: there are no tables."""
    folder = Path(settings.data_dir, "faust")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"data_dir {settings.data_dir} cannot be written: {error}; nothing was started; choose another folder"
        ) from error
    return folder
