"""One installation for an end-to-end run: a broker of its own, services as processes, three simulated days.

Seeds derive from the market's name, so runs that must end in the same digest have the same market and
therefore each a broker of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from infra.kafka.broker import Broker
from janus_memory.cli.demo_settings import demo_market
from janus_memory.config import (
    AtlasSettings,
    HippocampusSettings,
    IngestSettings,
    KafkaSettings,
    RaySettings,
    ReplaySettings,
    Settings,
    SleepSettings,
)
from janus_memory.events import Cut, SchemaUpdate, SleepReport, decode
from janus_memory.loopback import free_port
from janus_memory.settings import dump_settings
from janus_memory.topics import SCHEMA_UPDATES, SLEEP_REPORTS
from streams.admin import create_topics
from streams.topics import CUTS, FRAME_TYPE, transitions
from tests.integration.harness import WAIT_S, Process, get, read_topic, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiokafka import ConsumerRecord
    from numpy.typing import NDArray

MARKET = "eurusd"
DAYS = 3
PARTITIONS = 4
CAPACITY = 300
# Where a worker is to be taken out of its group: as short as Kafka allows.
SHORT_SESSION_S = 6.0
START = "2017-02-07"


@dataclass(frozen=True)
class World:
    """The settings of a run and the means to act on it."""

    settings: Settings
    file: Path
    start: Callable[..., Process]

    @property
    def bootstrap(self) -> str:
        """The broker's address."""
        return self.settings.kafka.bootstrap

    @property
    def data(self) -> Path:
        """The data folder."""
        return Path(self.settings.data_dir)

    def ingest(self, launcher: tuple[str, ...] = ("-m", "streams.ingest.worker"), **options: Any) -> Process:
        """Start an ingest worker and wait until it is healthy."""
        worker = self.start(*launcher, "--config", str(self.file), **options)
        worker.wait_for("health endpoint")
        wait_until(lambda: get(self.url("healthz")), "a healthy ingest worker", of=worker)
        return worker

    def sleeper(self) -> Process:
        """Start the sleeper."""
        return self.start("-m", "actors.sleeper", "--config", str(self.file))

    def simulate(self, speed: str = "max") -> Process:
        """Play three days of real bars, from another process."""
        arguments = ("simulate", "--sessions", str(DAYS), "--from", START, "--speed", speed)
        return self.start("-m", "janus_memory.cli.main", "--config", str(self.file), *arguments)

    def url(self, page: str) -> str:
        """A page of the ingest worker."""
        return f"http://127.0.0.1:{self.settings.ingest.port}/{page}"

    def other_worker(self, **ingest: Any) -> World:
        """The same installation as another ingest worker sees it: its own health port and file, changed settings."""
        chosen = {"port": free_port(), **ingest}
        settings = msgspec.structs.replace(
            self.settings, ingest=msgspec.structs.replace(self.settings.ingest, **chosen)
        )
        file = self.file.with_name(f"worker-{chosen['port']}.toml")
        file.write_text(dump_settings(settings))
        return replace(self, settings=settings, file=file)

    def transitions(self) -> list[ConsumerRecord]:
        """All records of the transitions topic, by partition and offset."""
        return read_topic(self.bootstrap, transitions(MARKET), range(PARTITIONS))

    def n_transition_records(self) -> int:
        """How many records the transitions topic holds now."""
        return len(self.transitions())

    def cuts(self) -> list[Cut]:
        """The cuts announced so far, the first of each key."""
        found: dict[bytes, Cut] = {}
        for record in read_topic(self.bootstrap, CUTS):
            found.setdefault(record.key, decode(Cut, record.value))
        return list(found.values())

    def reports(self) -> list[SleepReport]:
        """The sleep reports published so far, each once, oldest first."""
        events = [decode(SleepReport, r.value) for r in read_topic(self.bootstrap, SLEEP_REPORTS)]
        return sorted({e.event_id: e for e in events}.values(), key=lambda e: e.as_of)

    def schema_updates(self) -> list[SchemaUpdate]:
        """The schema updates published so far, each once, in order."""
        events = [decode(SchemaUpdate, r.value) for r in read_topic(self.bootstrap, SCHEMA_UPDATES)]
        return list({e.event_id: e for e in events}.values())

    def nights_done(self, n: int = DAYS, timeout_s: float = 2 * WAIT_S) -> list[SleepReport]:
        """Wait for the reports of `n` nights."""
        return wait_until(
            lambda: r if len(r := self.reports()) >= n else None, f"{n} sleep reports", timeout_s
        )


def new_world(
    folder: Path,
    broker: Broker,
    start: Callable[..., Process],
    *,
    draw: bool = False,
    session_timeout_s: float = 30.0,
) -> World:
    """Settings and topics on an empty broker.

    Args:
        folder: for the settings file and the data.
        broker: a running broker without our topics.
        start: starts `python ARGUMENTS...`.
        draw: draw the map by UMAP; otherwise plainly. The map is not in the digest.
        session_timeout_s: after which the group gives the partitions of a silent ingest worker to others.
    """
    daily = msgspec.structs.replace(demo_market(), session="day", partitions=PARTITIONS)
    settings = Settings(
        data_dir=str(folder / "data"),
        kafka=KafkaSettings(bootstrap=broker.bootstrap, connect_timeout_s=120.0),
        ingest=IngestSettings(
            port=free_port(),
            capacity=CAPACITY,
            dedupe_window=10_000,
            session_timeout_s=session_timeout_s,
            watchdog_timeout_s=120.0,
        ),
        hippocampus=HippocampusSettings(separation_steps=20),
        replay=ReplaySettings(iterations=60, batch=64, checkpoint_every=20),
        atlas=AtlasSettings(min_points=10 if draw else 1_000_000, epochs=50),
        ray=RaySettings(dashboard=False),
        sleep=SleepSettings(warmup_rows=300, retry_s=0.5, cut_deadline_s=3600.0),
        markets={MARKET: daily},
    )
    file = folder / "janus.toml"
    file.write_text(dump_settings(settings))
    asyncio.run(create_topics(settings, [MARKET]))
    return World(settings, file, start)


def frames_by_hand(
    records: list[ConsumerRecord], d: int
) -> Iterator[tuple[ConsumerRecord, dict[str, NDArray[Any]]]]:
    """Each frame's columns, decoded from the written format alone: none of the project's codec is used."""
    kinds = {"timestamp": "<i8", "reward": "<f4", "done": "u1", "action": "<i4"}
    for record in records:
        if dict(record.headers).get("content-type") != FRAME_TYPE.encode():
            continue
        frame = msgspec.msgpack.decode(record.value)
        n = frame["n"]
        columns: dict[str, NDArray[Any]] = {
            name: np.frombuffer(frame[name], kind).copy() for name, kind in kinds.items()
        }
        for name in ("state", "next_state"):
            columns[name] = np.frombuffer(frame[name], "<f4").reshape(n, d)
        for name in ("transition_id", "instrument", "agent_id", "episode_id"):
            ids = np.frombuffer(frame[name]["b"], f"S{frame[name]['w']}")
            columns[name] = np.broadcast_to(ids, n).astype("S64")
        yield record, columns


def first_of_each_id(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """All rows of the parts, of each transition id the first."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    kept = np.sort(np.unique(joined["transition_id"], return_index=True)[1])
    return {name: column[kept] for name, column in joined.items()}
