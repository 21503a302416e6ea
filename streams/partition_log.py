"""What a partition's log says: which rows count, and where its cuts lie.

A pure function of the log's prefix: ingest, the cut reader and the tests feed it the same records and get
the same verdicts, whoever reads. Nothing here asks the clock or the network.

Reading may start in the middle. A row's verdict is exact once `dedupe_rows` valid rows were read before it
(`PartitionLog.warm`); a cut is exact if reading starts at or before `resume.to_offset + 1`.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.config import verdict_version
from janus_memory.errors import WireError
from janus_memory.events import Barrier, Cut, DeadLetter, decode, event_id, is_session_id
from janus_memory.transition import Transitions
from streams.codec import read_frame, read_json
from streams.topics import BARRIER_TYPE, CONTENT_TYPE, FRAME_TYPE, JSON_TYPE
from streams.validation import judge, latest_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from janus_memory.config import IngestSettings
    from janus_memory.transition import MarketSpec

__all__ = ["EARLY_LIMIT", "Applied", "PartitionLog", "RawRecord", "Rejection", "content_type", "dead_letter"]

EARLY_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A Kafka record as it lies in the partition.

    Attributes:
        offset: its offset.
        timestamp_ms: its Kafka timestamp, UTC milliseconds.
        key, value: its bytes; a tombstone has no value.
        content_type: of the header; None where there is no such header.
    """

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """What of a record cannot be used, and why.

    Attributes:
        reason: one line for the whole record.
        rows: numbers of the rejected rows; empty means the record as a whole.
        row_reasons: one for each of `rows`.
    """

    reason: str
    rows: tuple[int, ...] = ()
    row_reasons: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of rejected rows; a record that could not be read counts as one."""
        return max(1, len(self.rows))


@dataclass(frozen=True, slots=True)
class Applied:
    """What one record did.

    Attributes:
        seen: the offset was applied before; nothing happened.
        accepted: new rows, or None.
        duplicates: valid rows dropped because their id was there before.
        rejected: what goes to the dead letters, or None.
        barrier: the barrier that the record is, consumed or not.
        cut: the cut that this barrier closed; None for a barrier that is not later than the last one.
        rows: the accepted rows of that cut, in log order, if the log keeps rows.
    """

    seen: bool = False
    accepted: Transitions | None = None
    duplicates: int = 0
    rejected: Rejection | None = None
    barrier: Barrier | None = None
    cut: Cut | None = None
    rows: Transitions | None = None


class PartitionLog:
    """The verdicts and cuts of one partition. Single writer; records come in the order of their offsets.

    Args:
        spec: the market's shape.
        partition: the partition.
        settings: dedupe window, clock skew and record size.
        start_offset: where the log begins; the first cut starts there.
        keep_rows: hand out all accepted rows of a cut with it (`Applied.rows`).
        resume: the newest cut of this partition; the interval of the next one starts after it, and records
            before that only fill the dedupe window.
    """

    def __init__(
        self,
        spec: MarketSpec,
        partition: int,
        settings: IngestSettings,
        *,
        start_offset: int = 0,
        keep_rows: bool = False,
        resume: Cut | None = None,
    ) -> None:
        self._spec = spec
        self._partition = partition
        self._settings = settings
        self._settings_version = verdict_version(spec, settings)
        self._window = _DedupeWindow(settings.dedupe_rows)
        self._keep_rows = keep_rows
        self._last_close = None if resume is None else resume.as_of
        self._watermark = -1
        self._begin(start_offset if resume is None else resume.to_offset + 1)

    @property
    def watermark(self) -> int:
        """The last applied offset; -1 before the first."""
        return self._watermark

    @property
    def warm(self) -> bool:
        """Whether enough valid rows were read for exact verdicts from here on, wherever reading started."""
        return self._window.n_rows >= self._settings.dedupe_rows

    @property
    def next_from_offset(self) -> int:
        """Where the open interval, the next cut's, begins."""
        return self._from_offset

    def apply(self, record: RawRecord) -> Applied:
        """Take the next record; whatever is wrong with it is part of the answer, never an exception."""
        if record.offset <= self._watermark:
            return Applied(seen=True)
        self._watermark = record.offset
        if record.content_type == BARRIER_TYPE:
            return self._apply_barrier(record)
        self._hash(record)
        return self._apply_rows(record)

    def _apply_rows(self, record: RawRecord) -> Applied:
        try:
            good, rejected = _read_rows(record, self._spec, self._settings)
        except WireError as error:
            return Applied(rejected=Rejection(str(error)))
        if good is None:
            return Applied(rejected=rejected)
        new = self._window.update(good.transition_id.tolist())
        accepted = good if new is None else good.take(new) if new.any() else None
        n_accepted = 0 if accepted is None else len(accepted)
        if accepted is not None and record.offset >= self._from_offset:
            self._count(accepted)
        return Applied(accepted=accepted, duplicates=len(good) - n_accepted, rejected=rejected)

    def _apply_barrier(self, record: RawRecord) -> Applied:
        try:
            barrier = _read_barrier(record, self._spec, self._settings)
        except WireError as error:
            self._hash(record)
            return Applied(rejected=Rejection(str(error)))
        consumed = record.offset >= self._from_offset and (
            self._last_close is None or barrier.as_of > self._last_close
        )
        if not consumed:
            self._hash(record)
            return Applied(barrier=barrier)
        cut = self._cut(barrier, record.offset)
        rows = Transitions.concatenate(self._kept or [Transitions.empty(self._spec)])
        self._last_close = barrier.as_of
        self._begin(record.offset + 1)
        return Applied(barrier=barrier, cut=cut, rows=rows if self._keep_rows else None)

    def _begin(self, from_offset: int) -> None:
        """Open the interval that starts at an offset."""
        self._from_offset = from_offset
        self._sha256 = hashlib.sha256()
        self._n_rows = self._n_late = 0
        self._stamps = _LatestStamps(EARLY_LIMIT)
        self._kept: list[Transitions] = []

    def _hash(self, record: RawRecord) -> None:
        if record.offset >= self._from_offset and record.value is not None:
            self._sha256.update(record.value)

    def _count(self, accepted: Transitions) -> None:
        """Rows of the open interval."""
        self._n_rows += len(accepted)
        if self._last_close is not None:
            self._n_late += int(np.count_nonzero(accepted.timestamp < self._last_close))
        self._stamps.add(accepted.timestamp)
        if self._keep_rows:
            self._kept.append(accepted)

    def _cut(self, barrier: Barrier, offset: int) -> Cut:
        return Cut(
            event_id=event_id("cut", self._spec.name, barrier.session_id, self._partition),
            market=self._spec.name,
            as_of=barrier.as_of,
            session_id=barrier.session_id,
            partition=self._partition,
            from_offset=self._from_offset,
            to_offset=offset,
            rows=self._n_rows,
            early=self._stamps.after(barrier.as_of),
            late=self._n_late,
            sha256=self._sha256.hexdigest(),
            settings_version=self._settings_version,
        )


def content_type(headers: Mapping[str, bytes] | Iterable[tuple[str, bytes]] | None) -> str | None:
    """The content type among a record's headers, or None; the last one counts."""
    if not headers:
        return None
    value = dict(headers).get(CONTENT_TYPE)
    return None if value is None else value.decode("latin-1")


def dead_letter(
    market: str, topic: str, partition: int, record: RawRecord, rejection: Rejection, *, max_bytes: int
) -> DeadLetter:
    """The dead-letter event of a rejected record. Key and original bytes are base64.

    The original of a record above `max_bytes` is left in the topic, where the event says it is.
    """
    value = record.value or b""
    original = value if len(value) <= max_bytes else b""
    return DeadLetter(
        event_id=event_id("dead-letter", topic, partition, record.offset),
        market=market,
        as_of=latest_time(max(record.timestamp_ms, 0), 0.0),
        topic=topic,
        partition=partition,
        offset=record.offset,
        reason=rejection.reason,
        rows=list(rejection.rows),
        row_reasons=list(rejection.row_reasons),
        content_type=record.content_type or FRAME_TYPE,
        key=None if record.key is None else base64.b64encode(record.key).decode("ascii"),
        original=base64.b64encode(original).decode("ascii"),
    )


def _read_barrier(record: RawRecord, spec: MarketSpec, settings: IngestSettings) -> Barrier:
    """The barrier that a record is.

    Raises:
        WireError: it is none, or one that cannot be consumed. A close in the future is refused because no
            later close would ever be later than it.
    """
    barrier = decode(Barrier, record.value or b"")
    if not is_session_id(barrier.session_id):
        raise WireError(f"barrier of session {barrier.session_id[:64]!r}, which is no session id")
    if barrier.as_of > latest_time(record.timestamp_ms, settings.max_clock_skew_s):
        raise WireError(
            f"barrier of session {barrier.session_id}: its close {barrier.as_of} is ahead of the record's Kafka "
            "timestamp; send the close again with the right time"
        )
    if barrier.market != spec.name:
        raise WireError(f"barrier of market {barrier.market[:64]!r} on the topic of market {spec.name!r}")
    return barrier


def _read_rows(
    record: RawRecord, spec: MarketSpec, settings: IngestSettings
) -> tuple[Transitions | None, Rejection | None]:
    """The record's good rows (None if there are none) and what was rejected.

    Raises:
        WireError: the record as a whole cannot be used.
    """
    if record.value is None:
        raise WireError("a record without a value")
    if len(record.value) > settings.max_record_bytes:
        raise WireError(f"a record of {len(record.value)} bytes, at most {settings.max_record_bytes} allowed")
    if record.content_type not in {None, FRAME_TYPE, JSON_TYPE}:
        raise WireError(f"unknown content type {str(record.content_type)[:100]!r}")
    read = read_json if record.content_type == JSON_TYPE else read_frame
    frame = read(record.value, spec)
    verdict = judge(frame, spec, record_ms=record.timestamp_ms, max_skew_s=settings.max_clock_skew_s)
    rejected = None
    if verdict.rejected:
        reason = f"{len(verdict.rejected)} of {frame.n} rows: {verdict.reasons[0]}"
        rejected = Rejection(reason, verdict.rejected, verdict.reasons)
    return (verdict.good if len(verdict.good) else None), rejected


class _DedupeWindow:
    """The ids of the last `size` valid rows, exactly, in bounded memory.

    Two generations of id -> last position. When the young one spans `size` rows it becomes the old one;
    what was old is then out of reach of every later row.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._old: dict[bytes, int] = {}
        self._young: dict[bytes, int] = {}
        self._young_start = 0
        self.n_rows = 0

    def update(self, ids: list[bytes]) -> NDArray[np.bool_] | None:
        """Append rows in order; bool [n], True where the row is new, or None if all are."""
        start, n = self.n_rows, len(ids)
        if start - self._young_start >= self._size:
            self._old, self._young, self._young_start = self._young, {}, start
        self.n_rows = start + n
        unseen = self._young.keys().isdisjoint(ids) and self._old.keys().isdisjoint(ids)
        if unseen:
            before = len(self._young)
            self._young.update(zip(ids, range(start, start + n), strict=True))
            if len(self._young) - before == n:
                return None
            first: dict[bytes, int] = {}
            return np.array([first.setdefault(key, row) == row for row, key in enumerate(ids)], bool)
        return np.fromiter((self._is_new(key, start, row) for row, key in enumerate(ids)), bool, n)

    def _is_new(self, key: bytes, start: int, row: int) -> bool:
        last = self._young.get(key)
        if last is None:
            last = self._old.get(key)
        position = start + row
        self._young[key] = position
        return last is None or (position - last > self._size and last < start)


class _LatestStamps:
    """The latest `limit` timestamps, so that rows after a close that is not yet known can be counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[NDArray[np.int64]] = []
        self._n = 0

    def add(self, timestamps: NDArray[np.int64]) -> None:
        """Append timestamps int64 [n]; forget the earliest beyond twice the limit."""
        self._parts.append(timestamps.copy())
        self._n += len(timestamps)
        if self._n > 2 * self._limit:
            self._parts = [np.partition(np.concatenate(self._parts), -self._limit)[-self._limit :]]
            self._n = self._limit

    def after(self, moment: int) -> int:
        """How many are later than `moment`; at most the limit."""
        found = sum(int(np.count_nonzero(part > moment)) for part in self._parts)
        return min(found, self._limit)
