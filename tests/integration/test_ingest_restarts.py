"""The ingest worker through crashes, rebalances and blocked loops: the same cuts, nothing lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from janus_memory.events import Cut
from janus_memory.loopback import free_port
from streams.codec import encode_frame
from streams.ingest.watchdog import WATCHDOG_EXIT_CODE
from streams.partition_log import PartitionLog, RawRecord, content_type
from streams.topics import CUTS
from tests.integration.harness import get, make_rows, read_topic, send, wait_until
from tests.integration.ingest_driver import (
    caught_up,
    close,
    cuts,
    expected_tail,
    frame,
    frames,
    ring,
    start,
    status,
    url,
    wait_for_cuts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.harness import Market, Process

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# Where a worker is to be taken out of its group: as short as Kafka allows.
SHORT_SESSION_S = 6.0


def expected_cuts(market: Market, broker: str) -> dict[str, Cut]:
    """The cuts that the log itself says, by reading it here from its beginning."""
    found: dict[str, Cut] = {}
    for partition in range(market.settings.market(market.name).partitions):
        log = PartitionLog(market.spec, partition, market.settings.ingest)
        for r in read_topic(broker, market.topic, [partition]):
            cut = log.apply(RawRecord(r.offset, r.timestamp, r.key, r.value, content_type(r.headers))).cut
            if cut is not None:
                found[cut.key] = cut
    return found


def assert_cuts(market: Market, broker: str, n: int) -> None:
    """Every cut was published, and each time as the log says it."""
    published = wait_for_cuts(market, broker, n)
    expected = expected_cuts(market, broker)
    assert published.keys() == expected.keys()
    for key, times in published.items():
        assert set(times) == {expected[key]}


def test_a_killed_worker_gives_the_same_cut_after_its_restart(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """SIGKILL in mid-day, twice delivered records: cut and ring are those of the log."""
    own = market(capacity=60, session_timeout_s=SHORT_SESSION_S)
    child = start(process, own)
    send(broker, own.topic, frames(own, 200))
    caught_up(own, 10)
    child.kill()
    send(broker, own.topic, [*frames(own, 40, first=160), *frames(own, 100, first=200)])
    start(process, own)
    close(own, broker)
    assert_cuts(own, broker, 1)
    caught_up(own, 35)
    assert ring(own) == encode_frame(expected_tail(own, broker), own.spec)


def test_a_cut_that_a_crash_kept_from_being_published_is_published_on_restart(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """A worker that starts beyond a barrier whose cut is missing reads it from the log and publishes it."""
    own = market()
    child = start(process, own)
    send(broker, own.topic, frames(own, 50))
    close(own, broker)
    assert_cuts(own, broker, 1)
    child.signal(signal.SIGTERM)
    assert child.exit_code() == 0
    send(broker, CUTS, [(0, None, None)], key=f"{own.name}/2023-11-14.1/0".encode())
    start(process, own)
    wait_until(lambda: len(wait_for_cuts(own, broker)[f"{own.name}/2023-11-14.1/0"]) == 2, "the cut again")
    assert_cuts(own, broker, 1)


def blocking_worker(process: Callable[..., Process], own: Market, block_s: int) -> Process:
    """A healthy worker whose process will stand still for some seconds when SIGHUP comes."""
    launcher = str(Path(__file__).with_name("blocking_worker.py"))
    child = process(launcher, "--config", str(own.file), env={**os.environ, "BLOCK_S": str(block_s)})
    child.wait_for("health endpoint")
    wait_until(lambda: get(url(own, "healthz")), "healthy", of=child)
    return child


def test_a_blocked_worker_is_ended_by_its_watchdog_and_its_successor_gives_the_same_cut(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """A process that stood still beyond session timeout and watchdog ends by itself with its own code."""
    own = market(session_timeout_s=SHORT_SESSION_S, watchdog_timeout_s=30.0)
    child = blocking_worker(process, own, 40)
    send(broker, own.topic, frames(own, 50))
    caught_up(own, 5)
    child.signal(signal.SIGHUP)
    send(broker, own.topic, frames(own, 50, first=50))
    assert child.exit_code() == WATCHDOG_EXIT_CODE, child.output
    assert "watchdog: the event loop has not run" in child.output
    start(process, own)
    close(own, broker)
    assert_cuts(own, broker, 1)


def test_a_worker_blocked_for_less_than_the_watchdogs_time_consumes_again_or_is_ended(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """Taken out of its group, it rejoins, or the watchdog ends it and a successor goes on; the cut is the log's."""
    own = market(session_timeout_s=SHORT_SESSION_S)
    child = blocking_worker(process, own, int(2 * SHORT_SESSION_S))
    send(broker, own.topic, frames(own, 50))
    caught_up(own, 5)
    child.signal(signal.SIGHUP)
    send(broker, own.topic, frames(own, 50, first=50))
    close(own, broker)

    def cut_or_end() -> bool:
        return bool(cuts(own, broker)) or child.ended

    wait_until(cut_or_end, "a cut, or the end of the worker")
    if child.ended:
        assert child.exit_code() == WATCHDOG_EXIT_CODE, child.output
        start(process, own)
    assert_cuts(own, broker, 1)


def test_two_workers_share_four_partitions_and_one_leaves(
    broker: str, market: Callable[..., Market], process: Callable[..., Process], tmp_path: Path
) -> None:
    """When one of two workers leaves in mid-day the other has all partitions; cuts and rings are those of the log."""
    own = market(partitions=4)
    other = own.changed(tmp_path / "second.toml", port=free_port())
    start(process, own)
    leaving = start(process, other)
    wait_until(lambda: all(len(status(m)["partitions"]) == 2 for m in (own, other)), "two partitions each")

    def day(first: int) -> list[tuple[int, bytes, str]]:
        return [
            frame(own, make_rows(own.spec, 10, first=1000 * p + i), p)
            for i in range(first, first + 100, 10)
            for p in range(4)
        ]

    send(broker, own.topic, day(0))
    leaving.signal(signal.SIGTERM)
    send(broker, own.topic, day(100))
    assert leaving.exit_code() == 0
    send(broker, own.topic, day(200))
    close(own, broker)
    assert_cuts(own, broker, 4)
    for partition in range(4):
        caught_up(own, 31, partition)
        assert ring(own, partition) == encode_frame(expected_tail(own, broker, partition), own.spec)
