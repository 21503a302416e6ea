"""Send a market's transitions and its open and close events: what a trading system needs.

    async with JanusProducer(settings.kafka, settings.market("fx").spec("fx")) as producer:
        await producer.open_market("2026-03-02.1", at=1772442000_000000000)
        await producer.send(rows)
        await producer.close_market("2026-03-02.1", at=1772470800_000000000)

All rows of an episode go under one key, in the order given. Sending the same rows again after an error is
safe: their ids make it idempotent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from janus_memory.errors import BrokerError, ConfigError, WireError
from janus_memory.events import MarketEvent, encode, event_id, is_session_id
from streams.codec import encode_frame
from streams.connection import client_options, closed, wait_for_broker
from streams.topics import CONTENT_TYPE, FRAME_TYPE, JSON_TYPE, MARKET_EVENTS, transitions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from numpy.typing import NDArray

    from janus_memory.config import KafkaSettings
    from janus_memory.transition import MarketSpec, Transitions

__all__ = ["JanusProducer", "episode_key", "frames", "market_event"]

_BATCH_BYTES = 256 * 1024
_RECORD_OVERHEAD_BYTES = 4096
_LINGER_MS = 5


def market_event(market: str, kind: Literal["open", "close"], session_id: str, at: int) -> MarketEvent:
    """The event that a market opened or closed.

    Args:
        market: the market.
        kind: what happened.
        session_id: the session, such as "2026-03-02.1" (exchange-local date and ordinal).
        at: market time of it, UTC nanoseconds; not negative.

    Raises:
        ConfigError: a session id that cannot be used, or a negative time.
    """
    if not is_session_id(session_id) or at < 0:
        raise ConfigError(
            f"market {market}: {kind} of session {session_id!r} at {at}: a session needs a name of 1 to 64 "
            "letters, digits and . _ : + - and a time of at least 0 (UTC nanoseconds); nothing was sent"
        )
    return MarketEvent(
        event_id=event_id("market", market, kind, session_id, at),
        market=market,
        as_of=at,
        kind=kind,
        session_id=session_id,
    )


def episode_key(instrument: bytes, agent_id: bytes, episode_id: bytes) -> bytes:
    """The record key under which all rows of an episode go."""
    return b"/".join((instrument, agent_id, episode_id))


def frames(
    rows: Transitions, spec: MarketSpec, *, frame_rows: int, max_record_bytes: int
) -> Iterator[tuple[bytes, bytes]]:
    """Cut rows into (key, frame) records: one episode a frame, rows in the order given.

    Args:
        rows: any rows of the market.
        spec: the market's shape.
        frame_rows: most rows in a frame.
        max_record_bytes: most bytes of a frame; a larger one is split.

    Raises:
        WireError: a single row does not fit into a record.
    """
    for key, members in _episodes(rows):
        for start in range(0, len(members), frame_rows):
            part = rows.take(members[start : start + frame_rows])
            for value in _fitting(part, spec, max_record_bytes):
                yield key, value


class JanusProducer:
    """Sends one market's transitions and events; an async context manager.

    Acknowledged by all replicas, idempotent against the broker, in order per episode.

    Args:
        kafka: where the broker is.
        spec: the market's shape.
        frame_rows: most rows in one record.
        max_record_bytes: most bytes in one record; the ingest settings' value.
        topic: where rows go; the market's transitions topic if not given.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        spec: MarketSpec,
        *,
        frame_rows: int = 500,
        max_record_bytes: int = 1_000_000,
        topic: str | None = None,
    ) -> None:
        if frame_rows < 1:
            raise ConfigError(f"market {spec.name}: frame_rows is {frame_rows}, at least 1 is needed")
        self._kafka = kafka
        self._spec = spec
        self._frame_rows = frame_rows
        self._max_record_bytes = max_record_bytes
        self._topic = topic or transitions(spec.name)
        self._producer: AIOKafkaProducer | None = None
        self._pending: set[asyncio.Future[object]] = set()
        self._n_failed = 0
        self._first_error: BaseException | None = None

    async def __aenter__(self) -> Self:
        await wait_for_broker(self._kafka)
        producer = AIOKafkaProducer(
            **client_options(self._kafka),
            acks="all",
            enable_idempotence=True,
            linger_ms=_LINGER_MS,
            max_batch_size=min(_BATCH_BYTES, self._max_record_bytes),
            max_request_size=self._max_record_bytes + _RECORD_OVERHEAD_BYTES,
        )
        try:
            await producer.start()
        except KafkaError as error:
            await closed(producer.stop())
            raise BrokerError(
                f"cannot produce to {self._kafka.bootstrap}: {error!r}; nothing was sent; check the broker"
            ) from error
        self._producer = producer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.flush()
        finally:
            producer, self._producer = self._started(), None
            await closed(producer.stop())

    async def send(self, rows: Transitions) -> None:
        """Queue rows; they are sent in the background. `flush` says whether they arrived.

        Raises:
            WireError: rows that are not shaped for the market, or one too large for a record.
            BrokerError: records sent earlier were not taken.
        """
        self._raise_failed()
        for key, value in frames(
            rows, self._spec, frame_rows=self._frame_rows, max_record_bytes=self._max_record_bytes
        ):
            await self._queue(self._topic, key, value, FRAME_TYPE)

    async def open_market(self, session_id: str, at: int) -> None:
        """Announce that a session opened at market time `at` (UTC nanoseconds)."""
        await self._announce("open", session_id, at)

    async def close_market(self, session_id: str, at: int) -> None:
        """Announce the close, after all rows sent before are acknowledged: none of them will be late.

        Raises:
            BrokerError: a record was not taken; the close was not sent.
        """
        await self._announce("close", session_id, at)

    async def flush(self) -> None:
        """Wait until the broker has acknowledged everything sent so far.

        Raises:
            BrokerError: it did not take a record.
        """
        if self._pending:
            await asyncio.wait(set(self._pending))
        self._raise_failed()

    async def _announce(self, kind: Literal["open", "close"], session_id: str, at: int) -> None:
        event = market_event(self._spec.name, kind, session_id, at)
        await self.flush()
        await self._queue(MARKET_EVENTS, event.market.encode(), encode(event), JSON_TYPE)
        await self.flush()

    async def _queue(self, topic: str, key: bytes, value: bytes, content_type: str) -> None:
        headers = [(CONTENT_TYPE, content_type.encode())]
        try:
            future = await self._started().send(topic, value, key=key, headers=headers)
        except KafkaError as error:
            raise BrokerError(
                f"topic {topic} takes no record: {error!r}; rows not sent are still the caller's; check the "
                "topic with `janus topics check` and send them again"
            ) from error
        self._pending.add(future)
        future.add_done_callback(self._settle)

    def _settle(self, future: asyncio.Future[object]) -> None:
        self._pending.discard(future)
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self._n_failed += 1
            self._first_error = self._first_error or error

    def _raise_failed(self) -> None:
        if self._first_error is None:
            return
        error, n_failed = self._first_error, self._n_failed
        self._first_error, self._n_failed = None, 0
        raise BrokerError(
            f"market {self._spec.name}: {n_failed} records were not acknowledged: {error!r}; the others are "
            "in the topic; send the same rows again, their ids make that safe"
        ) from error

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise BrokerError("the producer is not open; nothing was sent; use it in `async with`")
        return self._producer


def _episodes(rows: Transitions) -> Iterator[tuple[bytes, NDArray[np.intp]]]:
    """Each episode's key and its rows' indices, ascending; episodes in order of first appearance."""
    if len(rows) == 0:
        return
    columns = (rows.instrument, rows.agent_id, rows.episode_id)
    codes = np.zeros(len(rows), np.int64)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        codes = np.unique(codes * len(values) + inverse, return_inverse=True)[1]
    _, first = np.unique(codes, return_index=True)
    for start in np.sort(first):
        key = episode_key(*(bytes(column[start]) for column in columns))
        yield key, np.flatnonzero(codes == codes[start])


def _fitting(rows: Transitions, spec: MarketSpec, max_record_bytes: int) -> Iterator[bytes]:
    """Frames of at most `max_record_bytes`, halving where needed."""
    value = encode_frame(rows, spec)
    if len(value) <= max_record_bytes:
        yield value
        return
    if len(rows) == 1:
        name = bytes(rows.transition_id[0]).decode(errors="replace")
        raise WireError(
            f"market {spec.name}: transition {name!r} takes {len(value)} bytes, at most "
            f"{max_record_bytes} fit into a record; it was not sent; raise ingest.max_record_bytes"
        )
    half = len(rows) // 2
    yield from _fitting(rows.take(slice(None, half)), spec, max_record_bytes)
    yield from _fitting(rows.take(slice(half, None)), spec, max_record_bytes)
