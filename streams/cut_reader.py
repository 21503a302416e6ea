"""Read the rows of a night's cuts from the transitions topic, and hold them against what was announced.

Reading a partition starts before its first cut, in doubling blocks, until the dedupe window is full or the log
begins; from there the same `PartitionLog` that ingest runs gives the same verdicts. Nothing is returned
unless every cut has the announced interval, row count and hash.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from janus_memory.errors import BrokerError, CutMismatchError, LogTruncatedError
from janus_memory.sleep.night import NightInput
from janus_memory.transition import Transitions
from streams import topics
from streams.connection import client_options, closed
from streams.partition_log import PartitionLog, RawRecord, content_type

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from aiokafka import ConsumerRecord

    from janus_memory.config import KafkaSettings, Settings
    from janus_memory.events import Cut
    from janus_memory.sleep.sessions import NightPlan
    from janus_memory.transition import MarketSpec

__all__ = ["FIRST_BLOCK", "PartitionRows", "read_partition", "read_plan"]

FIRST_BLOCK = 256
_T = TypeVar("_T")
_POLL_MS = 500


@dataclass(frozen=True, slots=True)
class PartitionRows:
    """What the cuts of one partition hold: rows in offset order, and what was counted on the way."""

    partition: int
    rows: Transitions
    counts: Counter[str] = field(default_factory=Counter)


async def read_plan(settings: Settings, plan: NightPlan) -> NightInput:
    """The input of a night.

    Args:
        settings: where the broker is, and the settings under which ingest announced the cuts.
        plan: the frozen set of cuts.

    Raises:
        CutMismatchError: a cut is not what was announced, or was announced under other settings.
        LogTruncatedError: retention ate records of a cut, or the topic was made anew.
        BrokerError: the broker is away.
    """
    spec = settings.market(plan.market).spec(plan.market)
    _check_settings(settings, plan)
    parts: list[PartitionRows] = []
    async with _consumer(settings.kafka) as consumer:
        for partition, cuts in groupby(plan.cuts, key=attrgetter("partition")):
            reader = _Reader(consumer, settings, spec, partition)
            parts.append(await reader.read(list(cuts), plan.after.get(partition)))
    return _night_input(plan, spec, parts)


async def read_partition(
    settings: Settings, market: str, cuts: Sequence[Cut], after: Cut | None
) -> PartitionRows:
    """The rows of consecutive cuts of one partition; `after` is the cut consumed before them. Raises as `read_plan`."""
    spec = settings.market(market).spec(market)
    async with _consumer(settings.kafka) as consumer:
        return await _Reader(consumer, settings, spec, cuts[0].partition).read(cuts, after)


class _Reader:
    """Reads one partition."""

    def __init__(
        self, consumer: AIOKafkaConsumer, settings: Settings, spec: MarketSpec, partition: int
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._spec = spec
        self._place = TopicPartition(topics.transitions(spec.name), partition)
        self._where = f"{self._place.topic} partition {partition}"
        self._timeout_s = settings.kafka.connect_timeout_s

    async def read(self, cuts: Sequence[Cut], after: Cut | None) -> PartitionRows:
        self._consumer.assign([self._place])
        beginning = await self._check_bounds(cuts)
        log = await self._warm_log(cuts[0], after, beginning)
        counts: Counter[str] = Counter()
        parts: list[Transitions] = []
        for cut in cuts:
            parts.append(await self._read_cut(log, cut, counts))
            counts.update(early=cut.early, late=cut.late)
        return PartitionRows(self._place.partition, Transitions.concatenate(parts), counts)

    async def _check_bounds(self, cuts: Sequence[Cut]) -> int:
        """The first offset of the log, once it is known that the log holds the cuts."""
        first, last = cuts[0].from_offset, cuts[-1].to_offset
        beginning: int = (await self._ask(self._consumer.beginning_offsets([self._place])))[self._place]
        end = (await self._ask(self._consumer.end_offsets([self._place])))[self._place]
        if end <= last:
            raise LogTruncatedError(
                f"{self._where} ends at offset {end}, but session {cuts[-1].session_id} reaches to {last}: the topic "
                "was made anew; nothing was consolidated; to start afresh on the new topic set `data_dir` to a "
                f"new folder (or move state/{self._spec.name} out of it) and run `janus topics create`"
            )
        if beginning > first:
            lost = f"{first}..{min(beginning, last) - 1}"
            raise LogTruncatedError(
                f"{self._where}: retention ate offsets {lost} of session {cuts[0].session_id}; the log begins at "
                f"{beginning}; nothing was consolidated; restore the records and run `janus sleep --retry`, or "
                f"give the session up with `janus sleep --skip {cuts[-1].session_id}`, and raise "
                "kafka.retention_days"
            )
        return beginning

    async def _warm_log(self, first: Cut, after: Cut | None, beginning: int) -> PartitionLog:
        """A log positioned at the first cut whose dedupe window is full, or holds all there is."""
        block = FIRST_BLOCK
        while True:
            start = max(beginning, first.from_offset - block)
            log = PartitionLog(
                self._spec,
                self._place.partition,
                self._settings.ingest,
                start_offset=first.from_offset,
                keep_rows=True,
                resume=after,
            )
            async for record in self._records(start, first.from_offset):
                log.apply(record)
            if log.warm or start == beginning:
                return log
            block *= 2

    async def _read_cut(self, log: PartitionLog, cut: Cut, counts: Counter[str]) -> Transitions:
        rows: Transitions | None = None
        found: Cut | None = None
        async for record in self._records(cut.from_offset, cut.to_offset + 1):
            applied = log.apply(record)
            counts.update(
                records=1,
                duplicates=applied.duplicates,
                rejected=len(applied.rejected) if applied.rejected else 0,
            )
            if applied.cut is not None:
                rows, found = applied.rows, applied.cut
        _check_cut(self._where, cut, found)
        return rows if rows is not None else Transitions.empty(self._spec)

    async def _records(self, start: int, stop: int) -> AsyncIterator[RawRecord]:
        """The records with start <= offset < stop that the log holds."""
        if start >= stop:
            return
        self._consumer.seek(self._place, start)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        while await self._ask(self._consumer.position(self._place)) < stop:
            batch = await self._ask(self._consumer.getmany(self._place, timeout_ms=_POLL_MS))
            if batch:
                deadline = loop.time() + self._timeout_s
            elif loop.time() > deadline:
                raise self._away(f"no record came after offset {start}")
            for record in batch.get(self._place, []):
                if record.offset < stop:
                    yield _raw(record)
                else:
                    self._consumer.seek(self._place, stop)
                    return

    async def _ask(self, answer: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except (KafkaError, TimeoutError) as error:
            raise self._away(str(error) or type(error).__name__) from error

    def _away(self, why: str) -> BrokerError:
        return BrokerError(
            f"{self._where} could not be read from {self._settings.kafka.bootstrap} within "
            f"{self._timeout_s:g} s: {why}; nothing was consolidated; it is read again when the broker answers"
        )


@asynccontextmanager
async def _consumer(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group: it commits nothing and takes no partition from anybody."""
    consumer = AIOKafkaConsumer(
        **client_options(kafka), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        async with asyncio.timeout(kafka.connect_timeout_s):
            await consumer.start()
    except (KafkaError, OSError, TimeoutError) as error:
        await closed(consumer.stop())
        raise BrokerError(
            f"no broker at {kafka.bootstrap}: {error or 'no answer'}; nothing was consolidated; "
            "it is tried again"
        ) from error
    try:
        yield consumer
    finally:
        await closed(consumer.stop())


def _raw(record: ConsumerRecord[bytes | None, bytes | None]) -> RawRecord:
    return RawRecord(record.offset, record.timestamp, record.key, record.value, content_type(record.headers))


def _check_settings(settings: Settings, plan: NightPlan) -> None:
    ours = settings.verdict_version(plan.market)
    for cut in plan.cuts:
        if cut.settings_version != ours:
            raise CutMismatchError(
                f"cut {cut.key} was announced under settings {cut.settings_version}, the sleeper has {ours}; "
                "nothing was consolidated; give ingest and sleeper the same file ([markets] and ingest's "
                f"dedupe_window, capacity, max_*) and run `janus sleep --retry {plan.session_id}`"
            )


def _check_cut(where: str, announced: Cut, found: Cut | None) -> None:
    if found is None:
        raise CutMismatchError(
            f"{where}: cut {announced.key} was announced to end at offset {announced.to_offset}, where no barrier "
            "of a later close lies; nothing was consolidated; see `janus status`"
        )
    for name in ("session_id", "from_offset", "to_offset", "rows", "sha256"):
        told, read = getattr(announced, name), getattr(found, name)
        if told != read:
            raise CutMismatchError(
                f"{where}: cut {announced.key} was announced with {name} {told}, the topic's records "
                f"{announced.from_offset}..{announced.to_offset} have {read}; nothing was consolidated; "
                f"check the topic, then `janus sleep --retry {announced.session_id}` or `--skip`"
            )


def _night_input(plan: NightPlan, spec: MarketSpec, parts: Sequence[PartitionRows]) -> NightInput:
    """All partitions' rows; of an id that stands twice the first is kept."""
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
    rows = Transitions.concatenate([part.rows for part in parts] or [Transitions.empty(spec)])
    first = np.sort(np.unique(rows.transition_id, return_index=True)[1])
    counts["cross_partition_duplicates"] = len(rows) - len(first)
    counts["split_episodes"] = _split_episodes(parts)
    return NightInput(
        market=plan.market,
        session_id=plan.session_id,
        closed_at=plan.closed_at,
        rows=rows.take(first),
        counts=dict(counts),
        missing=plan.missing,
    )


def _split_episodes(parts: Sequence[PartitionRows]) -> int:
    """Episodes that stand in more than one partition (SPEC section 1: counted and reported)."""
    seen: Counter[tuple[bytes, bytes, bytes]] = Counter()
    for part in parts:
        keys = zip(
            part.rows.instrument.tolist(),
            part.rows.agent_id.tolist(),
            part.rows.episode_id.tolist(),
            strict=True,
        )
        seen.update(set(keys))
    return sum(1 for n in seen.values() if n > 1)
