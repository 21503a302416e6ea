"""A market folder whose first night is frozen, so that a night's process can run without a broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from janus_memory.config import (
    AtlasSettings,
    HippocampusSettings,
    IngestSettings,
    MarketSettings,
    NeocortexSettings,
    PolicySettings,
    RaySettings,
    ReplaySettings,
    RuleSettings,
    Settings,
    SleepSettings,
)
from janus_memory.settings import dump_settings
from janus_memory.sleep.cycle import NightInput, NightStopped, run_night
from janus_memory.sleep.memory import Memory
from janus_memory.sleep.sessions import MarketState, NightPlan, Outcome, session_folder
from janus_memory.sleep.workers import InProcessWorkers
from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from janus_memory.transition import MarketSpec

FEATURES = ("calm", "trend", "volume", "position")
DAY_NS = 86_400 * 10**9
ROOT = Path(__file__).resolve().parents[2]


def small_settings(
    data_dir: Path, *, rules: tuple[RuleSettings, ...] = (), action_dim: int = 0, **fields: Any
) -> Settings:
    """Settings under which a night takes seconds; the market's rules, and further fields of `Settings` by name.

    With an `action_dim` the market's actions are vectors.
    """
    names = () if action_dim else ("short", "flat", "long")
    market = MarketSettings(
        features=FEATURES, action_names=names, action_dim=action_dim, partitions=2, rules=rules
    )
    chosen: dict[str, Any] = {
        "data_dir": str(data_dir),
        "ingest": IngestSettings(capacity=500),
        "hippocampus": HippocampusSettings(separation_steps=10),
        "replay": ReplaySettings(iterations=60, batch=32, checkpoint_every=10, block_rows=100),
        "policy": PolicySettings(hidden=(16, 16)),
        "neocortex": NeocortexSettings(recall_min_rows=10_000),
        "atlas": AtlasSettings(min_points=100_000),
        "sleep": SleepSettings(warmup_rows=200, compute_threads=1, cut_deadline_s=60.0, retry_s=0.5),
        "ray": RaySettings(executor="in_process"),
        "markets": {"fx": market},
    }
    return Settings(**(chosen | fields))


def day_rows(spec: MarketSpec, day: int, n: int = 300) -> Transitions:
    """N rows of two agents in three regimes on one day, in the total order."""
    rng = np.random.default_rng(day)
    rows = Transitions.empty(spec, n)
    centres = np.array([[0.0, 0, 0, 0], [6, 0, 3, 0], [0, 6, -3, 1]])
    agents = [b"agent-%d" % (i % 2) for i in range(n)]
    rows.transition_id[:] = [b"d%d-%06d" % (day, i) for i in range(n)]
    rows.instrument[:] = rows.domain[:] = b"EURUSD"
    rows.agent_id[:] = agents
    rows.episode_id[:] = [b"%s-%d" % (agent, day) for agent in agents]
    rows.timestamp[:] = day * DAY_NS + (np.arange(n) // 2 + 1) * 60 * 10**9
    rows.state[:] = centres[np.arange(n) * 3 // n] + rng.normal(size=(n, 4))
    rows.next_state[:] = rows.state[np.minimum(np.arange(n) + 2, n - 1)]
    if spec.action_kind == "discrete":
        rows.action[:] = rng.integers(0, spec.action_size, n)
    else:
        rows.action[:] = rng.uniform(-1, 1, rows.action.shape)
    rows.reward[:] = rng.normal(size=n)
    rows.done[-2:] = 1
    return rows


class Quiet:
    """Progress that nobody reads."""

    def phase(self, name: str, note: str) -> None:
        """Ignored."""

    def advance(self, name: str, done: int, total: int) -> None:
        """Ignored."""


class FrozenNight(NamedTuple):
    """A session that is running, with its input frozen in phase 0."""

    settings: Settings
    config: Path
    state: MarketState

    @property
    def folder(self) -> Path:
        """The session's folder."""
        return session_folder(self.state.folder, "d1")

    @property
    def outcome(self) -> Outcome:
        """What the night left."""
        return msgspec.json.decode((self.folder / "outcome.json").read_bytes(), type=Outcome)


def freeze_night(data_dir: Path, **fields: Any) -> FrozenNight:
    """Begin session d1 of market fx and leave it after phase 0."""
    settings = small_settings(data_dir, **fields)
    data_dir.mkdir(parents=True, exist_ok=True)
    config = data_dir / "janus.toml"
    config.write_text(dump_settings(settings))
    state = MarketState.acquire(data_dir, "fx")
    plan = NightPlan(market="fx", session_id="d1", closed_at=2 * DAY_NS, cuts=())
    state.begin(plan)
    rows = day_rows(settings.market("fx").spec("fx"), 1)
    try:
        run_night(
            session_folder(state.folder, "d1"),
            lambda: NightInput("fx", "d1", 2 * DAY_NS, rows, {}),
            Memory.empty("fx"),
            settings,
            InProcessWorkers(settings),
            Quiet(),
            lambda: None,
            lambda: True,
        )
    except NightStopped:
        return FrozenNight(settings, config, state)
    raise AssertionError("the night did not stop after phase 0")


class NightRun:
    """`python -m actors.night` as a child, its lines decoded."""

    def __init__(self, night: FrozenNight, environment: Mapping[str, str], *arguments: str) -> None:
        command = [sys.executable, "-m", "actors.night", "--config", str(night.config)]
        command += ["--market", "fx", "--session", "d1", "--epoch", str(night.state.epoch), *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(environment),
            cwd=ROOT,
        )
        self.said: list[dict[str, Any]] = []

    def read(self, until: Callable[[dict[str, Any]], bool] = lambda _: False) -> bool:
        """Take lines up to the first that `until` accepts; False if the process has ended before."""
        for line in self.process.stdout or ():
            try:
                self.said.append(msgspec.json.decode(line, type=dict[str, Any]))
            except msgspec.DecodeError:
                self.said.append({"text": line.decode(errors="replace")})
            if until(self.said[-1]):
                return True
        return False

    def end(self, timeout_s: float = 600.0) -> int:
        """Read on to its end; the exit code."""
        watchdog = threading.Timer(timeout_s, self.process.kill)
        watchdog.start()
        try:
            self.read()
            return self.process.wait()
        finally:
            watchdog.cancel()
            self.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let it stand still for the time of a block, so that it cannot be over before that."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it if it still runs, and close the pipes."""
        if self.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        self.process.wait()
