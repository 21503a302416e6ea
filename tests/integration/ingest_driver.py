"""Drives an ingest worker from outside: starts it, sends to it, asks its endpoint, reads what it published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from janus_memory.events import Cut, DeadLetter, MarketEvent, decode, encode, event_id
from janus_memory.transition import Transitions
from streams.codec import decode_frame, encode_frame
from streams.partition_log import content_type
from streams.topics import CUTS, DEAD_LETTERS, FRAME_TYPE, JSON_TYPE, MARKET_EVENTS
from tests.integration.harness import START_NS, get, make_rows, read_topic, send, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.integration.harness import Market, Process

DAY_NS = 86_400_000_000_000
SESSION = "2023-11-14.1"


def start(process: Callable[..., Process], market: Market) -> Process:
    """Start a worker and wait until it is healthy."""
    child = process("-m", "streams.ingest.worker", "--config", str(market.file))
    child.wait_for("health endpoint")
    wait_until(lambda: get(url(market, "healthz")), f"worker of {market.name} healthy", of=child)
    return child


def url(market: Market, page: str) -> str:
    return f"http://127.0.0.1:{market.settings.ingest.port}/{page}"


def status(market: Market) -> dict[str, Any]:
    body = wait_until(lambda: get(url(market, "status")), "a status document")
    found: dict[str, Any] = msgspec.json.decode(body)
    return found


def caught_up(market: Market, records: int, partition: int = 0) -> dict[str, Any]:
    """Wait until a partition's position is `records`; its part of the status."""

    def ask() -> dict[str, Any] | None:
        for part in status(market)["partitions"]:
            if part["partition"] == partition and part["loaded"] and part["next_offset"] >= records:
                return dict(part)
        return None

    return wait_until(ask, f"{records} records taken")


def frame(market: Market, rows: Transitions, partition: int = 0) -> tuple[int, bytes, str]:
    return partition, encode_frame(rows, market.spec), FRAME_TYPE


def frames(market: Market, n: int, *, first: int = 0, size: int = 10) -> list[tuple[int, bytes, str]]:
    return [frame(market, make_rows(market.spec, size, first=i)) for i in range(first, first + n, size)]


def close(market: Market, broker: str, session: str = SESSION, at: int = START_NS + DAY_NS) -> None:
    event = MarketEvent(
        event_id=event_id("close", session), market=market.name, as_of=at, kind="close", session_id=session
    )
    send(broker, MARKET_EVENTS, [(0, encode(event), JSON_TYPE)])


def cuts(market: Market, broker: str) -> dict[str, list[Cut]]:
    """The market's cuts by key, each with all the times it was published."""
    found: dict[str, list[Cut]] = {}
    for record in read_topic(broker, CUTS):
        if record.value is not None and record.key.startswith(market.name.encode()):
            found.setdefault(record.key.decode(), []).append(decode(Cut, record.value))
    return found


def wait_for_cuts(market: Market, broker: str, n: int = 1) -> dict[str, list[Cut]]:
    return wait_until(lambda: c if len(c := cuts(market, broker)) >= n else None, f"{n} cuts")


def letters(market: Market, broker: str) -> list[DeadLetter]:
    return [
        letter
        for record in read_topic(broker, DEAD_LETTERS)
        if (letter := decode(DeadLetter, record.value)).topic == market.topic or letter.market == market.name
    ]


def expected_tail(market: Market, broker: str, partition: int = 0) -> Transitions:
    """The last `capacity` accepted rows of a partition, decoded from its log here, by first appearance of an id."""
    seen: set[bytes] = set()
    parts = [Transitions.empty(market.spec)]
    for record in read_topic(broker, market.topic, [partition]):
        if content_type(record.headers) == FRAME_TYPE:
            rows = decode_frame(record.value, market.spec)
            new = [n for n, key in enumerate(rows.transition_id.tolist()) if key not in seen]
            seen.update(rows.transition_id.tolist())
            parts.append(rows.take(np.array(new, np.intp)))
    rows = Transitions.concatenate(parts)
    return rows.take(slice(max(0, len(rows) - market.settings.ingest.capacity), None))


def ring(market: Market, partition: int = 0) -> bytes:
    return wait_until(lambda: get(url(market, f"buffer/{market.name}/{partition}")), "the ring")
