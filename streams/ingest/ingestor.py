"""What happens to a record, to a close and to an assignment, without knowing Faust.

A partition's tail is a function of its log. Whatever the consumer group does (deliver twice, skip, reassign),
the tail is brought to the record's offset by reading the log, so that verdicts and cuts never depend on delivery.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from janus_memory.errors import ConfigError, WireError
from janus_memory.events import Barrier, MarketEvent, decode, event_id, is_session_id
from streams.ingest.cuts import newest_cuts
from streams.ingest.loading import check_log, load_tail
from streams.ingest.log_reader import LogReader, committed_offsets, topic_partitions
from streams.partition_log import RawRecord, Rejection, dead_letter
from streams.topics import CUTS, MARKET_EVENTS, transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from janus_memory.config import Settings
    from janus_memory.events import Cut
    from janus_memory.transition import MarketSpec, Transitions
    from streams.ingest.publisher import Publisher
    from streams.ingest.tail import PartitionTail

__all__ = ["Ingestor", "Place"]

_logger = logging.getLogger(__name__)

# While a partition loads, its position counts records read; below every offset.
_LOADING = 2**62

Place = tuple[str, int]
"""A transitions topic and one of its partitions."""


class Ingestor:
    """Owns the tails of the assigned partitions. All methods run on one event loop.

    Args:
        settings: which markets are served, and how.
        publisher: sends dead letters, barriers and cuts.
        on_rows: told of newly accepted rows with their topic, partition and offset; must not wait.

    Attributes:
        tails: by place, for the assigned partitions that are loaded.
        assigned: the partitions this worker owns now.
    """

    def __init__(
        self,
        settings: Settings,
        publisher: Publisher,
        on_rows: Callable[[MarketSpec, int, int, Transitions], None],
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._on_rows = on_rows
        self._specs = {transitions(name): market.spec(name) for name, market in settings.markets.items()}
        self._lock = asyncio.Lock()
        self._loading: dict[Place, LogReader] = {}
        self.tails: dict[Place, PartitionTail] = {}
        self.assigned: frozenset[Place] = frozenset()

    @property
    def topics(self) -> list[str]:
        """The transitions topics of all markets served."""
        return sorted(self._specs)

    def positions(self) -> dict[Place, int]:
        """How far each assigned partition has come: a number that grows whenever a record was read."""
        return {
            place: tail.next_offset
            if (tail := self.tails.get(place))
            else reader.n_read - _LOADING
            if (reader := self._loading.get(place))
            else -_LOADING
            for place in self.assigned
        }

    async def check(self) -> None:
        """Refuse to start on a log that is not the one read before.

        Raises:
            BrokerError: the broker or a topic is missing, or a topic was made anew.
            LogTruncatedError: records that no cut holds yet are gone.
        """
        kafka, group = self._settings.kafka, self._settings.ingest.group
        partitions = await topic_partitions(kafka, [*self.topics, CUTS, MARKET_EVENTS])
        async with LogReader(kafka) as reader:
            cuts = await newest_cuts(reader)
            for topic, spec in self._specs.items():
                committed = await committed_offsets(kafka, group, topic, partitions[topic])
                for partition, bounds in (await reader.bounds(topic, partitions[topic])).items():
                    cut = cuts.get((spec.name, partition))
                    check_log(topic, partition, bounds, cut, committed[partition])

    def assign(self, places: Iterable[Place]) -> None:
        """Own these partitions from now on; the tails of others are dropped."""
        self.assigned = frozenset(p for p in places if p[0] in self._specs)
        self.tails = {place: tail for place, tail in self.tails.items() if place in self.assigned}
        _logger.info("assigned: %s", ", ".join(f"{t}/{p}" for t, p in sorted(self.assigned)) or "nothing")

    async def load_assigned(self) -> None:
        """Bring the tails of the assigned partitions to the group's position, with one reader for all."""
        kafka, group = self._settings.kafka, self._settings.ingest.group
        async with self._lock, LogReader(kafka) as reader:
            places = sorted(self.assigned)
            for topic in sorted({topic for topic, _ in places}):
                own = [p for t, p in places if t == topic]
                for partition, offset in (await committed_offsets(kafka, group, topic, own)).items():
                    if (topic, partition) in self.assigned:
                        await self._reach(reader, (topic, partition), offset)

    async def take(self, topic: str, partition: int, record: RawRecord) -> None:
        """Apply a delivered record; returns when all that must be sent for it has been sent.

        Raises:
            JanusError: it could not; the record must not be acknowledged.
        """
        place = (topic, partition)
        tail = self.tails.get(place)
        if tail is None or tail.next_offset < record.offset:
            async with self._lock, LogReader(self._settings.kafka) as reader:
                tail = await self._reach(reader, place, record.offset)
        await self._apply(topic, tail, record)

    async def announce(self, topic: str, partition: int, record: RawRecord) -> None:
        """Handle a record of the market-events topic: a close writes a barrier into every partition.

        Raises:
            JanusError: a barrier or dead letter was not taken; the record must not be acknowledged.
        """
        market = ""
        try:
            event = decode(MarketEvent, record.value or b"")
            market = event.market
            self._settings.market(market)
            _check_session(event)
        except (WireError, ConfigError) as error:
            limit = self._settings.ingest.max_record_bytes
            rejection = Rejection(str(error))
            await self._publisher.send_dead_letter(
                dead_letter(market, topic, partition, record, rejection, max_bytes=limit)
            )
            return
        if event.kind == "close":
            await self._write_barriers(event)

    async def _write_barriers(self, event: MarketEvent) -> None:
        topic = transitions(event.market)
        barrier = Barrier(
            event_id=event_id("barrier", event.market, event.session_id),
            market=event.market,
            as_of=event.as_of,
            session_id=event.session_id,
        )
        partitions = (await topic_partitions(self._settings.kafka, [topic]))[topic]
        await asyncio.gather(*(self._publisher.send_barrier(topic, p, barrier) for p in partitions))
        _logger.info("market %s closed session %s: barriers written", event.market, event.session_id)

    async def _reach(self, reader: LogReader, place: Place, offset: int | None) -> PartitionTail:
        """The tail of a partition, brought to `offset` (None: the log's beginning) by reading what it has not seen."""
        tail = self.tails.get(place)
        topic, partition = place
        if tail is None:
            self._loading[place] = reader
            tail = self.tails[place] = await self._load(reader, topic, partition, offset)
            del self._loading[place]
        elif offset is not None and tail.next_offset < offset:
            _logger.warning(
                "%s/%d: offsets %d to %d were not delivered; reading them from the log",
                *(topic, partition, tail.next_offset, offset - 1),
            )
            async for block in reader.read(topic, partition, tail.next_offset, offset):
                for record in block:
                    await self._apply(topic, tail, record)
        return tail

    async def _load(self, reader: LogReader, topic: str, partition: int, offset: int | None) -> PartitionTail:
        spec = self._specs[topic]
        cut = (await newest_cuts(reader)).get((spec.name, partition))
        bounds = (await reader.bounds(topic, [partition]))[partition]
        check_log(topic, partition, bounds, cut, offset)
        stop = bounds[0] if offset is None else offset
        found: list[Cut] = []
        tail = await load_tail(
            *(reader, topic, spec, partition, self._settings.ingest),
            first=bounds[0],
            stop=stop,
            cut=cut,
            on_cut=found.append,
        )
        for missed in found:
            await self._publish_cut(missed)
        _logger.info(
            "%s/%d: loaded up to offset %d: %d rows in the ring", topic, partition, stop, len(tail.ring)
        )
        return tail

    async def _apply(self, topic: str, tail: PartitionTail, record: RawRecord) -> None:
        applied = tail.apply(record)
        if applied.rejected is not None:
            limit = self._settings.ingest.max_record_bytes
            await self._publisher.send_dead_letter(
                dead_letter(tail.spec.name, topic, tail.partition, record, applied.rejected, max_bytes=limit)
            )
        if applied.cut is not None:
            await self._publish_cut(applied.cut)
        if applied.accepted is not None:
            self._on_rows(tail.spec, tail.partition, record.offset, applied.accepted)

    async def _publish_cut(self, cut: Cut) -> None:
        await self._publisher.send(CUTS, cut, key=cut.key)
        _logger.info(
            "cut %s: offsets %d to %d, %d rows, sha256 %s",
            *(cut.key, cut.from_offset, cut.to_offset, cut.rows, cut.sha256[:12]),
        )


def _check_session(event: MarketEvent) -> None:
    if not is_session_id(event.session_id):
        raise WireError(f"{event.kind} of session {event.session_id[:64]!r}, which is no session id")
