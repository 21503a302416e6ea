"""Rebuilds a partition's tail from the log, as if its worker had never stopped.

The next cut needs every record since the newest cut, its verdicts need the dedupe window before that, and the
ring needs `capacity` accepted rows. So reading goes back from the newest cut in doubling blocks until one
dedupe window and `capacity` exactly judged rows are there or the log begins, and then forward to `stop`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from janus_memory.errors import BrokerError, LogTruncatedError
from streams.ingest.tail import PartitionTail

if TYPE_CHECKING:
    from collections.abc import Callable

    from janus_memory.config import IngestSettings
    from janus_memory.events import Cut
    from janus_memory.transition import MarketSpec
    from streams.ingest.log_reader import LogReader
    from streams.partition_log import RawRecord

__all__ = ["check_log", "load_tail"]

_FIRST_BLOCK = 128
_logger = logging.getLogger(__name__)


def check_log(
    topic: str, partition: int, bounds: tuple[int, int], cut: Cut | None, committed: int | None
) -> None:
    """Refuse a log that is not the one read before.

    Args:
        topic: the transitions topic.
        partition: its partition.
        bounds: first and end offset of the log.
        cut: the newest cut of the partition.
        committed: the offset the group has committed.

    Raises:
        BrokerError: the log ends below what was read from it: the topic was made anew.
        LogTruncatedError: records since the newest cut are gone.
    """
    first, end = bounds
    known = max(committed or 0, cut.to_offset + 1 if cut else 0)
    market = topic.rpartition(".")[2]
    afresh = f"`python -m streams.ingest.worker --config FILE --start-afresh {market}`"
    if end < known:
        raise BrokerError(
            f"{topic}/{partition} ends at offset {end} but was read up to {known} before: the topic was made "
            f"anew. Nothing was read from it and the market's memory is untouched. To begin with the new topic: {afresh}"
        )
    needed = cut.to_offset + 1 if cut else committed
    if needed is not None and first > needed:
        raise LogTruncatedError(
            f"{topic}/{partition}: retention has eaten offsets {needed} to {first - 1}, which no cut holds yet. "
            "Committed nights are safe. Raise kafka.retention_days; to go on without those records: " + afresh
        )


async def load_tail(
    reader: LogReader,
    topic: str,
    spec: MarketSpec,
    partition: int,
    settings: IngestSettings,
    *,
    first: int,
    stop: int,
    cut: Cut | None,
    on_cut: Callable[[Cut], None],
) -> PartitionTail:
    """The tail after all records below `stop`.

    Args:
        reader: reads the log.
        topic: the transitions topic.
        spec: the market's shape.
        partition: the partition.
        settings: how rows are judged, and the ring's capacity.
        first: where the log begins.
        stop: the offset of the record that will be applied next.
        cut: the newest cut of the partition, or None.
        on_cut: told of every cut found after it: one whose publishing a crash has prevented.
    """
    anchor = min(cut.to_offset + 1, stop) if cut else first
    older: list[RawRecord] = []
    start, size = anchor, _FIRST_BLOCK
    tail = _replay(older, spec, partition, settings, start, cut)
    while start > first and not (tail.warm and _n_exact(tail, settings) >= settings.capacity):
        begin = max(first, start - size)
        block = [r async for records in reader.read(topic, partition, begin, start) for r in records]
        older, start, size = block + older, begin, 2 * size
        tail = _replay(older, spec, partition, settings, start, cut)
    if start == first and first > 0 and tail.n_accepted < settings.capacity and cut is not None:
        tail.lost = (0, first)
        _logger.warning(
            "%s/%d: retention has eaten offsets below %d; the ring begins with %d rows of %d; cuts are whole",
            *(topic, partition, first, len(tail.ring), settings.capacity),
        )
    async for records in reader.read(topic, partition, anchor, stop):
        for record in records:
            applied = tail.apply(record)
            if applied.cut is not None:
                on_cut(applied.cut)
    return tail


def _replay(  # noqa: PLR0917  (the tail's own arguments)
    records: list[RawRecord],
    spec: MarketSpec,
    partition: int,
    settings: IngestSettings,
    start: int,
    cut: Cut | None,
) -> PartitionTail:
    """A new tail that begins at `start` and has taken `records`."""
    tail = PartitionTail(spec, partition, settings, start=start, resume=cut)
    for record in records:
        tail.apply(record)
    return tail


def _n_exact(tail: PartitionTail, settings: IngestSettings) -> int:
    """A lower bound on the accepted rows that were judged with a full dedupe window before them."""
    return tail.n_accepted - settings.dedupe_rows
