"""The newest cut of each partition, read from the compacted cuts topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from janus_memory.events import Cut, decode
from streams.topics import CUTS

if TYPE_CHECKING:
    from streams.ingest.log_reader import LogReader

__all__ = ["all_cuts", "newest_cuts"]


async def all_cuts(reader: LogReader) -> dict[str, Cut]:
    """Every cut by its key; a tombstone takes its cut away.

    Raises:
        WireError: a record of the cuts topic is not a cut.
        BrokerError: the broker is away.
    """
    cuts: dict[str, Cut] = {}
    for partition, (first, end) in (await reader.bounds(CUTS, await _partitions(reader))).items():
        async for block in reader.read(CUTS, partition, first, end):
            for record in block:
                key = (record.key or b"").decode(errors="replace")
                if record.value is None:
                    cuts.pop(key, None)
                else:
                    cuts.setdefault(key, decode(Cut, record.value))
    return cuts


async def newest_cuts(reader: LogReader) -> dict[tuple[str, int], Cut]:
    """The cut with the highest barrier offset for each (market, partition)."""
    newest: dict[tuple[str, int], Cut] = {}
    for cut in (await all_cuts(reader)).values():
        place = (cut.market, cut.partition)
        if place not in newest or cut.to_offset > newest[place].to_offset:
            newest[place] = cut
    return newest


async def _partitions(reader: LogReader) -> list[int]:
    return (await reader.partitions([CUTS]))[CUTS]
