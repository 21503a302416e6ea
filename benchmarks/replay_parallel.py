"""From which size on it pays to spread a night's replay over Ray replay actors: d = 64, batch 256, a 128-128 network.

Run as `python -m benchmarks.replay_parallel [--quick] [--json FILE]`. An iteration renews all priorities before its
batch. It is measured three ways in turn: over replay actors, one a core, which answer TD errors of blocks of rows; step
by step in this process; and as the compiled loop in this process. The first two give the same bits. Every process
has as many compute threads as the machine has cores, as the nights' bits want it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from actors.cluster import LocalCluster, environment
from benchmarks.cycle import regime_rows
from benchmarks.report import Report, Row, machine, measured, versions
from janus_memory.config import MarketSettings, RaySettings, ReplaySettings, RuleSettings, Settings
from janus_memory.logic.knowledge import KnowledgeBase
from janus_memory.replay.night.learner import begin_night, init_learner
from janus_memory.replay.night.problem import ReplayProblem
from janus_memory.replay.night.swr import learn
from janus_memory.sleep.workers import InProcessWorkers
from janus_memory.threads import fix_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from janus_memory.ports import Workers
    from janus_memory.transition import Transitions

ITERATIONS = 20
STATE_SIZE = 64
ACTIONS = ("short", "flat", "long")
RULE = RuleSettings(name="calm", text="forall: feature_0 > 3 ~ 0.5 implies not (action == long)")


def main() -> None:
    """Measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one repetition over 5 000 rows")
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    arguments = parser.parse_args()
    sizes, repetitions = (
        ((5_000,), 1) if arguments.quick else ((10_000, 20_000, 30_000, 50_000, 100_000, 200_000), 3)
    )
    fix_threads(0)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings()
        cluster = LocalCluster.start(settings.ray, Path(folder))
        try:
            os.environ.update(environment(settings.ray, Path(folder)))
            # Ray reads its environment when it is imported.
            from actors.workers import RayWorkers, connect  # noqa: PLC0415

            connect(cluster.address, "bench", "parallel")
            actors = RayWorkers(settings)
            for n in sizes:
                print(f"{n} rows", file=sys.stderr)
                rows += _measure(n, repetitions, settings, actors)
            actors.close()
        finally:
            cluster.stop()
    report = Report(machine=machine(), versions=versions("jax", "numpy", "ray"), rows=rows)
    report.show()
    report.write(arguments.json)


def _measure(n: int, repetitions: int, settings: Settings, actors: Workers) -> Iterator[Row]:
    """The rows of one size: an iteration beside both others, and the rules' truths."""
    market, here = settings.market("bench"), InProcessWorkers(settings)
    rules = KnowledgeBase.parse(market.rules, market.features, market.action_names)
    transitions = regime_rows(settings, n, seed=1)
    problem = _problem(transitions)
    state = begin_night(init_learner(STATE_SIZE, len(ACTIONS), settings.policy, 1), 2)
    replay, policy = settings.replay, settings.policy
    sides: dict[str, Callable[[], float]] = {
        "actors": lambda: _iteration_ms(lambda k: actors.learn(state, problem, 0, k)),
        "steps": lambda: _iteration_ms(lambda k: here.learn(state, problem, 0, k)),
        "loop": lambda: _iteration_ms(
            lambda k: learn(state, problem, replay, policy, 0, k, replay.iterations)
        ),
        "truths over actors": lambda: _ms(lambda: actors.truths(rules, transitions)),
        "truths here": lambda: _ms(lambda: here.truths(rules, transitions)),
    }
    turns = [{name: side() for name, side in sides.items()} for _ in range(repetitions + 1)][1:]
    taken = {name: [turn[name] for turn in turns] for name in sides}
    cases = (
        ("iteration", "actors", "steps", "step by step in one process"),
        ("iteration", "actors", "loop", "the compiled loop in one process"),
        ("rule truths", "truths over actors", "truths here", "in one process"),
    )
    for what, ours, peer, name in cases:
        yield measured(
            f"{what}, {n:_} rows".replace("_", " "), "ms", taken[ours], taken[peer], name, better="lower"
        )


def _iteration_ms(chunk: Callable[[int], object]) -> float:
    """Milliseconds of an iteration, without what a chunk costs once."""
    return (_ms(lambda: chunk(2 + ITERATIONS)) - _ms(lambda: chunk(2))) / ITERATIONS


def _ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def _settings() -> Settings:
    """As many replay actors as cores, asked at every size."""
    market = MarketSettings(
        features=tuple(f"feature_{i}" for i in range(STATE_SIZE)),
        action_names=ACTIONS,
        simulated=True,
        rules=(RULE,),
    )
    return Settings(
        replay=ReplaySettings(parallel_min_rows=0),
        ray=RaySettings(dashboard=False, n_replay=os.cpu_count() or 1, n_shards=1),
        markets={"bench": market},
    )


def _problem(rows: Transitions) -> ReplayProblem:
    """The rows with random rule truths; what they are has no say in how long they take."""
    n, rng = len(rows), np.random.default_rng(2)
    return ReplayProblem(
        x=rows.state,
        action=cast("NDArray[np.int32]", rows.action),
        reward=rows.reward,
        next_x=rows.next_state,
        next_action=cast("NDArray[np.int32]", rows.next_action),
        done=rows.done,
        violation=rng.random(n, np.float32),
        policy_truth=rng.random((n, 1, len(ACTIONS)), np.float32),
        rule_weight=np.ones(1, np.float32),
        timestamp=rows.timestamp,
        domain=np.zeros(n, np.int32),
    )


if __name__ == "__main__":
    main()
