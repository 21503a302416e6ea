"""A running worker: Faust around the ingestor, what it observes of itself, and its status document."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Any, NoReturn

import faust
from aiokafka.errors import KafkaError

from janus_memory.errors import BrokerError, JanusError
from streams.ingest.app import build_app, is_member
from streams.ingest.ingestor import Ingestor
from streams.ingest.log_reader import LogReader
from streams.ingest.watchdog import Observation, Watchdog

if TYPE_CHECKING:
    from janus_memory.config import Settings
    from streams.ingest.flagging import Flagger
    from streams.ingest.ingestor import Place
    from streams.ingest.models import Models
    from streams.ingest.publisher import Publisher

__all__ = ["LOGGING", "Runtime"]

_BEAT_S = 0.25
_ENDS_EVERY_S = 1.0
_ENDS_TIMEOUT_S = 10.0
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "ERROR", "handlers": ["stderr"]},
    "loggers": {"streams": {"level": "INFO"}},
}
_logger = logging.getLogger(__name__)


class Runtime:
    """The parts of one worker.

    Attributes:
        ingestor: owns the tails.
        failure: why it ended; None for a signal.
        seen: the newest observation, for the watchdog.
    """

    def __init__(self, settings: Settings, publisher: Publisher, models: Models, flagger: Flagger) -> None:
        self._settings = settings
        self._publisher = publisher
        self._models = models
        self._flagger = flagger
        self.ingestor = Ingestor(settings, publisher, flagger.offer)
        self.app = build_app(settings, self.ingestor, self._fail)
        self.failure: BaseException | None = None
        self._faust = faust.Worker(
            self.app,
            redirect_stdouts=False,
            quiet=True,
            logging_config=LOGGING,
            loop=asyncio.get_running_loop(),
        )
        self._faust.spinner = None  # it takes over the first log handler
        self._ends: tuple[dict[Place, int], float] = ({}, time.monotonic())
        self.seen = Observation(beat=time.monotonic())

    async def run(self) -> None:
        """Consume until a signal or a failure."""
        watchdog = Watchdog(self._settings.ingest.watchdog_timeout_s, lambda: self.seen)
        # The start before this may have taken longer than the watchdog allows the loop.
        self._ends = ({}, time.monotonic())
        self.seen = Observation(beat=time.monotonic(), ends_at=time.monotonic())
        watchdog.start()
        watching = [asyncio.create_task(self._observe()), asyncio.create_task(self._follow_ends())]
        try:
            await self._faust.start()
            await self._faust.wait_until_stopped()
        finally:
            await self._faust.stop()
            watchdog.stop()
            for task in watching:
                task.cancel()
        self.failure = self.failure or self._faust.crash_reason or self.app.crash_reason

    def status(self) -> dict[str, Any]:
        """What /status shows; `reasons` says why the worker is not healthy."""
        seen, now = self.seen, time.monotonic()
        reasons = []
        if not seen.member:
            reasons.append("not a member of the consumer group")
        if now - seen.ends_at > self._settings.ingest.watchdog_timeout_s / 2:
            reasons.append("the broker does not say where the logs end")
        loading = [f"{t}/{p}" for t, p in sorted(self.ingestor.assigned) if (t, p) not in self.ingestor.tails]
        if loading:
            reasons.append(f"loading {', '.join(loading)}")
        markets = self._settings.markets
        return {
            "pid": os.getpid(),
            "reasons": reasons,
            "member": seen.member,
            "group": self._settings.ingest.group,
            "partitions": [self._partition(*place) for place in sorted(self.ingestor.assigned)],
            "models": {
                m: {
                    "note": (s := self._models.state(m)).note,
                    "cycle_id": s.model.cycle_id if s.model else None,
                }
                for m in markets
            },
            "anomalies": self._flagger.n_anomalies,
            "unflagged": self._flagger.n_unflagged,
            "events_dropped": self._publisher.n_dropped,
        }

    def _partition(self, topic: str, partition: int) -> dict[str, Any]:
        tail = self.ingestor.tails.get((topic, partition))
        end = self.seen.ends.get((topic, partition))
        place = {"topic": topic, "market": topic.removeprefix("janus.transitions."), "partition": partition}
        if tail is None:
            return place | {"loaded": False, "end_offset": end}
        cut = tail.last_cut
        return place | {
            "loaded": True,
            "next_offset": tail.next_offset,
            "end_offset": end,
            "lag": max(0, (end or 0) - tail.next_offset),
            "ring_rows": len(tail.ring),
            "records": tail.n_records,
            "accepted": tail.n_accepted,
            "duplicates": tail.n_duplicates,
            "rejected": tail.n_rejected,
            "lost_offsets": tail.lost,
            "last_cut": None if cut is None else {"session_id": cut.session_id, "to_offset": cut.to_offset},
        }

    async def _fail(self, error: BaseException) -> NoReturn:
        """Remember why, stop the application, and keep the caller from acknowledging anything."""
        if self.failure is None:
            self.failure = error
            _logger.error("ending: %s", error, exc_info=None if isinstance(error, JanusError) else error)
            self._stopping = asyncio.get_running_loop().create_task(self._faust.stop())
        await asyncio.Event().wait()
        raise AssertionError

    async def _observe(self) -> None:
        """Leave an observation for the watchdog at every beat."""
        while True:
            ends, ends_at = self._ends
            positions = self.ingestor.positions()
            now = time.monotonic()
            gap = max(self.seen.gap, now - self.seen.beat)
            self.seen = Observation(now, gap, ends_at, is_member(self.app), positions, ends)
            await asyncio.sleep(_BEAT_S)

    async def _follow_ends(self) -> None:
        """Ask the broker again and again where the assigned logs end; connect anew after an error."""
        while True:
            with contextlib.suppress(KafkaError, BrokerError, OSError, TimeoutError):
                async with LogReader(self._settings.kafka) as reader:
                    while True:
                        async with asyncio.timeout(_ENDS_TIMEOUT_S):
                            self._ends = (await self._read_ends(reader), time.monotonic())
                        await asyncio.sleep(_ENDS_EVERY_S)
            await asyncio.sleep(_ENDS_EVERY_S)

    async def _read_ends(self, reader: LogReader) -> dict[Place, int]:
        assigned = sorted(self.ingestor.assigned)
        ends: dict[Place, int] = {}
        for topic in sorted({topic for topic, _ in assigned}):
            bounds = await reader.bounds(topic, [p for t, p in assigned if t == topic])
            ends |= {(topic, partition): end for partition, (_, end) in bounds.items()}
        return ends
