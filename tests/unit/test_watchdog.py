"""When a worker is stale: judged from observations and times that the test hands in."""

from __future__ import annotations

import threading

from streams.ingest.watchdog import Observation, Staleness, Watchdog

T = 10.0
PLACE = ("janus.transitions.m", 0)


def seen(now: float, *, position: int = 5, end: int = 5, **changed: object) -> Observation:
    fields: dict[str, object] = {
        "beat": now,
        "ends_at": now,
        "member": True,
        "positions": {PLACE: position},
        "ends": {PLACE: end},
    }
    return Observation(**(fields | changed))  # type: ignore[arg-type]  # fields by name


def test_a_worker_that_has_caught_up_is_healthy_however_long_nothing_comes() -> None:
    """No lag, no progress needed."""
    staleness = Staleness(T, 0.0)
    assert [staleness.judge(seen(now), now) for now in range(0, 100, 3)] == [None] * 34


def test_a_partition_that_stands_still_below_its_end_is_stale_after_the_timeout() -> None:
    """The time counts from the last record taken; the line names partition, position and end."""
    staleness = Staleness(T, 0.0)
    assert staleness.judge(seen(0.0, position=5, end=9), 0.0) is None
    assert staleness.judge(seen(4.0, position=6, end=9), 4.0) is None
    assert staleness.judge(seen(14.0, position=6, end=9), 14.0) is None
    why = staleness.judge(seen(14.1, position=6, end=9), 14.1)
    assert why is not None
    assert "janus.transitions.m/0" in why
    assert "offset 6" in why
    assert "ends at 9" in why


def test_lag_that_is_worked_off_slowly_is_progress() -> None:
    """A flood of duplicates moves the position although no row is accepted."""
    staleness = Staleness(T, 0.0)
    assert all(staleness.judge(seen(t, position=t, end=10**6), t) is None for t in range(0, 200, 9))


def test_lag_that_appears_after_a_quiet_time_gets_the_whole_timeout() -> None:
    """The clock starts when the log grows, not when the last record was taken."""
    staleness = Staleness(T, 0.0)
    assert staleness.judge(seen(0.0), 0.0) is None
    assert staleness.judge(seen(100.0), 100.0) is None
    assert staleness.judge(seen(109.0, end=6), 109.0) is None
    assert staleness.judge(seen(110.5, end=6), 110.5) is not None


def test_a_loop_that_does_not_run_is_stale_even_while_the_broker_is_away() -> None:
    """The heartbeat needs no broker."""
    staleness = Staleness(T, 0.0)
    assert staleness.judge(seen(0.0), T) is None
    why = staleness.judge(seen(0.0), T + 0.1)
    assert why is not None
    assert "event loop" in why


def test_a_loop_that_stood_still_too_long_is_stale_although_it_runs_again() -> None:
    """A block that stops every thread ends before the watchdog can look; the pause in the heartbeat remains."""
    staleness = Staleness(T, 0.0)
    assert staleness.judge(seen(20.0, gap=T), 20.0) is None
    why = staleness.judge(seen(20.0, gap=T + 0.1), 20.0)
    assert why is not None
    assert "event loop has not run for 10.1 s" in why


def test_a_worker_out_of_its_group_is_stale_after_the_timeout() -> None:
    """Membership may be lost for a rebalance, not for longer than the timeout."""
    staleness = Staleness(T, 0.0)
    assert staleness.judge(seen(3.0), 3.0) is None
    assert staleness.judge(seen(13.0, member=False), 13.0) is None
    why = staleness.judge(seen(13.1, member=False), 13.1)
    assert why is not None
    assert "group" in why


def test_a_member_without_partitions_is_healthy() -> None:
    """More workers than partitions: the rest waits."""
    staleness = Staleness(T, 0.0)
    assert staleness.judge(seen(100.0, positions={}, ends={}), 100.0) is None


def test_nothing_but_the_loop_is_judged_while_the_broker_is_away() -> None:
    """When it is back the clocks start anew."""
    staleness = Staleness(T, 0.0)
    assert staleness.judge(seen(0.0, end=9), 0.0) is None
    away = [seen(float(now), end=9, ends_at=0.0, member=False) for now in range(6, 60)]
    assert all(staleness.judge(one, one.beat) is None for one in away)
    assert staleness.judge(seen(61.0, end=9, member=False), 61.0) is None
    assert staleness.judge(seen(70.0, end=9), 70.0) is not None


def test_the_thread_ends_the_process_once_with_the_reason() -> None:
    """The thread looks by itself and tells why."""
    ended = threading.Event()
    reasons: list[str] = []

    def end(why: str) -> None:
        reasons.append(why)
        ended.set()

    Watchdog(0.05, lambda: Observation(beat=0.0), end).start()
    assert ended.wait(60.0)
    assert len(reasons) == 1
    assert "event loop" in reasons[0]
