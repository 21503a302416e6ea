"""Small synthetic nights for the tests of the sleep cycle: four features, three regimes, two agents."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.config import (
    AtlasSettings,
    HippocampusSettings,
    IngestSettings,
    MarketSettings,
    NeocortexSettings,
    PolicySettings,
    ReplaySettings,
    RuleSettings,
    Settings,
    SleepSettings,
)
from janus_memory.sleep.cycle import NightInput, run_night
from janus_memory.sleep.workers import InProcessWorkers
from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from janus_memory.ports import Workers
    from janus_memory.sleep.cycle import NightResult
    from janus_memory.sleep.memory import Memory

MARKET = "fx"
FEATURES = ("calm", "trend", "volume", "position")
HOUR = 3_600_000_000_000
DAY = 24 * HOUR
CALM = RuleSettings(name="calm", text="forall: calm > 40 ~ 0.5 implies not (action == long)")


def settings_for(
    data_dir: Path, *, rules: tuple[RuleSettings, ...] = (CALM,), capacity: int = 250
) -> Settings:
    """Settings under which a night takes a second: small networks, few iterations, a plain projection as map.

    With a capacity of one day's rows most nights have equal shapes, and compile once.
    """
    market = MarketSettings(features=FEATURES, action_names=("short", "flat", "long"), rules=rules)
    return Settings(
        data_dir=str(data_dir),
        ingest=IngestSettings(capacity=capacity),
        hippocampus=HippocampusSettings(separation_steps=10),
        replay=ReplaySettings(iterations=40, batch=32, checkpoint_every=10, block_rows=100),
        policy=PolicySettings(hidden=(16, 16)),
        neocortex=NeocortexSettings(recall_min_rows=10_000),
        atlas=AtlasSettings(min_points=100_000),
        sleep=SleepSettings(warmup_rows=200),
        markets={MARKET: market},
    )


def rows_of(settings: Settings, day: int, n: int = 250) -> Transitions:
    """N rows of one day in the total order; the id says day and number."""
    rng = np.random.default_rng(1000 + day)
    spec = settings.market(MARKET).spec(MARKET)
    centres = np.array([[0.0, 0, 0, 0], [6, 0, 3, 0], [0, 6, -3, 1]])
    number = np.arange(n)
    regime = number * 3 // n
    state = (centres[regime] + rng.normal(size=(n, 4))).astype(np.float32)
    agent = number % 2
    following = np.minimum(number + 2, n - 1)
    names = np.char.add(b"agent-", agent.astype("S4")).astype("S64")
    return replace(
        Transitions.empty(spec, n),
        transition_id=np.char.add(f"d{day}-".encode(), np.char.zfill(number.astype("S8"), 6)).astype("S64"),
        instrument=np.full(n, b"EURUSD", "S64"),
        domain=np.full(n, b"EURUSD", "S64"),
        agent_id=names,
        episode_id=np.char.add(names, f"-{day}".encode()).astype("S64"),
        timestamp=day * DAY + (number // 2 + 1) * 60_000_000_000,
        state=state,
        next_state=state[following],
        action=rng.integers(0, 3, n).astype(np.int32),
        reward=rng.normal(size=n).astype(np.float32),
        done=(number >= n - 2).astype(np.uint8),
    )


def night_of(day: int, rows: Transitions, **counts: int) -> NightInput:
    """The input of the session of a day that closes 20 hours after its midnight."""
    return NightInput(MARKET, f"day-{day}", day * DAY + 20 * HOUR, rows, counts)


class Quiet:
    """Progress that nobody reads."""

    def phase(self, name: str, note: str) -> None:
        """Ignored."""

    def advance(self, name: str, done: int, total: int) -> None:
        """Ignored."""


def sleep(
    settings: Settings,
    memory: Memory,
    given: NightInput | Callable[[], NightInput],
    *,
    run: str = "",
    workers: Workers | None = None,
    guard: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
) -> NightResult:
    """Run a night in its own folder below the data folder."""
    from pathlib import Path  # noqa: PLC0415  (a runtime use in a helper otherwise typed only)

    session = run or (given.session_id if isinstance(given, NightInput) else "night")
    read = (lambda: given) if isinstance(given, NightInput) else given
    folder = Path(settings.data_dir) / "state" / MARKET / "sessions" / session
    return run_night(
        folder, read, memory, settings, workers or InProcessWorkers(settings), Quiet(), guard, stop
    )
