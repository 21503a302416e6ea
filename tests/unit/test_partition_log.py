"""A partition's log: dedupe, cuts and restarts are functions of the records alone."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from janus_memory.config import IngestSettings, verdict_version
from janus_memory.events import Cut, decode, encode, event_id
from janus_memory.events import DeadLetter as DeadLetterEvent
from streams import partition_log
from streams.partition_log import Applied, PartitionLog, RawRecord, Rejection, content_type, dead_letter
from streams.topics import BARRIER_TYPE, CONTENT_TYPE, FRAME_TYPE, JSON_TYPE
from tests.unit.wire_rows import DISCRETE, NOW_MS, NOW_NS, barrier_record, frame_record, make_rows

WINDOW = 5
SETTINGS = IngestSettings(capacity=WINDOW, max_record_bytes=10_000)


def _log(**options: object) -> PartitionLog:
    return PartitionLog(DISCRETE, 0, SETTINGS, **options)  # type: ignore[arg-type]  # the options are named where used


def _accepted(applied: Applied) -> list[bytes]:
    return [] if applied.accepted is None else applied.accepted.transition_id.tolist()


def _ids_of(frames: list[list[str]], log: PartitionLog) -> list[list[bytes]]:
    return [_accepted(log.apply(frame_record(i, make_rows(ids)))) for i, ids in enumerate(frames)]


def _reference(frames: list[list[str]], window: int) -> list[list[bytes]]:
    """Dedupe from its definition: search the previous `window` rows, and the frame so far."""
    past: list[str] = []
    kept: list[list[bytes]] = []
    for frame in frames:
        start, new = len(past), []
        for key in frame:
            if key not in past[max(0, len(past) - window) :] and key not in past[start:]:
                new.append(key.encode())
            past.append(key)
        kept.append(new)
    return kept


small_ids = st.sampled_from([f"t{i}" for i in range(9)])
frame_lists = st.lists(st.lists(small_ids, min_size=1, max_size=8), max_size=12)


@given(frame_lists)
def test_duplicates_are_those_of_the_definition(frames: list[list[str]]) -> None:
    """Whatever the frames, the window is exact."""
    assert _ids_of(frames, _log()) == _reference(frames, WINDOW)


@given(st.lists(small_ids, max_size=30))
def test_a_batch_dedupes_like_singles(ids: list[str]) -> None:
    """Within the window's size a frame is the sequence of its rows."""
    parts = [ids[i : i + WINDOW] for i in range(0, len(ids), WINDOW)]
    batch, single = _log(), _log()
    singles = [_accepted(single.apply(frame_record(i, make_rows([key])))) for i, key in enumerate(ids)]
    flat = itertools.chain.from_iterable
    assert list(flat(_ids_of(parts, batch))) == list(flat(singles))


@given(st.lists(st.lists(small_ids, min_size=1, max_size=2), max_size=12))
def test_every_record_twice_gives_the_same_rows(frames: list[list[str]]) -> None:
    """A producer that repeats each record changes nothing but the count of duplicates."""
    log = _log()
    twice = [ids for ids in frames for _ in range(2)]
    accepted = _ids_of(twice, log)
    assert accepted[1::2] == [[] for _ in frames]
    # Doubling makes rows twice as many, so the window reaches half as far back.
    wide = PartitionLog(DISCRETE, 0, IngestSettings(capacity=10_000))
    once = PartitionLog(DISCRETE, 0, IngestSettings(capacity=10_000))
    assert _ids_of(twice, wide)[::2] == _ids_of(frames, once)


def test_the_window_keeps_its_memory_bounded() -> None:
    """Ids out of reach are forgotten."""
    log = _log()
    for offset in range(200):
        log.apply(frame_record(offset, make_rows([f"r{offset}-{i}" for i in range(3)])))
    window = log._window
    assert len(window._old) + len(window._young) <= 2 * (WINDOW + 3)


def test_an_offset_seen_before_is_ignored() -> None:
    """Kafka delivers again after a rebalance; the watermark drops it."""
    log = _log()
    record = frame_record(7, make_rows(["a"]))
    assert _accepted(log.apply(record)) == [b"a"]
    assert log.apply(record) == Applied(seen=True)
    assert log.apply(frame_record(3, make_rows(["b"]))) == Applied(seen=True)
    assert log.watermark == 7


def test_a_cut_says_what_lies_between_two_barriers() -> None:
    """Worked by hand: two sessions, one early row, one late row, junk in between."""
    log = _log(start_offset=10, keep_rows=True)
    first = frame_record(10, make_rows(["a", "b"], stamps=[50, 120]))
    junk = RawRecord(11, NOW_MS, None, b"junk", FRAME_TYPE)
    second = frame_record(13, make_rows(["c", "d", "e", "a"], stamps=[99, 150, 155, 160]))
    log.apply(first)
    log.apply(junk)
    one = log.apply(barrier_record(12, "d1", 100))
    log.apply(second)
    repeated = barrier_record(14, "d1", 100)
    again = log.apply(repeated)
    two = log.apply(barrier_record(15, "d2", 200))
    assert one.cut == Cut(
        event_id=event_id("cut", "fx", "d1", 0),
        market="fx",
        as_of=100,
        session_id="d1",
        partition=0,
        from_offset=10,
        to_offset=12,
        rows=2,
        early=1,
        late=0,
        sha256=hashlib.sha256((first.value or b"") + b"junk").hexdigest(),
        settings_version=verdict_version(DISCRETE, SETTINGS),
    )
    assert again.cut is None
    assert again.barrier is not None
    assert two.cut is not None
    assert (two.cut.from_offset, two.cut.to_offset, two.cut.rows) == (13, 15, 3)
    assert (two.cut.early, two.cut.late) == (0, 1)
    assert two.cut.sha256 == hashlib.sha256((second.value or b"") + (repeated.value or b"")).hexdigest()
    assert one.rows is not None
    assert one.rows.transition_id.tolist() == [b"a", b"b"]
    assert two.rows is not None
    assert two.rows.transition_id.tolist() == [b"c", b"d", b"e"]


def test_a_cut_without_rows_is_a_cut() -> None:
    """A partition may stay silent for a day."""
    applied = _log(keep_rows=True).apply(barrier_record(0, "d1", 100))
    assert applied.cut is not None
    assert (applied.cut.rows, applied.cut.sha256) == (0, hashlib.sha256().hexdigest())
    assert applied.rows is not None
    assert len(applied.rows) == 0


def test_early_rows_are_counted_with_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the latest timestamps are kept, and the count is exact up to that many."""
    monkeypatch.setattr(partition_log, "EARLY_LIMIT", 4)
    log = PartitionLog(DISCRETE, 0, IngestSettings(capacity=100))
    for offset in range(30):
        log.apply(frame_record(offset, make_rows([f"t{offset}"], stamps=[1000 - offset])))
        assert log._stamps._n <= 8
    few = log.apply(barrier_record(30, "d1", 997)).cut
    assert few is not None
    assert few.early == 3


records = st.lists(
    st.one_of(
        st.lists(small_ids, min_size=1, max_size=4),
        st.integers(1, 50),
        st.binary(max_size=6),
    ),
    max_size=25,
)


def _records(contents: list[list[str] | int | bytes]) -> list[RawRecord]:
    """Frames of ids, barriers by their close, junk by its bytes."""
    made: list[RawRecord] = []
    for offset, content in enumerate(contents):
        if isinstance(content, list):
            stamps = [(7 * offset + 3 * i) % 50 for i in range(len(content))]
            made.append(frame_record(offset, make_rows(content, seed=offset, stamps=stamps)))
        elif isinstance(content, int):
            made.append(barrier_record(offset, f"s{content}", content))
        else:
            made.append(RawRecord(offset, NOW_MS, None, content, FRAME_TYPE))
    return made


def _same(left: Applied, right: Applied) -> bool:
    def plain(x: Applied) -> object:
        rows = [None if r is None else r.canonical_bytes() for r in (x.accepted, x.rows)]
        return (x.seen, rows, x.duplicates, x.rejected, x.barrier, x.cut)

    return plain(left) == plain(right)


@settings(max_examples=150)
@given(records)
@example([["t0", "t1"], ["t2"], ["t3", "t4"], 5, ["t5"], ["t2", "t0"], 9, ["t1", "t6"], ["t5"], 12, ["t6"]])
def test_a_restart_at_any_lookback_gives_the_same_verdicts_and_cuts(
    contents: list[list[str] | int | bytes],
) -> None:
    """From every cut, and every offset that leaves a full window before what follows it, the rest is the same."""
    log = _log(keep_rows=True)
    made = _records(contents)
    whole = [log.apply(record) for record in made]
    cuts: list[Cut | None] = [None, *(a.cut for a in whole if a.cut is not None)]
    for resume in cuts:
        after = 0 if resume is None else resume.to_offset + 1
        for start in range(after + 1):
            again = _log(keep_rows=True, resume=resume)
            for record, before in zip(made[start:], whole[start:], strict=True):
                exact = again.warm or start == 0
                if record.offset >= after and not exact:
                    break
                applied = again.apply(record)
                if record.offset >= after:
                    assert _same(applied, before)
                elif exact:
                    assert _accepted(applied) == _accepted(before)


def test_a_restart_that_is_not_warm_says_so() -> None:
    """`warm` turns true with the row that completes the window."""
    log = _log()
    for offset, ids in enumerate([["a", "b"], ["c", "d"], ["a"]]):
        assert not log.warm
        log.apply(frame_record(offset, make_rows(ids)))
    assert log.warm


def test_rows_before_the_resumed_cut_only_fill_the_window() -> None:
    """A row of yesterday, sent again today, is a duplicate and not in today's cut."""
    yesterday, today = _log(), frame_record(2, make_rows(["a", "b"]))
    records_ = [frame_record(0, make_rows(["a"])), barrier_record(1, "d1", 10), today]
    cut = [yesterday.apply(record).cut for record in records_][1]
    log = _log(resume=cut)
    applied = [log.apply(record) for record in records_]
    assert [_accepted(a) for a in applied] == [[b"a"], [], [b"b"]]
    assert applied[1].cut is None
    closing = log.apply(barrier_record(3, "d2", 20)).cut
    assert closing is not None
    assert (closing.rows, closing.from_offset) == (1, 2)
    assert closing.sha256 == hashlib.sha256(today.value or b"").hexdigest()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (RawRecord(0, NOW_MS, None, None), "without a value"),
        (RawRecord(0, NOW_MS, None, b""), "undecodable"),
        (RawRecord(0, NOW_MS, None, b"x" * 10_001), "a record of 10001 bytes, at most 10000 allowed"),
        (RawRecord(0, NOW_MS, None, b"{}", JSON_TYPE), "undecodable JSON"),
        (RawRecord(0, NOW_MS, None, b"{}", "text/plain"), "unknown content type 'text/plain'"),
        (RawRecord(0, NOW_MS, None, b"{}", BARRIER_TYPE), "not a Barrier"),
        (RawRecord(0, NOW_MS, None, b"\xff", BARRIER_TYPE), "not a Barrier"),
        (RawRecord(0, NOW_MS, None, None, BARRIER_TYPE), "not a Barrier"),
        (barrier_record(0, "d1", 5, market="other"), "barrier of market 'other'"),
        (barrier_record(0, "../d1", 5), "no session id"),
        (barrier_record(0, "d1", NOW_NS + 60_000_000_001), "ahead of the record's Kafka timestamp"),
    ],
)
def test_a_bad_record_is_rejected_whole(record: RawRecord, reason: str) -> None:
    """The reason is an answer, not an exception, and the record stays part of the hash."""
    log = _log()
    rejected = log.apply(record).rejected
    assert rejected is not None
    assert reason in rejected.reason
    assert (rejected.rows, len(rejected)) == ((), 1)
    cut = log.apply(barrier_record(1, "d1", 10)).cut
    assert cut is not None
    assert cut.sha256 == hashlib.sha256(record.value or b"").hexdigest()


def test_bad_rows_go_and_good_rows_stay() -> None:
    """A rejected row neither counts for the window nor hides a later good one."""
    log = _log()
    rows = make_rows(["a", "b", "c"], stamps=[1, -1, 2])
    applied = log.apply(frame_record(0, rows))
    assert _accepted(applied) == [b"a", b"c"]
    assert applied.rejected == Rejection(
        "1 of 3 rows: timestamp is negative", (1,), ("timestamp is negative",)
    )
    assert _accepted(log.apply(frame_record(1, make_rows(["b"])))) == [b"b"]


def test_a_frame_needs_no_content_type() -> None:
    """A record without the header is a frame."""
    frame = frame_record(0, make_rows(["a"]))
    plain = RawRecord(0, NOW_MS, None, frame.value)
    assert _accepted(_log().apply(plain)) == [b"a"]


def test_headers_may_be_pairs_or_a_mapping() -> None:
    """Aiokafka gives pairs, Faust a mapping."""
    pairs = [("x", b"y"), (CONTENT_TYPE, b"application/json")]
    assert content_type(pairs) == content_type(dict(pairs)) == JSON_TYPE
    assert content_type(None) is None
    assert content_type([("x", b"y")]) is None
    assert content_type([(CONTENT_TYPE, b"\xff")]) == "ÿ"


def test_a_dead_letter_carries_the_original() -> None:
    """Key and bytes come back exactly; an oversized original stays where it is."""
    record = RawRecord(4, NOW_MS, b"\xffkey", b"\0\x01junk")
    rejection = Rejection("bad", (1, 3), ("x", "y"))
    letter = dead_letter("fx", "janus.transitions.fx", 2, record, rejection, max_bytes=6)
    assert letter == decode(DeadLetterEvent, encode(letter))
    assert (letter.partition, letter.offset, letter.rows, letter.row_reasons) == (2, 4, [1, 3], ["x", "y"])
    assert (letter.key, letter.original, letter.content_type) == ("/2tleQ==", "AAFqdW5r", FRAME_TYPE)
    assert letter.as_of == NOW_MS * 1_000_000
    assert dead_letter("fx", "t", 2, record, rejection, max_bytes=5).original == ""


@pytest.mark.parametrize("timestamp_ms", [-1, 2**63 - 1])
def test_a_dead_letter_of_any_timestamp_can_be_sent(timestamp_ms: int) -> None:
    """The record's timestamp is the producer's word."""
    record = RawRecord(0, timestamp_ms, None, None)
    letter = dead_letter("fx", "t", 0, record, Rejection("bad"), max_bytes=1)
    assert decode(DeadLetterEvent, encode(letter)) == letter
    assert 0 <= letter.as_of < 2**63


@given(st.binary(max_size=120), st.sampled_from([None, FRAME_TYPE, JSON_TYPE, BARRIER_TYPE, "?"]))
def test_random_bytes_never_raise(value: bytes, kind: str | None) -> None:
    """Everything bad comes out as a rejection."""
    assert _log().apply(RawRecord(0, NOW_MS, None, value, kind)).rejected is not None
