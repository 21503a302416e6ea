"""What one partition's log says so far: verdicts and cuts, the ring of accepted rows, and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from janus_memory.hippocampus.buffer import EpisodicBuffer
from streams.partition_log import Applied, PartitionLog, RawRecord

if TYPE_CHECKING:
    from janus_memory.config import IngestSettings
    from janus_memory.events import Cut
    from janus_memory.transition import MarketSpec

__all__ = ["PartitionTail"]


class PartitionTail:
    """A function of the log's prefix, like the `PartitionLog` in it. Single writer.

    Attributes:
        spec, partition: what it is the tail of.
        ring: the last `capacity` accepted rows, in arrival order.
        n_records, n_accepted, n_duplicates, n_rejected: since this tail began; rows, except the records.
        last_cut: the newest cut, found by this tail or by an owner before.
        lost: the offsets [from, to) that retention took from the ring, or None.
    """

    def __init__(
        self,
        spec: MarketSpec,
        partition: int,
        settings: IngestSettings,
        *,
        start: int,
        resume: Cut | None = None,
    ) -> None:
        self.spec = spec
        self.partition = partition
        self.ring = EpisodicBuffer(spec, settings.capacity)
        self.n_records = self.n_accepted = self.n_duplicates = self.n_rejected = 0
        self.last_cut = resume
        self.lost: tuple[int, int] | None = None
        self._log = PartitionLog(spec, partition, settings, start_offset=start, resume=resume)
        self._next = start

    @property
    def next_offset(self) -> int:
        """The offset of the record that comes next."""
        return self._next

    @property
    def warm(self) -> bool:
        """Whether enough rows were read for exact verdicts, wherever reading began."""
        return self._log.warm

    def apply(self, record: RawRecord) -> Applied:
        """Take the next record; one that was taken before changes nothing."""
        applied = self._log.apply(record)
        if applied.seen:
            return applied
        self._next = record.offset + 1
        self.n_records += 1
        if applied.accepted is not None:
            self.ring.extend(applied.accepted)
            self.n_accepted += len(applied.accepted)
        self.n_duplicates += applied.duplicates
        if applied.rejected is not None:
            self.n_rejected += len(applied.rejected)
        if applied.cut is not None:
            self.last_cut = applied.cut
        return applied
