"""The sleeper on a real broker: nights in order, through kills, wrong cuts and missing partitions."""

from __future__ import annotations

import functools
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import psutil
import pytest

from janus_memory.config import (
    AtlasSettings,
    KafkaSettings,
    MarketSettings,
    QdrantSettings,
    ReplaySettings,
    Settings,
    SleepSettings,
)
from janus_memory.events import Barrier, Cut, SleepReport, decode, encode
from janus_memory.loopback import free_port
from janus_memory.settings import dump_settings
from janus_memory.sleep.sessions import memory_files, read_cursor, read_records, request, state_folder
from janus_memory.store.qdrant_embedded import QdrantEmbedded
from streams import topics
from streams.codec import encode_frame
from streams.partition_log import PartitionLog, RawRecord, content_type
from tests.integration.harness import read_topic, send, wait_until
from tests.integration.night_folder import DAY_NS, FEATURES, day_rows, small_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from janus_memory.sleep.sessions import SessionRecord
    from tests.integration.harness import Process

pytestmark = pytest.mark.integration

PARTITIONS = 2
SLEEP = SleepSettings(warmup_rows=200, compute_threads=1, cut_deadline_s=3600.0, retry_s=0.5)


class Desk(NamedTuple):
    """A market on the broker, whose days a test publishes and whose nights it watches."""

    name: str
    settings: Settings
    folder: Path

    def installation(self, name: str, **fields: Any) -> tuple[Settings, Path]:
        """Settings with a data folder of their own, and their file: another sleeper on the same topics."""
        data_dir = self.folder / name
        settings = msgspec.structs.replace(self.settings, data_dir=str(data_dir), **fields)
        data_dir.mkdir()
        file = self.folder / f"{name}.toml"
        file.write_text(dump_settings(settings))
        return settings, file

    def publish_day(self, day: int) -> list[Cut]:
        """Write a day into both partitions, each agent into its own, and read its cuts off the topic."""
        spec = self.settings.market(self.name).spec(self.name)
        rows = day_rows(spec, day)
        barrier = Barrier(
            event_id=f"b{day}", market=self.name, as_of=(day + 1) * DAY_NS, session_id=f"d{day}"
        )
        records: list[tuple[int, bytes | None, str | None]] = []
        for partition in range(PARTITIONS):
            own = rows.take(rows.agent_id == b"agent-%d" % partition)
            records += [
                (partition, encode_frame(own.take(slice(i, i + 50)), spec), topics.FRAME_TYPE)
                for i in range(0, len(own), 50)
            ]
            records.append((partition, encode(barrier), topics.BARRIER_TYPE))
        send(self.settings.kafka.bootstrap, topics.transitions(self.name), records)
        return [cut for cut in self.cuts() if cut.session_id == f"d{day}"]

    def cuts(self) -> list[Cut]:
        """All cuts of the topic, as ingest would announce them."""
        spec = self.settings.market(self.name).spec(self.name)
        found = []
        for partition in range(PARTITIONS):
            log = PartitionLog(spec, partition, self.settings.ingest)
            topic = topics.transitions(self.name)
            for r in read_topic(self.settings.kafka.bootstrap, topic, [partition]):
                applied = log.apply(RawRecord(r.offset, r.timestamp, r.key, r.value, content_type(r.headers)))
                found += [applied.cut] if applied.cut else []
        return found

    def announce(self, *cuts: Cut) -> None:
        """Put cuts on their topic."""
        send(self.settings.kafka.bootstrap, topics.CUTS, [(0, encode(cut), None) for cut in cuts])


@pytest.fixture
def desk(broker: str, market: Callable[..., Any], tmp_path: Path) -> Desk:
    """A market of its own; the shared topics exist."""
    name = market(partitions=PARTITIONS).name
    own = MarketSettings(features=FEATURES, action_names=("short", "flat", "long"), partitions=PARTITIONS)
    settings = small_settings(
        tmp_path,
        kafka=KafkaSettings(bootstrap=broker, connect_timeout_s=120.0),
        sleep=SLEEP,
        markets={name: own},
    )
    return Desk(name, settings, tmp_path)


@pytest.fixture
def sleeper(process: Callable[..., Process]) -> Callable[..., Process]:
    """Starts a sleeper on a settings file."""
    return lambda file, *more: process("-m", "actors.sleeper", "--config", str(file), *more)


def records(settings: Settings) -> list[SessionRecord]:
    (market,) = settings.markets
    return read_records(state_folder(settings_dir(settings), market))


def settings_dir(settings: Settings) -> Path:
    return Path(settings.data_dir)


def reports_of(desk: Desk) -> list[SleepReport]:
    """The sleep reports of a market that stand on their topic."""
    bootstrap, topic = desk.settings.kafka.bootstrap, topics.SLEEP_REPORTS
    told = [decode(SleepReport, record.value) for record in read_topic(bootstrap, topic, [0])]
    return [report for report in told if report.market == desk.name]


def wait_for_states(run: Process, settings: Settings, *states: str) -> list[SessionRecord]:
    """The sessions, once they are in these states; else what they are in and what the sleeper said."""

    def reached() -> list[SessionRecord] | None:
        found = records(settings)
        return found if [r.state for r in found] == list(states) else None

    try:
        return wait_until(reached, f"sessions {states}", of=run)
    except pytest.fail.Exception as failure:
        pytest.fail(f"now {[(r.session_id, r.state, r.reason) for r in records(settings)]}; {failure}")


def test_two_days_become_two_nights_and_their_events(desk: Desk, sleeper: Callable[..., Process]) -> None:
    """In order, with reports and schemas on their topics, Qdrant's cursor moved on, and exit code 0 on SIGTERM."""
    first, second = desk.publish_day(1), desk.publish_day(2)
    settings, file = desk.installation("one")
    run = sleeper(file)
    run.wait_for("the sleeper is ready")
    desk.announce(*second, first[0])
    desk.announce(first[1])
    done = wait_for_states(run, settings, "committed", "committed")
    assert [(r.session_id, r.ordinal, r.missing) for r in done] == [("d1", 1, ()), ("d2", 2, ())]
    state = state_folder(settings_dir(settings), desk.name)
    for publisher in ("kafka", "qdrant"):
        wait_until(functools.partial(_has_carried, state, publisher), f"{publisher} behind night 2")
    reports = reports_of(desk)
    assert [(r.session_id, r.digest) for r in reports] == [(r.session_id, r.digest) for r in done]
    assert reports[0].metrics["transitions"] == 300
    run.signal(signal.SIGTERM)
    assert run.exit_code() == 0


def test_a_kill_between_phases_changes_nothing(desk: Desk, sleeper: Callable[..., Process]) -> None:
    """Three on the same cuts, one killed after phase 1, one losing its night's process: the same digest."""
    desk.announce(*desk.publish_day(1))
    # The map is drawn, which is in no digest: the kills after phase 1 come well before the night's end.
    drawn = AtlasSettings(min_points=10, epochs=50)
    calm, calm_file = desk.installation("calm", atlas=drawn)
    rough, rough_file = desk.installation("rough", atlas=drawn)
    expected = sleeper(calm_file, "--once")
    assert expected.exit_code() == 0, expected.output
    killed = sleeper(rough_file)
    killed.wait_for("2-consolidation")
    night = wait_until(lambda: _night_of(killed), "a night's process")
    killed.signal(signal.SIGKILL)
    killed.exit_code()
    wait_until(lambda: not _runs(night), "the end of its night's process")
    assert records(rough)[0].state == "running"
    again = sleeper(rough_file, "--once")
    assert again.exit_code() == 0, again.output
    assert "1-replay: from its checkpoint" in again.output
    lost, lost_file = desk.installation("lost", atlas=drawn)
    bereft = sleeper(lost_file)
    bereft.wait_for("2-consolidation")
    wait_until(lambda: _night_of(bereft), "a night's process").kill()
    wait_for_states(bereft, lost, "committed")
    (one,), (other,), (third,) = records(calm), records(rough), records(lost)
    assert (one.state, other.state) == ("committed", "committed")
    assert one.digest == other.digest == third.digest
    assert (other.epoch, third.attempts) == (2, 1)


def test_a_nights_process_that_dies_is_started_again(desk: Desk, sleeper: Callable[..., Process]) -> None:
    """The sleeper lives on and counts; after three such ends the session fails with the last one's reason."""
    desk.announce(*desk.publish_day(1))
    settings, file = desk.installation("one", replay=ReplaySettings(iterations=4000, checkpoint_every=10))
    run = sleeper(file)
    for attempt in (1, 2, 3):
        night = wait_until(lambda: _night_of(run), "a night's process")
        night.kill()
        run.wait_for(f"signal 9; attempt {attempt}")
    (failed,) = wait_for_states(run, settings, "failed")
    assert "signal 9, the last of 3 attempts; see" in failed.reason
    run.signal(signal.SIGTERM)
    assert run.exit_code() == 0


def test_a_wrong_hash_fails_the_session_until_it_is_skipped(
    desk: Desk, sleeper: Callable[..., Process]
) -> None:
    """Nothing is consolidated, later sessions wait, and the running sleeper takes the request."""
    first, second = desk.publish_day(1), desk.publish_day(2)
    wrong = msgspec.structs.replace(first[0], sha256="0" * 64)
    desk.announce(wrong, *first[1:], *second)
    settings, file = desk.installation("one")
    run = sleeper(file)
    failed, waiting = wait_for_states(run, settings, "failed", "pending")
    assert ("0" * 64 in failed.reason, first[0].sha256 in failed.reason) == (True, True)
    assert waiting.session_id == "d2"
    assert memory_files(state_folder(settings_dir(settings), desk.name)) == []
    assert request(settings_dir(settings), desk.name, "d1", "skip") is False
    skipped, committed = wait_for_states(run, settings, "skipped", "committed")
    assert "given up" in skipped.reason
    assert committed.metrics["transitions"] == 300
    run.signal(signal.SIGTERM)
    assert run.exit_code() == 0


def test_a_different_second_cut_fails_its_session(desk: Desk, sleeper: Callable[..., Process]) -> None:
    """The first one counts; the message shows both."""
    cut = desk.publish_day(1)[0]
    desk.announce(cut, msgspec.structs.replace(cut, rows=cut.rows + 1))
    settings, file = desk.installation("one")
    run = sleeper(file)
    (failed,) = wait_for_states(run, settings, "failed")
    assert f"{cut.rows} rows" in failed.reason
    assert f"{cut.rows + 1} rows" in failed.reason
    wait_until(lambda: records(settings)[0].reported, "the failure's announcement")
    assert [(r.state, r.reason) for r in reports_of(desk)] == [("failed", failed.reason)]


def test_a_partition_that_stays_away_comes_a_night_later(desk: Desk, sleeper: Callable[..., Process]) -> None:
    """After the deadline the night runs without it; the next one reads both of its days."""
    first, second = desk.publish_day(1), desk.publish_day(2)
    settings, file = desk.installation(
        "one", sleep=msgspec.structs.replace(SLEEP, cut_deadline_s=1.0, warmup_rows=100)
    )
    desk.announce(first[0])
    run = sleeper(file)
    (alone,) = wait_for_states(run, settings, "committed")
    assert alone.missing == (1,)
    assert alone.metrics["transitions"] == 150
    run.wait_for("no cut of partitions [1]")
    run.signal(signal.SIGTERM)
    assert run.exit_code() == 0
    # The second night has its cuts before anybody could wait for one of them too short.
    desk.announce(first[1], *second)
    _, both = wait_for_states(sleeper(file), settings, "committed", "committed")
    assert both.metrics["transitions"] == 450


def test_an_absent_qdrant_fails_no_night(desk: Desk, sleeper: Callable[..., Process]) -> None:
    """The night commits and Kafka has its events; the sync is tried again and done when a store is there."""
    desk.announce(*desk.publish_day(1))
    away = QdrantSettings(url=f"http://127.0.0.1:{free_port()}", timeout_s=1.0)
    settings, file = desk.installation("one", qdrant=away)
    run = sleeper(file)
    run.wait_for("qdrant: ")
    wait_for_states(run, settings, "committed")
    state = state_folder(settings_dir(settings), desk.name)
    wait_until(lambda: read_cursor(state, "kafka").ordinal == 2, "the events")
    assert read_cursor(state, "qdrant").ordinal == 1
    run.signal(signal.SIGTERM)
    assert run.exit_code() == 0
    file.write_text(dump_settings(msgspec.structs.replace(settings, qdrant=QdrantSettings())))
    again = sleeper(file, "--once")
    assert again.exit_code() == 0, again.output
    assert read_cursor(state, "qdrant").ordinal == 2
    schemas = QdrantEmbedded(settings_dir(settings) / "qdrant").schemas(desk.name)
    assert len(schemas) == records(settings)[0].metrics["schemas"]


def test_a_second_sleeper_waits_for_the_first(desk: Desk, sleeper: Callable[..., Process]) -> None:
    """It names the holder, and takes over when that one ends."""
    _, file = desk.installation("one")
    first = sleeper(file)
    first.wait_for("the sleeper is ready")
    second = sleeper(file)
    second.wait_for(f"held by process {first.pid}")
    first.signal(signal.SIGTERM)
    second.wait_for("the sleeper is ready")
    assert first.exit_code() == 0


def test_an_absent_broker_ends_it_with_code_5(desk: Desk, sleeper: Callable[..., Process]) -> None:
    """After the connect timeout, with the address and what to do."""
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}", connect_timeout_s=1.0)
    _, file = desk.installation("one", kafka=kafka)
    run = sleeper(file)
    assert run.exit_code() == 5
    assert f"no Kafka broker answered at {kafka.bootstrap} within 1 s" in run.output


def _has_carried(state: Path, publisher: str) -> bool:
    return read_cursor(state, publisher).ordinal == 3


def _night_of(run: Process) -> psutil.Process | None:
    for child in psutil.Process(run.pid).children():
        with suppress(psutil.NoSuchProcess):
            if "actors.night" in child.cmdline():
                return child
    return None


def _runs(process: psutil.Process) -> bool:
    """One that has ended may still wait for its parent to notice."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
