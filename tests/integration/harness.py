"""Markets, rows and child processes for integration tests, and waiting for events instead of sleeping."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
import time
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import msgspec
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from janus_memory.cli.children import GRACE_S
from janus_memory.settings import dump_settings
from janus_memory.transition import Transitions
from streams.topics import CONTENT_TYPE, transitions

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Sequence

    from aiokafka import ConsumerRecord

    from janus_memory.config import Settings
    from janus_memory.transition import MarketSpec

__all__ = ["Market", "Process", "get", "make_rows", "read_topic", "send", "wait_until"]

ROOT = Path(__file__).resolve().parents[2]
START_NS = 1_700_000_000_000_000_000
WAIT_S = 600.0
"""How long an event is waited for that must come: many times what a machine with much else to do needs."""
T = TypeVar("T")


class Market(NamedTuple):
    """A market of one test, its settings, and the file they are in."""

    name: str
    spec: MarketSpec
    settings: Settings
    file: Path

    @property
    def topic(self) -> str:
        """Its transitions topic."""
        return transitions(self.name)

    def changed(self, file: Path, **ingest: Any) -> Market:
        """The same market under other ingest settings, in another file."""
        settings = msgspec.structs.replace(
            self.settings, ingest=msgspec.structs.replace(self.settings.ingest, **ingest)
        )
        file.write_text(dump_settings(settings))
        return self._replace(settings=settings, file=file)


class Process:
    """A child process whose output is kept line by line."""

    def __init__(self, command: list[str], **options: Any) -> None:
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, **options
        )
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """All it has printed so far."""
        return "".join(self.lines)

    def wait_for(self, text: str, timeout_s: float = WAIT_S) -> str:
        """The first line that contains `text`; fails if the process ends or the time is over before it."""
        deadline = time.monotonic() + timeout_s
        with self._more:
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                left = deadline - time.monotonic()
                ended = self._process.poll() is not None and not self._reader.is_alive()
                if left <= 0 or ended:
                    pytest.fail(f"{text!r} was not printed; the process printed:\n{self.output}")
                self._more.wait(min(left, 0.2))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to exactly this process."""
        self._process.send_signal(number)

    def exit_code(self, timeout_s: float = WAIT_S) -> int:
        """Wait for its end."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"process {self.pid} did not end within {timeout_s} s; it printed:\n{self.output}")
        self._close()
        return code

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def end(self, timeout_s: float = GRACE_S) -> None:
        """Ask it to end, if it still runs; kill it after the time."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """End it now, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        """Close the pipe of an ended process once all it printed was read, and its own children have let go."""
        self._reader.join(30.0)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._more:
                self.lines.append(line)
                self._more.notify_all()


def wait_until(
    ask: Callable[[], T | None], what: str, timeout_s: float = WAIT_S, *, of: Process | None = None
) -> T:
    """The first answer that is neither None nor False; asks again until the time is over, or a process has ended."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        if of is not None and of.ended:
            pytest.fail(
                f"{what}: process {of.pid} ended with code {of.exit_code()}; it printed:\n{of.output}"
            )
        if time.monotonic() > deadline:
            said = f"; process {of.pid} printed:\n{of.output}" if of else ""
            pytest.fail(f"{what}: not within {timeout_s} s{said}")
        pause.wait(0.05)


def get(url: str) -> bytes | None:
    """The body of a page, or None while nobody answers or the answer is not 200."""
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310  (loopback)
            return bytes(answer.read()) if answer.status == 200 else None
    except (HTTPError, URLError, HTTPException, ConnectionError, TimeoutError):
        return None


def make_rows(spec: MarketSpec, n: int, *, first: int = 0, seed: int = 0) -> Transitions:
    """`n` valid rows of one episode, numbered from `first`, one second apart; equal arguments give equal rows."""
    rng = np.random.default_rng([seed, first])
    rows = Transitions.empty(spec, n)
    rows.transition_id[:] = [b"t%d" % (first + i) for i in range(n)]
    rows.instrument[:], rows.agent_id[:], rows.episode_id[:], rows.domain[:] = (
        b"EURUSD",
        b"a",
        b"e",
        b"EURUSD",
    )
    rows.timestamp[:] = START_NS + (first + np.arange(n)) * 1_000_000_000
    rows.state[:] = rng.normal(size=rows.state.shape)
    rows.next_state[:] = rng.normal(size=rows.state.shape)
    rows.action[:] = rng.integers(0, spec.action_size, n)
    rows.reward[:] = rng.normal(size=n)
    return rows


def send(
    bootstrap: str,
    topic: str,
    records: Iterable[tuple[int, bytes | None, str | None]],
    key: bytes = b"k",
) -> list[int]:
    """Write (partition, value, content type) records, one after the other; their offsets."""

    async def run() -> list[int]:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=4_000_000)
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic,
                    value,
                    key=key,
                    partition=partition,
                    headers=[(CONTENT_TYPE, kind.encode())] if kind else None,
                )
                for partition, value, kind in records
            ]
            return [(await one).offset for one in sent]
        finally:
            await producer.stop()

    return asyncio.run(run())


def read_topic(bootstrap: str, topic: str, partitions: Sequence[int] = (0,)) -> list[ConsumerRecord]:
    """All records that a topic holds now, by partition and offset."""

    async def run() -> list[ConsumerRecord]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            places = [TopicPartition(topic, p) for p in partitions]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: list[ConsumerRecord] = []
            while [p for p in places if await consumer.position(p) < ends[p]]:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += records
            return sorted(found, key=lambda r: (r.partition, r.offset))
        finally:
            await consumer.stop()

    return asyncio.run(run())
