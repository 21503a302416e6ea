"""Ends a worker that has stopped consuming although its topic grows.

A worker whose event loop was blocked beyond the session timeout is taken out of its group and never rejoins,
while its timers run on and it looks healthy. Nothing inside the loop can be trusted to notice that, so a
thread looks from outside: at the loop's heartbeat and the longest pause in it, at the membership in the group,
and at each assigned partition's position against the end of its log. What is stale for `timeout_s` ends the
process with code 70.

Progress is any record taken, so a flood of duplicates is progress. A member without partitions is healthy.
While the broker is away nothing but the loop is judged: a restart would not bring it back.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["WATCHDOG_EXIT_CODE", "Observation", "Staleness", "Watchdog"]

WATCHDOG_EXIT_CODE = 70
_CHECKS_PER_TIMEOUT = 10
_LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What the loop last said about itself.

    Attributes:
        beat: when the loop last ran, seconds of the injected clock.
        gap: the longest time between two beats so far, seconds.
        ends_at: when the ends were last read from the broker.
        member: whether the worker is a member of its consumer group.
        positions: next offset of each assigned partition.
        ends: end offset of each partition, as last read.
    """

    beat: float
    gap: float = 0.0
    ends_at: float = 0.0
    member: bool = False
    positions: Mapping[tuple[str, int], int] = field(default_factory=dict)
    ends: Mapping[tuple[str, int], int] = field(default_factory=dict)


class Staleness:
    """Decides why a worker is stale, from observations and times that are handed in.

    Args:
        timeout_s: how long something may stand still.
        now: the time at the start, seconds.
    """

    def __init__(self, timeout_s: float, now: float) -> None:
        self._timeout_s = timeout_s
        self._member_at = now
        self._progress: dict[tuple[str, int], tuple[int, float]] = {}

    def judge(self, seen: Observation, now: float) -> str | None:
        """One line that says why the process must end, or None."""
        # A block that stops every thread is over before this one runs again: the loop may have beaten since.
        still = max(now - seen.beat, seen.gap)
        if still > self._timeout_s:
            return f"the event loop has not run for {still:.1f} s"
        if now - seen.ends_at > self._timeout_s / 2:
            self._restart_clocks(now)
            return None
        if seen.member:
            self._member_at = now
        elif now - self._member_at > self._timeout_s:
            return f"no member of the consumer group for {now - self._member_at:.1f} s"
        return self._judge_partitions(seen, now)

    def _judge_partitions(self, seen: Observation, now: float) -> str | None:
        """Note what has moved; name the first partition that has records waiting and does not move."""
        before, self._progress = self._progress, {}
        why = None
        for place, position in sorted(seen.positions.items()):
            end = seen.ends.get(place, position)
            old_position, since = before.get(place, (None, now))
            if position != old_position or position >= end:
                since = now
            self._progress[place] = (position, since)
            if why is None and now - since > self._timeout_s:
                why = (
                    f"{place[0]}/{place[1]} stands at offset {position} for {now - since:.1f} s "
                    f"although its log ends at {end}"
                )
        return why

    def _restart_clocks(self, now: float) -> None:
        self._member_at = now
        self._progress = {place: (position, now) for place, (position, _) in self._progress.items()}


class Watchdog:
    """The thread. `observe` is called in it and must only read what the loop has left for it.

    Args:
        timeout_s: see `Staleness`.
        observe: the newest observation.
        end: told the reason; ends the process.
    """

    def __init__(
        self, timeout_s: float, observe: Callable[[], Observation], end: Callable[[str], None] | None = None
    ) -> None:
        self._pause_s = min(timeout_s / _CHECKS_PER_TIMEOUT, _LONGEST_PAUSE_S)
        self._staleness = Staleness(timeout_s, time.monotonic())
        self._observe = observe
        self._end = end or _end_process
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._pause_s):
            why = self._staleness.judge(self._observe(), time.monotonic())
            if why is not None:
                self._end(why)
                return


def _end_process(why: str) -> None:
    """End at once: a loop that is stuck cannot shut down, and the log replays what was not acknowledged."""
    print(
        f"watchdog: {why}; ending with code {WATCHDOG_EXIT_CODE}. Nothing acknowledged is lost; start the worker again",
        file=sys.stderr,
        flush=True,
    )
    os._exit(WATCHDOG_EXIT_CODE)
