"""Time per phase of one whole sleep cycle: 10 000 transitions, d = 64, computed in process.

Run as `python -m benchmarks.cycle [--quick] [--json FILE]`. Every repetition is a process of its own, as a night is,
so start-up and compilation are in the figures. Replay is set beside the time its matrix products alone would take at
the throughput measured in the same run.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.report import Report, Row, machine, measured, versions
from janus_memory.config import MarketSettings, RuleSettings, Settings
from janus_memory.transition import Transitions

STATE_SIZE = 64
N_ACTIONS = 3
WHOLE_CYCLE_TARGET_S = 60.0


def main() -> None:
    """Measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one repetition of 2 000 rows and 100 replay iterations"
    )
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--once", metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    n_rows, iterations, repetitions = (2_000, 100, 1) if arguments.quick else (10_000, 1_000, 3)
    if arguments.once:
        Path(arguments.once).write_bytes(msgspec.json.encode(_night(n_rows, iterations)))
        return
    nights, limits = [], []
    for turn in range(repetitions):
        limits.append(_arithmetic_limit(n_rows, iterations))
        print(f"repetition {turn + 1} of {repetitions}", file=sys.stderr)
        nights.append(_in_own_process(arguments.quick))
    report = Report(
        machine=machine(),
        versions=versions("jax", "numba", "numpy", "umap-learn"),
        rows=_rows(nights, limits),
    )
    report.show()
    report.write(arguments.json)


def _rows(nights: list[dict[str, float]], limits: list[float]) -> list[Row]:
    alone = "none: no other system runs this cycle"
    rows = []
    for phase in nights[0]:
        seconds = [night[phase] for night in nights]
        if phase == "replay":
            rows.append(
                measured(f"phase {phase}", "s", seconds, limits, "its matrix products alone", better="lower")
            )
        elif phase == "whole cycle":
            rows.append(
                measured(
                    phase,
                    "s",
                    seconds,
                    None,
                    alone,
                    better="lower",
                    target=WHOLE_CYCLE_TARGET_S,
                    target_of="ours",
                )
            )
        else:
            rows.append(measured(f"phase {phase}", "s", seconds, None, alone, better="lower"))
    return rows


def _in_own_process(quick: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "night.json")
        command = [
            sys.executable,
            "-m",
            "benchmarks.cycle",
            "--once",
            str(result),
            *(["--quick"] if quick else []),
        ]
        subprocess.run(command, check=True)
        return msgspec.json.decode(result.read_bytes(), type=dict[str, float])


def _night(n_rows: int, iterations: int) -> dict[str, float]:
    started = time.perf_counter()
    settings = _settings(iterations)
    # The thread count must be fixed before the numerical libraries are loaded.
    from janus_memory.threads import fix_threads  # noqa: PLC0415

    fix_threads(settings.sleep.compute_threads)
    from janus_memory.sleep.cycle import NightInput, run_night  # noqa: PLC0415
    from janus_memory.sleep.memory import Memory  # noqa: PLC0415
    from janus_memory.sleep.workers import InProcessWorkers  # noqa: PLC0415

    rows = regime_rows(settings, n_rows, seed=1)
    night = NightInput("bench", "2024-01-05.1", int(rows.timestamp.max()) + 1, rows, {})
    with tempfile.TemporaryDirectory() as folder:
        result = run_night(
            Path(folder, "bench", "nights", "2024-01-05.1"),
            lambda: night,
            Memory.empty("bench"),
            settings,
            InProcessWorkers(settings),
            _Quiet(),
            lambda: None,
            lambda: False,
        )
    return {**result.report.phase_seconds, "whole cycle": time.perf_counter() - started}


class _Quiet:
    def phase(self, name: str, note: str) -> None: ...

    def advance(self, name: str, done: int, total: int) -> None: ...


def _settings(iterations: int) -> Settings:
    features = tuple(f"feature_{i}" for i in range(STATE_SIZE))
    rule = RuleSettings(name="calm", text="forall: feature_0 > 3 ~ 0.5 implies not (action == long)")
    market = MarketSettings(
        features=features, action_names=("short", "flat", "long"), simulated=True, rules=(rule,)
    )
    base = Settings(markets={"bench": market})
    return msgspec.structs.replace(base, replay=msgspec.structs.replace(base.replay, iterations=iterations))


def regime_rows(settings: Settings, n: int, seed: int) -> Transitions:
    """Transitions of 20 agents whose states wander through 20 Gaussian regimes with dwell times.

    Returns:
        n rows in the total order, d = 64; rewards depend on regime and action.
    """
    rng = np.random.default_rng(seed)
    spec = settings.market("bench").spec("bench")
    n_agents, n_regimes = 20, 20
    centres = rng.normal(size=(n_regimes, STATE_SIZE)) * np.sqrt(2)
    step = np.arange(n) // n_agents
    regime = rng.integers(0, n_regimes, n // 50 + 1)[step * n_agents // 1000 % (n // 50 + 1)]
    state = (centres[regime] + rng.normal(size=(n, STATE_SIZE))).astype(np.float32)
    agent = np.arange(n) % n_agents
    action = rng.integers(0, N_ACTIONS, n).astype(np.int32)
    following = np.minimum(np.arange(n) + n_agents, n - 1)
    rows = Transitions.empty(spec, n)
    names = np.char.add(b"agent-", agent.astype("S4")).astype("S64")
    return replace(
        rows,
        transition_id=np.char.add(b"t-", np.char.zfill(np.arange(n).astype("S8"), 8)).astype("S64"),
        instrument=np.full(n, b"BENCH", "S64"),
        domain=np.full(n, b"BENCH", "S64"),
        agent_id=names,
        episode_id=np.char.add(names, (step // 100).astype("S6")).astype("S64"),
        timestamp=(step.astype(np.int64) + 1) * 3_600_000_000_000,
        state=state,
        next_state=state[following],
        action=action,
        reward=((action - 1) * (regime % 3 - 1) + rng.normal(size=n)).astype(np.float32),
        done=(following == n - 1).astype(np.uint8),
    )


def _arithmetic_limit(n_rows: int, iterations: int) -> float:
    """Seconds that the matrix products of exact replay take at the throughput of this machine right now.

    A replay iteration passes all rows forward twice (state, next state) through 64-128-128-3, and a batch of 256 three
    times more; the products are measured at the very shapes that they have.
    """
    rng = np.random.default_rng(0)
    widths = (STATE_SIZE, 128, 128, N_ACTIONS)
    inputs = [rng.normal(size=(n_rows, w)).astype(np.float32) for w in widths[:-1]]
    weights = [rng.normal(size=pair).astype(np.float32) for pair in itertools.pairwise(widths)]
    times = []
    for _ in range(10):
        start = time.perf_counter()
        for x, w in zip(inputs, weights, strict=True):
            np.dot(x, w)
        times.append(time.perf_counter() - start)
    batch = 256
    return float(np.median(times)) * iterations * (2 + 6 * batch / n_rows)


if __name__ == "__main__":
    main()
