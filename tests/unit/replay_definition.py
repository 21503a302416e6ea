"""Phase 1 as SPEC sections 3 to 5 write it: one loop in plain float64 numpy, gradients by central differences.

Of the code under test only the uniforms are taken: fold_in(key, t) of the night's key.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from janus_memory.replay.law.laws import importance_weights, law
from janus_memory.replay.night.problem import ReplayProblem
from janus_memory.replay.priorities import beta_at, priorities
from tests.unit.replay_rows import plain_forward, plain_td
from tests.unit.vector_rows import plain_vector_loss, plain_vector_td

if TYPE_CHECKING:
    from collections.abc import Callable

    from janus_memory.config import PolicySettings, ReplaySettings
    from janus_memory.replay.night.learner import LearnerState

Weights = dict[str, NDArray[np.float64]]


@dataclass
class PlainNight:
    """Where the plain loop ended, and a line for each iteration: loss, mean |delta|, SatAgg, sample size."""

    fast: Weights
    target: Weights
    count: NDArray[np.int32]
    record: NDArray[np.float64]


def plain_night(
    state: LearnerState, problem: ReplayProblem, replay: ReplaySettings, policy: PolicySettings, total: int
) -> PlainNight:
    """A night of `total` iterations, in the mode that `replay.refresh` names."""
    fast, target = f8(state.fast), f8(state.target)
    mu = {k: np.zeros_like(v) for k, v in fast.items()}
    nu = {k: np.zeros_like(v) for k, v in fast.items()}
    count = np.zeros(len(problem), np.int32)
    every = replay.refresh_every if replay.refresh == "lazy" else 1
    p = np.zeros(len(problem))
    seen, record = (0.0, 0.0), []
    for t in range(total):
        if t % every == 0:
            td = _td(fast, problem, policy.gamma)
            p = priorities(td, problem.violation, problem.reward, replay)
        share = law(replay.strategy, p, problem.domain, problem.timestamp, replay)
        if t % every == 0:
            seen = (float(np.abs(td).mean()), float(1 / np.sum(share**2)))
        drawn = _draw(share, problem.domain, night_uniforms(state, t, replay.batch), replay)
        np.add.at(count, drawn, 1)
        beta = beta_at(t, total, replay)
        w = importance_weights(share[drawn], len(problem), beta, replay.normalise, share[share > 0].min())
        batch = rows_of(problem, drawn)
        asked = _Loss(fast, target, batch, w, policy)
        _, loss, sat = asked(fast)
        record.append((loss, seen[0], sat, seen[1]))
        slope = _slope(lambda v, asked=asked: asked(v)[0], fast)  # type: ignore[misc]  # a lambda with bound values
        for name, g in slope.items():
            mu[name] = 0.9 * mu[name] + 0.1 * g
            nu[name] = 0.999 * nu[name] + 0.001 * g**2
            step = (mu[name] / (1 - 0.9 ** (t + 1))) / (np.sqrt(nu[name] / (1 - 0.999 ** (t + 1))) + 1e-8)
            fast[name] = fast[name] - policy.learning_rate * step
            target[name] = target[name] + policy.polyak * (fast[name] - target[name])
        if every > 1:
            renewed = _td(fast, batch, policy.gamma)
            p[drawn] = priorities(renewed, batch.violation, batch.reward, replay)
    return PlainNight(fast, target, count, np.array(record).T)


def night_uniforms(state: LearnerState, t: int, n: int) -> NDArray[np.float64]:
    """What iteration t of this night draws with."""
    with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature)
        key = jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(state.key)), t)
        return np.asarray(jax.random.uniform(key, (n,), jnp.float64))


def f8(arrays: dict[str, NDArray[Any]]) -> Weights:
    """Weights in double precision."""
    return {name: value.astype(np.float64) for name, value in arrays.items()}


def rows_of(problem: ReplayProblem, rows: NDArray[np.integer[Any]]) -> ReplayProblem:
    """The problem of some of its rows."""
    whole = {"rule_weight", "quantifiers", "vector"}
    names = [f.name for f in dataclasses.fields(problem) if f.name not in whole]
    of = problem.vector
    return dataclasses.replace(
        problem,
        **{name: getattr(problem, name)[rows] for name in names},
        vector=of and dataclasses.replace(of, state=of.state[rows]),
    )


def _td(fast: Weights, problem: ReplayProblem, gamma: float) -> NDArray[np.float64]:
    """E7's delta, of either kind of action."""
    return (plain_vector_td if problem.vector else plain_td)(fast, fast, problem, gamma)


@dataclass(frozen=True)
class _Loss:
    """What a step at the weights `fast` descends; at weights v: that, L_total, SatAgg."""

    fast: Weights
    target: Weights
    batch: ReplayProblem
    w: NDArray[np.float64]
    policy: PolicySettings

    def __call__(self, v: Weights) -> tuple[float, float, float]:
        if self.batch.vector:
            return plain_vector_loss(v, self.fast, self.target, self.batch, self.w, self.policy)
        loss, sat = plain_loss(v, self.target, self.batch, self.w, self.policy)
        return loss, loss, sat


def plain_loss(
    weights: Weights, target: Weights, batch: ReplayProblem, w: NDArray[np.float64], policy: PolicySettings
) -> tuple[float, float]:
    """L_total and SatAgg of a batch."""
    following = plain_td(target, target, batch, policy.gamma) - plain_td(target, target, batch, 0.0)
    delta = plain_td(weights, weights, batch, 0.0) + following
    size = np.abs(delta)
    huber = np.where(size <= policy.huber, size**2 / 2, policy.huber * (size - policy.huber / 2))
    q = plain_forward(weights, batch.x) / policy.temperature
    share = np.exp(q) / np.exp(q).sum(axis=1, keepdims=True)
    truths = (batch.policy_truth * share[:, None, :]).sum(axis=2)
    forall = 1 - np.sqrt(((1 - (1 - 1e-4) * truths) ** 2).mean(axis=0))
    rule_share = batch.rule_weight / batch.rule_weight.sum()
    sat = float(1 - np.sqrt((rule_share * (1 - forall) ** 2).sum()))
    return float((w * huber).mean()) + policy.lambda_logic * (1 - sat), sat


def draw_rows(share: NDArray[np.float64], uniforms: NDArray[np.float64]) -> NDArray[np.intp]:
    """Inverse-CDF draws: the first row whose cumulative probability exceeds u, always one that has some."""
    cumulative = np.cumsum(share)
    below = np.minimum(uniforms * cumulative[-1], np.nextafter(cumulative[-1], 0))
    drawn: NDArray[np.intp] = np.searchsorted(cumulative, below, side="right")
    return drawn


def _draw(
    share: NDArray[np.float64],
    domain: NDArray[np.int32],
    uniforms: NDArray[np.float64],
    replay: ReplaySettings,
) -> NDArray[np.intp]:
    """Inverse CDF over the rows in their order; step by step, `domain_balanced` goes domain after domain."""
    if replay.strategy != "domain_balanced" or not is_by_domain(replay, len(share)):
        return draw_rows(share, uniforms)
    order = np.argsort(domain, kind="stable")
    return order[draw_rows(share[order], uniforms)]


def is_by_domain(replay: ReplaySettings, n: int) -> bool:
    """Whether such a night draws by `replay.law.sampler`, whose inverse CDF goes domain after domain."""
    return replay.refresh == "lazy" or n > replay.parallel_min_rows


def _slope(loss: Callable[[Weights], float], weights: Weights) -> Weights:
    """Central differences of a float64 loss."""
    slopes: Weights = {}
    for name, value in weights.items():
        slope = np.zeros_like(value)
        for at in np.ndindex(value.shape):
            sides = []
            for shift in (1e-6, -1e-6):
                moved = value.copy()
                moved[at] += shift
                sides.append(loss({**weights, name: moved}))
            slope[at] = (sides[0] - sides[1]) / 2e-6
        slopes[name] = slope
    return slopes
