"""What a committed night announces, carried to Kafka and to the vector store, each at its own pace.

Each publisher keeps a durable cursor and tries again until it is done; neither can fail a night, and neither
waits for the other. Before a session is committed its outbox is nowhere that a publisher looks.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from janus_memory.errors import JanusError
from janus_memory.events import SleepReport, encode, event_id
from janus_memory.sleep.announce import vector_points
from janus_memory.sleep.cycle import read_commit
from janus_memory.sleep.outbox import OutboxRecord
from janus_memory.sleep.sessions import FINISHED, Cursor, read_cursor
from janus_memory.store.qdrant import open_store
from janus_memory.topics import SLEEP_REPORTS
from streams.outbox_publisher import publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from janus_memory.config import Settings
    from janus_memory.sleep.cycle import NightResult
    from janus_memory.sleep.records import SessionRecord
    from janus_memory.sleep.sessions import MarketState

__all__ = [
    "KafkaPublisher",
    "Publisher",
    "QdrantPublisher",
    "drain",
    "pending_nights",
    "report_failures",
    "unreported",
]

LONGEST_PAUSE_S = 60.0


class Publisher(Protocol):
    """Carries nights to one place."""

    name: str

    async def carry(self, state: MarketState, ordinal: int, night: Path | None) -> None:
        """Publish one night from its cursor on; None where a session was skipped by hand. Raises JanusError."""


class KafkaPublisher:
    """The outbox to its topics, record after record."""

    name = "kafka"

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka

    async def carry(self, state: MarketState, ordinal: int, night: Path | None) -> None:
        """Publish what is left of a night's outbox."""
        if night is None:
            return
        outbox = (await _load(night)).outbox
        start = read_cursor(state.folder, self.name).position

        def advance(done: int) -> None:
            state.advance(self.name, Cursor(ordinal, done))

        await publish(self._kafka, outbox, start, advance)


class QdrantPublisher:
    """The newest memory to the vector store: schemas and episodes as they are now.

    The store is a projection, so a night that has been overtaken by a later one is not synced for itself.
    """

    name = "qdrant"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one_at_a_time = asyncio.Lock()  # the embedded engine lets one writer in

    async def carry(self, state: MarketState, ordinal: int, night: Path | None) -> None:
        """Sync the store with the memory after a night."""
        last = max((r.ordinal for r in state.records() if r.state == "committed"), default=0)
        if night is not None and ordinal == last:
            async with self._one_at_a_time:
                await asyncio.to_thread(self._sync, state.market, night)

    def _sync(self, market: str, night: Path) -> None:
        result = read_commit(night)
        schemas, episodes = vector_points(result.memory)
        store = open_store(self._settings.qdrant, Path(self._settings.data_dir) / "qdrant")
        store.sync(market, schemas, episodes, result.report.cycle_id)


def unreported(state: MarketState) -> list[SessionRecord]:
    """Failed sessions whose failure has not been announced."""
    return [r for r in state.records() if r.state == "failed" and not r.reported]


async def report_failures(settings: Settings, state: MarketState) -> None:
    """Announce failed sessions on the topic of sleep reports. Raises BrokerError."""
    for record in unreported(state):
        report = SleepReport(
            event_id=event_id("sleep-report", state.market, record.session_id, "failed", record.reason),
            market=state.market,
            as_of=record.closed_at,
            cycle_id=f"{state.market}.{record.session_id}",
            session_id=record.session_id,
            state="failed",
            reason=record.reason,
            digest="",
            metrics={},
            phase_seconds={},
            notes=[],
        )
        outbox = [OutboxRecord(SLEEP_REPORTS, state.market, encode(report))]
        await publish(settings.kafka, outbox, 0, lambda _: None)
        state.mark_reported(record.session_id)


def pending_nights(state: MarketState, publisher: str) -> list[tuple[int, Path | None]]:
    """Finished nights that a publisher has not carried yet, in order, each with its memory file."""
    cursor = read_cursor(state.folder, publisher)
    nights = [(r.ordinal, state.memory_file(r)) for r in state.records() if r.state in FINISHED and r.ordinal]
    return [(n, path if path.exists() else None) for n, path in nights if n >= cursor.ordinal]


async def drain(
    publisher: Publisher, state: MarketState, retry_s: float, complain: Callable[[str], None]
) -> None:
    """Carry all finished nights; try again after errors, with growing pauses, until it is done."""
    pause_s = retry_s
    while nights := pending_nights(state, publisher.name):
        ordinal, path = nights[0]
        try:
            await publisher.carry(state, ordinal, path)
        except JanusError as error:
            complain(f"{publisher.name}: {error}; tried again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            continue
        state.advance(publisher.name, Cursor(ordinal + 1, 0))
        pause_s = retry_s


async def _load(night: Path) -> NightResult:
    return await asyncio.to_thread(read_commit, night)
