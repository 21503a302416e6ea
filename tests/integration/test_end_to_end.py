"""The main job on Apache Kafka and Ray: three days in, schemas out, and the same digest whatever dies on the way."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from actors.cluster import end_left_over
from infra.kafka.broker import Broker
from janus_memory.events import PackedArray
from janus_memory.sleep.sessions import read_cursor, state_folder
from janus_memory.store.qdrant import open_store
from streams.topics import BARRIER_TYPE, FRAME_TYPE, MARKET_EVENTS, transitions
from tests.integration.harness import Process, get, read_topic, send, wait_until
from tests.integration.world import (
    CAPACITY,
    DAYS,
    MARKET,
    PARTITIONS,
    SHORT_SESSION_S,
    World,
    first_of_each_id,
    frames_by_hand,
    new_world,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from aiokafka import ConsumerRecord

    from janus_memory.events import SleepReport

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BLOCKING_WORKER = str(Path(__file__).with_name("blocking_worker.py"))
WATCHDOG_S = 30.0
BLOCKED_S = 40
MID_DAY_RECORDS = 120
# Bars a second: from mid-day to the end of the last day there is a quarter of a minute.
SLOW = "2"


@contextmanager
def installation(folder: Path, **options: Any) -> Iterator[World]:
    """A world whose broker and processes end with the block, each by its own id."""
    started: list[Process] = []

    def start(*arguments: str, **options: Any) -> Process:
        started.append(Process([sys.executable, *arguments], **options))
        return started[-1]

    def end(world: World) -> None:
        # The sleeper is asked: it ends the Ray head that it has started. One that had to be killed cannot.
        for child in reversed(started):
            child.end()
        end_left_over(world.data)

    with ExitStack() as stack:
        broker = stack.enter_context(Broker(folder / "kafka"))
        world = new_world(folder, broker, start, **options)
        stack.callback(end, world)
        yield world


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, list[SleepReport]]]:
    """Three days without any fault: ingest still runs, the sleeper has left gracefully."""
    with installation(tmp_path_factory.mktemp("undisturbed"), draw=True) as world:
        world.ingest()
        sleeper = world.sleeper()
        assert world.simulate().exit_code() == 0
        reports = world.nights_done()
        # The vector store is synced by a publisher of its own; a graceful stop ends it after what it has begun.
        folder = state_folder(world.data, MARKET)
        wait_until(lambda: read_cursor(folder, "qdrant").ordinal > DAYS, "the vector store in sync")
        sleeper.signal(signal.SIGTERM)
        assert sleeper.exit_code() == 0, sleeper.output
        yield world, reports


def last_digest(world: World) -> str:
    reports = world.nights_done()
    assert [r.state for r in reports] == ["committed"] * DAYS, reports
    return reports[-1].digest


@contextmanager
def mid_day(world: World, simulator: Process) -> Iterator[None]:
    """Hold the days still when half of the rows are in the topic, in the middle of the second one; then go on."""
    enough = MID_DAY_RECORDS
    wait_until(lambda: world.n_transition_records() >= enough, f"{enough} records in the topic")
    assert not simulator.ended, "the days were over before anything could happen in the middle of them"
    simulator.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        simulator.signal(signal.SIGCONT)


def test_three_days_become_schemas(undisturbed: tuple[World, list[SleepReport]]) -> None:
    """Every night commits, and schemas, policy and reports can be read by a plain consumer."""
    world, reports = undisturbed
    assert [r.state for r in reports] == ["committed"] * DAYS
    assert len({r.digest for r in reports}) == DAYS
    kinds = {event.kind for event in world.schema_updates()}
    assert "created" in kinds
    assert "updated" in kinds
    for report in reports:
        assert report.metrics["schemas"] >= 1
        assert set(report.phase_seconds) >= {"freeze", "replay", "consolidation", "map", "outbox"}


def test_qdrant_holds_what_was_announced(undisturbed: tuple[World, list[SleepReport]]) -> None:
    """Each schema's payload equals its last announcement exactly, and there is no other schema."""
    world, _ = undisturbed
    announced: dict[str, Any] = {}
    for event in world.schema_updates():
        if event.kind in {"merged", "archived", "pruned"}:
            announced.pop(event.schema_id, None)
        else:
            announced[event.schema_id] = event
    stored = {
        p["schema_id"]: p for p in open_store(world.settings.qdrant, world.data / "qdrant").schemas(MARKET)
    }
    assert stored
    assert set(stored) == set(announced)
    for schema_id, event in announced.items():
        payload = stored[schema_id]
        for name in (
            "num_points",
            "avg_reward",
            "created_at",
            "last_updated",
            "bank_version",
            "cycle_id",
            "market",
        ):
            assert payload[name] == getattr(event, name), name
        for name in ("mean", "covariance"):
            packed: PackedArray = getattr(event, name)
            assert (payload[name]["shape"], payload[name]["data"]) == (packed.shape, packed.data), name


def test_rings_hold_the_tail_of_the_log(undisturbed: tuple[World, list[SleepReport]]) -> None:
    """Each partition's buffer is the last `capacity` accepted rows, byte for byte, decoded here by hand."""
    world, _ = undisturbed
    d = len(world.settings.markets[MARKET].features)
    in_topic = list(frames_by_hand(world.transitions(), d))
    full = 0
    for partition in range(PARTITIONS):
        parts = [columns for record, columns in in_topic if record.partition == partition]
        expected = first_of_each_id(parts)
        body = wait_until(partial(get, world.url(f"buffer/{MARKET}/{partition}")), "the ring")
        (_, ring), *none = frames_by_hand([_as_record(body)], d)
        assert not none
        full += len(expected["timestamp"]) > CAPACITY
        for name, column in expected.items():
            assert ring[name].tobytes() == column[-CAPACITY:].tobytes(), (partition, name)
    assert full > 0, "no partition has more rows than a ring: the test would not see the oldest leave"


def test_every_record_twice_and_every_close_twice(
    undisturbed: tuple[World, list[SleepReport]], tmp_path: Path
) -> None:
    """A producer that repeats itself changes nothing."""
    calm, reports = undisturbed
    with installation(tmp_path) as world:
        world.ingest()
        world.sleeper()
        closes = [r for r in _topic(calm, MARKET_EVENTS) if b'"close"' in r.value]
        for day, end in enumerate(_days(calm.transitions())):
            send(world.bootstrap, transitions(MARKET), [two for r in end for two in [_again(r)] * 2])
            close = (0, closes[day].value, "application/json")
            send(world.bootstrap, MARKET_EVENTS, [close, close])
            wait_until(partial(_has_cuts, world, PARTITIONS * (day + 1)), "the day's cuts")
        assert last_digest(world) == reports[-1].digest
        duplicates = sum(int(r.metrics["ingest_duplicates"]) for r in world.reports())
        assert duplicates == sum(int(r.metrics["rows_new"]) for r in reports)


def test_ingest_killed_in_mid_day(undisturbed: tuple[World, list[SleepReport]], tmp_path: Path) -> None:
    """A worker that dies without a word is replaced, and the cuts come out the same."""
    with installation(tmp_path, session_timeout_s=SHORT_SESSION_S) as world:
        worker = world.ingest()
        world.sleeper()
        simulator = world.simulate(speed=SLOW)
        with mid_day(world, simulator):
            worker.kill()
        world.ingest()
        assert simulator.exit_code() == 0
        assert last_digest(world) == undisturbed[1][-1].digest


def test_ingest_blocked_past_the_session_timeout(
    undisturbed: tuple[World, list[SleepReport]], tmp_path: Path
) -> None:
    """A worker whose loop stood still beyond the session timeout is ended by its watchdog and replaced."""
    with installation(tmp_path, session_timeout_s=SHORT_SESSION_S) as world:
        # Its watchdog's time is within the block, so that it cannot rejoin instead.
        blocked = world.other_worker(watchdog_timeout_s=WATCHDOG_S)
        worker = blocked.ingest((BLOCKING_WORKER,), env=_environment(BLOCK_S=str(BLOCKED_S)))
        world.sleeper()
        simulator = world.simulate(speed=SLOW)
        with mid_day(world, simulator):
            worker.signal(signal.SIGHUP)
        assert worker.exit_code() == 70, worker.output
        world.ingest()
        assert simulator.exit_code() == 0
        assert last_digest(world) == undisturbed[1][-1].digest


@pytest.mark.parametrize("after", ["0-freeze", "2-consolidation"])
def test_sleeper_killed_between_phases(
    undisturbed: tuple[World, list[SleepReport]], tmp_path: Path, after: str
) -> None:
    """A sleeper killed right after a phase's checkpoint resumes there."""
    # After the consolidation only the map takes its time: where it is drawn, the kill comes well before the end.
    with installation(tmp_path, draw=after == "2-consolidation") as world:
        world.ingest()
        sleeper = world.sleeper()
        assert world.simulate().exit_code() == 0
        nights = world.data / "state" / MARKET / "sessions"
        wait_until(lambda: any(nights.glob(f"*/{after}.npz")), f"checkpoint {after}")
        sleeper.kill()
        resumed = world.sleeper()
        assert last_digest(world) == undisturbed[1][-1].digest
        assert "from its checkpoint" in resumed.output


def test_two_workers_one_leaves(undisturbed: tuple[World, list[SleepReport]], tmp_path: Path) -> None:
    """Two workers share four partitions; when one leaves in mid-day nothing is lost."""
    with installation(tmp_path) as world:
        world.ingest()
        second = world.other_worker()
        leaving = second.ingest()
        wait_until(lambda: all(map(_has_partitions, (world, second))), "both workers to have partitions")
        world.sleeper()
        simulator = world.simulate(speed=SLOW)
        with mid_day(world, simulator):
            leaving.signal(signal.SIGTERM)
        assert leaving.exit_code() == 0, leaving.output
        assert simulator.exit_code() == 0
        assert last_digest(world) == undisturbed[1][-1].digest


def _has_cuts(world: World, n: int) -> bool:
    return len(world.cuts()) >= n


def _has_partitions(world: World) -> bool:
    body = get(world.url("status"))
    return body is not None and any(p["loaded"] for p in msgspec.json.decode(body)["partitions"])


def _environment(**extra: str) -> dict[str, str]:
    return {**os.environ, **extra}


def _topic(world: World, name: str) -> list[ConsumerRecord]:
    return read_topic(world.bootstrap, name)


def _days(records: list[ConsumerRecord]) -> list[list[ConsumerRecord]]:
    """The records before each partition's first barrier, those before its second, and so on."""
    days: list[list[ConsumerRecord]] = [[] for _ in range(DAYS)]
    day = dict.fromkeys(range(PARTITIONS), 0)
    for record in records:
        if dict(record.headers)["content-type"] == BARRIER_TYPE.encode():
            day[record.partition] += 1
        else:
            days[day[record.partition]].append(record)
    return days


def _again(record: ConsumerRecord) -> tuple[int, bytes, str]:
    return record.partition, record.value, dict(record.headers)["content-type"].decode()


class _as_record:  # noqa: N801  (stands in for a record that came over HTTP)
    def __init__(self, value: bytes) -> None:
        self.value = value
        self.headers = (("content-type", FRAME_TYPE.encode()),)
