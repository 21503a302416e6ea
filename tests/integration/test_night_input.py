"""A cut is read back from a real topic exactly as it was announced, or refused with what is wrong."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from janus_memory.errors import BrokerError, CutMismatchError, LogTruncatedError
from janus_memory.events import Barrier, Cut, encode
from janus_memory.loopback import free_port
from janus_memory.sleep.sessions import NightPlan
from janus_memory.transition import Transitions
from streams.codec import encode_frame
from streams.connection import client_options
from streams.cut_reader import read_partition, read_plan
from streams.topics import BARRIER_TYPE, CONTENT_TYPE, FRAME_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from janus_memory.sleep.cycle import NightInput
    from tests.integration.harness import Market

pytestmark = pytest.mark.integration

DAY_NS = 86_400 * 10**9


class Sent(NamedTuple):
    """A record in the topic."""

    offset: int
    value: bytes


def rows_of(market: Market, *numbers: int) -> Transitions:
    """Rows whose id and state tell their number."""
    n = len(numbers)
    rows = Transitions.empty(market.spec, n)
    for name in ("instrument", "agent_id", "episode_id", "domain"):
        getattr(rows, name)[:] = b"one"
    rows.transition_id[:] = [f"row-{number:05d}".encode() for number in numbers]
    rows.timestamp[:] = np.array(numbers, np.int64) + 1
    rows.state[:] = np.array(numbers, np.float32)[:, None]
    return rows


def numbers_in(rows: Transitions) -> list[int]:
    return [int(i) for i in rows.state[:, 0]]


async def _produce(market: Market, records: Sequence[Sequence[int] | int], partition: int) -> list[Sent]:
    """Send frames (lists of row numbers) and barriers (a day's number) and wait for their offsets."""
    producer = AIOKafkaProducer(**client_options(market.settings.kafka), acks="all")
    await producer.start()
    try:
        sent, values = [], []
        for record in records:
            if isinstance(record, int):
                value = encode(
                    Barrier(
                        event_id=f"b{record}",
                        market=market.name,
                        as_of=record * DAY_NS,
                        session_id=f"d{record}",
                    )
                )
                kind = BARRIER_TYPE
            else:
                value, kind = encode_frame(rows_of(market, *record), market.spec), FRAME_TYPE
            values.append(value)
            headers = [(CONTENT_TYPE, kind.encode())]
            sent.append(await producer.send(market.topic, value, partition=partition, headers=headers))
        return [Sent((await future).offset, value) for future, value in zip(sent, values, strict=True)]
    finally:
        await producer.stop()


def produce(market: Market, *records: Sequence[int] | int, partition: int = 0) -> list[Sent]:
    return asyncio.run(_produce(market, records, partition))


def announce(market: Market, day: int, rows: int, records: Sequence[Sent], partition: int = 0) -> Cut:
    """The cut of records that end with a barrier, computed from the definition (DESIGN, The one idea)."""
    return Cut(
        event_id=f"cut-{day}",
        market=market.name,
        as_of=day * DAY_NS,
        session_id=f"d{day}",
        partition=partition,
        from_offset=records[0].offset,
        to_offset=records[-1].offset,
        rows=rows,
        early=0,
        late=0,
        sha256=hashlib.sha256(b"".join(r.value for r in records[:-1])).hexdigest(),
        settings_version=market.settings.verdict_version(market.name),
    )


def plan_of(market: Market, *cuts: Cut) -> NightPlan:
    last = cuts[-1]
    return NightPlan(market=market.name, session_id=last.session_id, closed_at=last.as_of, cuts=cuts)


def read(market: Market, *cuts: Cut) -> NightInput:
    return asyncio.run(read_plan(market.settings, plan_of(market, *cuts)))


def test_rows_come_back_in_log_order_without_duplicates(market: Callable[..., Market]) -> None:
    """The second day drops an id of the first one, which it does not hold itself."""
    own = market(dedupe_window=64)
    sent = produce(own, [3, 1], [3, 1], [2], 1, [2, 7], [8], 2)
    first, second = announce(own, 1, 3, sent[:4]), announce(own, 2, 2, sent[4:])
    night = read(own, first)
    assert numbers_in(night.rows) == [3, 1, 2]
    assert night.counts["duplicates"] == 2
    one = asyncio.run(read_partition(own.settings, own.name, [second], first))
    assert numbers_in(one.rows) == [7, 8]
    both = asyncio.run(read_partition(own.settings, own.name, [first, second], None))
    assert numbers_in(both.rows) == [3, 1, 2, 7, 8]


def test_the_dedupe_window_is_found_farther_back_than_the_first_block(market: Callable[..., Market]) -> None:
    """A duplicate 700 records back is dropped within a window of 800 rows, and kept beyond one of 600."""
    for window, expected in ((800, [1000]), (600, [100, 1000])):
        own = market(dedupe_window=window)
        sent = produce(own, *[[n] for n in range(800)], 1, [100], [1000], 2)
        first, second = announce(own, 1, 800, sent[:801]), announce(own, 2, len(expected), sent[801:])
        found = asyncio.run(read_partition(own.settings, own.name, [second], first))
        assert numbers_in(found.rows) == expected


def test_an_id_in_two_partitions_is_kept_once(market: Callable[..., Market]) -> None:
    """The first partition's row stays; the episode that stands in both is counted."""
    own = market(partitions=2)
    sent = [produce(own, [1, 2], 1, partition=0), produce(own, [2, 3], 1, partition=1)]
    night = read(own, *(announce(own, 1, 2, records, p) for p, records in enumerate(sent)))
    assert numbers_in(night.rows) == [1, 2, 3]
    assert night.counts["cross_partition_duplicates"] == 1
    assert night.counts["split_episodes"] == 1


def test_another_hash_is_refused_with_both_values(market: Callable[..., Market]) -> None:
    """Nothing is returned; the message names partition, cut and both hashes."""
    own = market()
    cut = announce(own, 1, 2, produce(own, [1, 2], 1))
    other = msgspec.structs.replace(cut, sha256="0" * 64)
    with pytest.raises(CutMismatchError, match=f"sha256 {'0' * 64}.* have {cut.sha256}; nothing was"):
        read(own, other)


def test_another_row_count_is_refused(market: Callable[..., Market]) -> None:
    """Ingest and sleeper must agree on every verdict."""
    own = market()
    cut = announce(own, 1, 5, produce(own, [1, 2], 1))
    with pytest.raises(CutMismatchError, match=r"rows 5, .* have 2;"):
        read(own, cut)


def test_a_cut_that_does_not_end_at_a_barrier_is_refused(market: Callable[..., Market]) -> None:
    """The announced end is another record."""
    own = market()
    sent = produce(own, [1, 2], [3], 1)
    with pytest.raises(CutMismatchError, match="where no barrier"):
        read(own, announce(own, 1, 2, sent[:2]))


def test_other_settings_are_refused_before_anything_is_read(market: Callable[..., Market]) -> None:
    """Row counts of another dedupe window mean nothing."""
    own = market()
    cut = announce(own, 1, 2, produce(own, [1, 2], 1))
    with pytest.raises(CutMismatchError, match="announced under settings other"):
        read(own, msgspec.structs.replace(cut, settings_version="other"))


def test_offsets_that_retention_ate_are_named(market: Callable[..., Market]) -> None:
    """Also how to go on: retry after a restore, or skip."""
    own = market()
    sent = produce(own, [1], [2], [3], 1)

    async def eat() -> None:
        admin = AIOKafkaAdminClient(**client_options(own.settings.kafka))
        await admin.start()
        try:
            place = TopicPartition(own.topic, 0)
            await admin.delete_records({place: RecordsToDelete(before_offset=sent[2].offset)})
        finally:
            await admin.close()

    asyncio.run(eat())
    with pytest.raises(LogTruncatedError, match=r"ate offsets 0\.\.1 of session d1.*--skip d1"):
        read(own, announce(own, 1, 3, sent))


def test_a_topic_that_was_made_anew_is_refused(market: Callable[..., Market]) -> None:
    """Its end lies before the announced cut; the message says how to start afresh."""
    own = market()
    sent = produce(own, [1], 1)
    cut = announce(own, 1, 1, sent)
    with pytest.raises(
        LogTruncatedError, match=r"ends at offset 2, .* reaches to 40: .*made anew.*start afresh"
    ):
        read(own, msgspec.structs.replace(cut, to_offset=40))


def test_a_broker_that_is_away_is_said_so_in_time(market: Callable[..., Market]) -> None:
    """Nothing blocks: the error comes within the connect timeout."""
    own = market()
    cut = announce(own, 1, 1, produce(own, [1], 1))
    away = msgspec.structs.replace(
        own.settings.kafka, bootstrap=f"127.0.0.1:{free_port()}", connect_timeout_s=1.0
    )
    settings = msgspec.structs.replace(own.settings, kafka=away)
    with pytest.raises(BrokerError, match=r"no broker at .*nothing was consolidated"):
        asyncio.run(read_plan(settings, plan_of(own, cut)))
