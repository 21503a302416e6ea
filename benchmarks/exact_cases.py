"""Exact replay: its refresh and draw beside plain numpy, and a night's phase 1 beside what its arithmetic takes."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import BATCH, STATE_SIZE, experience
from benchmarks.report import Row, measured
from benchmarks.turns import in_turn, per_second
from janus_memory.config import PolicySettings, ReplaySettings
from janus_memory.replay.law.exact import ExactDraw, refresh_and_draw
from janus_memory.replay.night.learner import begin_night, init_learner
from janus_memory.replay.night.problem import ReplayProblem
from janus_memory.replay.night.swr import learn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from benchmarks.store_cases import Effort

__all__ = ["phase", "refreshes"]

N_ROWS = 10_000
N_ACTIONS = 3
# How many times as fast as plain numpy, by rows.
REFRESH_TARGETS = {10_000: 1.7, 1_000_000: 3.0}
PHASE_TARGET = 1.3
_PRODUCT_REPETITIONS = 30


def refreshes(n: int, effort: Effort, threads: int) -> Iterator[Row]:
    """The row of all priorities anew, their law and a batch drawn by it, over n rows."""
    rng = np.random.default_rng(3)
    td, reward = (rng.standard_normal(n, np.float32) for _ in range(2))
    violation, uniforms = rng.random(n, np.float32), rng.random(BATCH)
    columns = (td, violation, reward, uniforms, ReplaySettings(batch=BATCH))

    def refreshed() -> ExactDraw:
        return refresh_and_draw(*columns, threads=threads)

    assert np.array_equal(refreshed().slots, _plain(*columns)[0])
    ours, plain = in_turn(refreshed, lambda: _plain(*columns), **effort._asdict())
    yield measured(
        f"exact refresh of {n:_} rows + sample 256".replace("_", " "),
        "refreshes/s",
        per_second(ours),
        per_second(plain),
        "the same in plain numpy, one expression a step",
        better="higher",
        target=REFRESH_TARGETS[n],
    )


def phase(iterations: int, repetitions: int) -> Iterator[Row]:
    """The row of a night's exact replay: 10 000 rows, batch 256, d = 64, hidden 128-128, beside its arithmetic."""
    replay, policy = ReplaySettings(iterations=iterations, batch=BATCH), PolicySettings()
    problem = _problem()
    state = begin_night(init_learner(STATE_SIZE, N_ACTIONS, policy, 1), 2)
    learn(state, problem, replay, policy, 0, 2, iterations)
    ours, limits = [], []
    for _ in range(repetitions):
        limits.append(iterations * _limit(policy))
        start = time.perf_counter()
        learn(state, problem, replay, policy, 0, iterations, iterations)
        ours.append(time.perf_counter() - start)
    yield measured(
        f"phase 1: {iterations} exact iterations over 10 000 rows",
        "s",
        ours,
        limits,
        "its matrix products alone, at their measured throughput",
        better="lower",
        target=PHASE_TARGET,
    )


def _plain(
    td: NDArray[np.float32],
    violation: NDArray[np.float32],
    reward: NDArray[np.float32],
    uniforms: NDArray[np.float64],
    settings: ReplaySettings,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """E7 and E8 in numpy as they are written, in float64; the drawn rows and their P."""
    p = np.abs(td.astype(np.float64)) + settings.lambda_logic * violation
    p = np.maximum(p + settings.lambda_reward * np.abs(reward), settings.priority_floor)
    mass = p**settings.alpha
    cumulative = np.cumsum(mass)
    drawn = np.searchsorted(cumulative, uniforms * cumulative[-1], side="right")
    return drawn, mass[drawn] / cumulative[-1]


def _problem() -> ReplayProblem:
    """One unbroken trajectory: all states but the last are also somebody's next state."""
    rows = experience(N_ROWS, seed=4)
    following = np.append(rows.action[1:], -1).astype(np.int32)
    return ReplayProblem(
        x=rows.state,
        next_x=rows.next_state,
        action=rows.action,
        next_action=following,
        reward=rows.reward,
        done=rows.done.astype(np.uint8),
        violation=np.zeros(N_ROWS, np.float32),
        policy_truth=np.zeros((N_ROWS, 0, N_ACTIONS), np.float32),
        rule_weight=np.zeros(0, np.float32),
        timestamp=np.arange(N_ROWS, dtype=np.int64),
        domain=np.zeros(N_ROWS, np.int32),
    )


def _limit(policy: PolicySettings) -> float:
    """Seconds that the matrix products of one iteration take, by the throughput of this moment.

    Of a layer i -> o every distinct state passes once (2 i o operations), and of the batch the state, the next state in
    the target network and backwards the gradient of the weights and, but in the first layer, that of the input. What a
    layer's products take is their operations over the throughput of that very layer over all states.
    """
    n = N_ROWS + 1
    widths = (STATE_SIZE, *policy.hidden, N_ACTIONS)
    seconds = 0.0
    for layer, (wide, out) in enumerate(itertools.pairwise(widths)):
        passes = 3 if layer == 0 else 4
        seconds += _product_seconds(n, wide, out) * (n + passes * BATCH) / n
    return seconds


def _product_seconds(n: int, wide: int, out: int) -> float:
    """The median time of a product [n, wide] x [wide, out] in JAX."""
    rng = np.random.default_rng(5)
    x, w = (jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in ((n, wide), (wide, out)))
    product = jax.jit(jnp.dot)
    product(x, w).block_until_ready()
    times = []
    for _ in range(_PRODUCT_REPETITIONS):
        start = time.perf_counter()
        product(x, w).block_until_ready()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
