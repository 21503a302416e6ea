"""Transitions per second through the ingest worker, against a raw aiokafka consumer on the same topic.

Run as `python -m benchmarks.ingest [--quick] [--json FILE]`. One worker process with four partitions and d = 64, for
frames of 1, 10, 100 and 1 000 transitions. The peer is one process that reads the same four partitions with the same
fetch size, decodes each frame by `np.frombuffer` and writes its columns into rings of the same capacity; it neither
joins a group, validates, deduplicates nor hashes. Both start on the full topic in a process of their own and take turns.

Neither clock holds starting, connecting or joining: the peer's runs from the end of its first batch to its last
record, the worker's from the first status document that shows all partitions loaded to the first one that shows all
rows; rows from before the clock are not counted. Status is asked for ten times a second, a hundred times near the end.
The broker is KAFKA_BOOTSTRAP, or the Java broker of `infra/kafka`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.report import Report, Row, machine, measured, versions
from infra.kafka.broker import Broker
from janus_memory.config import IngestSettings, KafkaSettings, MarketSettings, Settings
from janus_memory.loopback import free_port
from janus_memory.settings import dump_settings, load_settings
from janus_memory.transition import MarketSpec, Transitions
from streams.admin import create_topics
from streams.codec import encode_frame
from streams.topics import CONTENT_TYPE, FRAME_TYPE, transitions

STATE_SIZE = 64
PARTITIONS = 4
CAPACITY = 10_000
PEER = "raw aiokafka consumer"
# Rows for each frame size: a few seconds of work for the faster side.
ROWS = {1: 80_000, 10: 400_000, 100: 1_200_000, 1000: 1_200_000}
TARGETS = {100: 0.4, 1000: 0.7}
QUICK_SHARE = 10
TIMEOUT_S = 300.0
# Asking costs the worker time.
LOOK_S = 0.1
NEAR_THE_END = 0.95


def main() -> None:
    """Measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one repetition")
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--frames", type=int, nargs="*", default=sorted(ROWS), help="frame sizes to measure")
    parser.add_argument("--peer", metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        asyncio.run(_peer(load_settings(arguments.peer)))
        return
    repetitions = 1 if arguments.quick else 3
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bootstrap = (
            os.environ.get("KAFKA_BOOTSTRAP") or stack.enter_context(Broker(folder / "kafka")).bootstrap
        )
        for size in arguments.frames:
            n = ROWS[size] // (QUICK_SHARE if arguments.quick else 1)
            settings, file = _fill(folder, bootstrap, size, n)
            ours, peer = [], []
            for turn in range(repetitions):
                print(f"frames of {size}, repetition {turn + 1} of {repetitions}", file=sys.stderr)
                peer.append(_run_peer(file))
                ours.append(_run_ours(settings, folder, n, turn))
            rows.append(
                measured(
                    f"frames of {size}",
                    "transitions/s",
                    ours,
                    peer,
                    PEER,
                    better="higher",
                    target=TARGETS.get(size),
                )
            )
    report = Report(
        machine=machine(),
        versions=versions("aiokafka", "faust-streaming", "msgspec", "numpy"),
        rows=rows,
    )
    report.show()
    report.write(arguments.json)


def _fill(folder: Path, bootstrap: str, size: int, n_rows: int) -> tuple[Settings, Path]:
    """A market of its own whose topic holds `n_rows` in frames of `size`; its settings and their file."""
    name = f"bench{size}x{uuid.uuid4().hex[:8]}"
    market = MarketSettings(
        features=tuple(f"f{i}" for i in range(STATE_SIZE)),
        action_names=("short", "flat", "long"),
        partitions=PARTITIONS,
    )
    settings = Settings(
        data_dir=str(folder / "data"),
        kafka=KafkaSettings(bootstrap=bootstrap),
        ingest=IngestSettings(capacity=CAPACITY, group=name, port=free_port()),
        markets={name: market},
    )
    file = folder / f"{name}.toml"
    file.write_text(dump_settings(settings))
    asyncio.run(create_topics(settings, [name]))
    asyncio.run(_produce(bootstrap, market.spec(name), size, n_rows))
    return settings, file


async def _produce(bootstrap: str, spec: MarketSpec, size: int, n_rows: int) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, max_request_size=2_000_000, max_batch_size=700_000, linger_ms=20
    )
    rng = np.random.default_rng(0)
    rows = Transitions.empty(spec, size)
    rows.state[:] = rng.normal(size=rows.state.shape)
    rows.next_state[:] = rng.normal(size=rows.state.shape)
    rows.instrument[:], rows.agent_id[:], rows.episode_id[:], rows.domain[:] = (
        b"EURUSD",
        b"a",
        b"e1",
        b"EURUSD",
    )
    headers = [(CONTENT_TYPE, FRAME_TYPE.encode())]
    await producer.start()
    for number in range(n_rows // size):
        first = number * size
        rows.transition_id[:] = [b"transition-%09d" % (first + i) for i in range(size)]
        rows.timestamp[:] = 1_700_000_000_000_000_000 + first + np.arange(size)
        value = encode_frame(rows, spec)
        await producer.send(
            transitions(spec.name), value, key=b"k", partition=number % PARTITIONS, headers=headers
        )
    await producer.stop()


def _run_peer(file: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.ingest", "--peer", str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


async def _peer(settings: Settings) -> None:
    """Read the whole topic, decode each frame and write it into a ring; print rows per second."""
    (name,) = settings.markets
    spec, topic = settings.market(name).spec(name), transitions(name)
    rings = [_PeerRing(spec) for _ in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=2_000_000,
    )
    await consumer.start()
    places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
    consumer.assign(places)
    left = sum((await consumer.end_offsets(places)).values())
    n, began = 0, (0.0, 0)
    while left:
        batch = await consumer.getmany(timeout_ms=1000)
        for place, records in batch.items():
            ring = rings[place.partition]
            for record in records:
                n += ring.write(record.value)
            left -= len(records)
        if batch and not began[1]:
            began = (time.perf_counter(), n)
    print((n - began[1]) / (time.perf_counter() - began[0]))
    await consumer.stop()


class _PeerRing:
    """A ring of raw columns, written without validation."""

    def __init__(self, spec: MarketSpec) -> None:
        empty = Transitions.empty(spec, CAPACITY)
        self._columns = {
            name: getattr(empty, name) for name in ("state", "next_state", "timestamp", "reward", "done")
        }
        self._columns["action"] = empty.action
        self._ids = empty.transition_id
        self._decode = msgspec.msgpack.Decoder().decode
        self._at = 0

    def write(self, value: bytes) -> int:
        """Decode a frame and write its columns; the number of rows."""
        frame = self._decode(value)
        n = frame["n"]
        head = min(n, CAPACITY - self._at)
        for name, column in self._columns.items():
            values = np.frombuffer(frame[name], column.dtype).reshape(n, *column.shape[1:])
            column[self._at : self._at + head] = values[:head]
            column[: n - head] = values[head:]
        ids = frame["transition_id"]
        values = np.frombuffer(ids["b"], f"S{ids['w']}")
        self._ids[self._at : self._at + head] = values[:head]
        self._ids[: n - head] = values[head:]
        self._at = (self._at + n) % CAPACITY
        return int(n)


def _run_ours(settings: Settings, folder: Path, n_rows: int, turn: int) -> float:
    """Start a worker with a new group on the full topic; rows per second once all partitions are loaded."""
    (name,) = settings.markets
    ingest = msgspec.structs.replace(settings.ingest, group=f"{name}-{turn}", port=free_port())
    file = folder / f"{name}-{turn}.toml"
    file.write_text(dump_settings(msgspec.structs.replace(settings, ingest=ingest)))
    worker = subprocess.Popen(
        [sys.executable, "-m", "streams.ingest.worker", "--config", str(file)], stderr=subprocess.DEVNULL
    )
    try:
        return _rate(f"http://127.0.0.1:{ingest.port}/status", worker, n_rows)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)


def _rate(url: str, worker: subprocess.Popen[bytes], n_rows: int) -> float:
    """Rows per second between the first status that shows all partitions loaded and the one that shows all rows."""
    deadline = time.monotonic() + TIMEOUT_S
    began: tuple[float, int] | None = None
    n = 0
    while time.monotonic() < deadline and worker.poll() is None:
        with contextlib.suppress(URLError, ConnectionError, TimeoutError), urlopen(url, timeout=5) as answer:  # noqa: S310  (loopback)
            now = time.perf_counter()
            parts = msgspec.json.decode(answer.read())["partitions"]
            n = sum(part.get("accepted", 0) for part in parts)
            if began is None and len(parts) == PARTITIONS and all(part["loaded"] for part in parts):
                began = (now, n)
            if n == n_rows and began is not None:
                return (n_rows - began[1]) / (now - began[0]) if n_rows > began[1] else float("nan")
        # The worker is watched through its status page only; asking it more often would slow what is measured.
        time.sleep(LOOK_S / 10 if n > NEAR_THE_END * n_rows else LOOK_S)
    raise SystemExit(f"the worker did not take all {n_rows} rows within {TIMEOUT_S:.0f} s")


if __name__ == "__main__":
    main()
