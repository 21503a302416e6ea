"""Replay step by step: sample, update, refresh (SPEC section 3), for nights that one compiled loop does not suit.

The caller of `learn` samples and updates; TD errors of all rows come from `refresh`, behind which the night's
workers stand. Two modes: `exact` asks for all of them before every batch (more rows than
`replay.parallel_min_rows`); `lazy` asks every `refresh_every` steps and at the beginning of every chunk, and renews
the drawn rows after each step, with the updated online network. Nothing but the learner outlives a chunk, so a night
resumes from the learner's checkpoint. The laws are those of the compiled loop (`replay.night.swr`), in float64.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import numpy as np

from janus_memory.policy.training import online_td, to_arrays, to_device, train_step
from janus_memory.replay.night.blocks import batch_of
from janus_memory.replay.night.chunk import ReplayChunk, check_beginning, check_end, diverged
from janus_memory.replay.night.sampling import uniforms
from janus_memory.replay.night.weighing import weighing
from janus_memory.replay.priorities import beta_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from janus_memory.config import PolicySettings, ReplaySettings
    from janus_memory.policy.training import Batch, Trained
    from janus_memory.replay.night.learner import LearnerState
    from janus_memory.replay.night.problem import ReplayProblem
    from janus_memory.store.arrays import Arrays

__all__ = ["is_stepwise", "learn"]


def is_stepwise(replay: ReplaySettings, n_rows: int) -> bool:
    """Whether a night of so many rows is replayed step by step; size and settings decide, never the executor."""
    return replay.refresh == "lazy" or n_rows > replay.parallel_min_rows


def learn(  # noqa: PLR0917  (as `swr.learn`, and who answers for the rows)
    state: LearnerState,
    problem: ReplayProblem,
    replay: ReplaySettings,
    policy: PolicySettings,
    start: int,
    stop: int,
    total: int,
    refresh: Callable[[Arrays], NDArray[np.float32]],
) -> tuple[LearnerState, ReplayChunk]:
    """Replay iterations start..stop of a night of `total` (phase 1).

    Args:
        state: the learner after `start` iterations of this night.
        problem: the night's rows; the same in every chunk.
        replay: sampling settings.
        policy: settings of the network and its losses.
        start: first iteration of the chunk, 0 <= start <= stop.
        stop: iteration before which the chunk ends, at most `total`.
        total: iterations of the whole night, over which beta is annealed.
        refresh: TD errors of all rows under the given online weights, float32 [N].

    Returns:
        The learner after `stop` iterations, and what happened.

    Raises:
        ConfigError, InsufficientData, ReplayError: as `swr.learn`.
    """
    check_beginning(state, problem, start, stop, total)
    every = 1 if replay.refresh == "exact" else replay.refresh_every
    trained, law = to_device(state.fast, state.target, state.opt), weighing(problem, replay)
    count, records = np.zeros(len(problem), np.int32), []
    for step in range(start, stop):
        renewing = (step - start) % every == 0
        if renewing:
            td = _finite(refresh(to_arrays(trained)[0]), step)
            law.renew_all(td)
        drawn = law.draw(_uniforms(state.key, step, replay.batch))
        if renewing:
            seen = float(np.abs(td).mean(dtype=np.float64)), law.effective_sample_size()
        weight = law.importance(beta_at(step, total, replay))
        trained, loss, satisfied, after = _step(trained, batch_of(problem, drawn), weight, policy)
        np.add.at(count, drawn, 1)
        records.append((float(loss), seen[0], float(satisfied), seen[1]))
        law.renew(_finite(np.asarray(after), step))
    record = np.array(records, np.float32).reshape(-1, 4).T
    chunk = ReplayChunk(
        loss=record[0],
        mean_abs_td=record[1],
        replay_count=count,
        satisfaction=record[2],
        effective_sample_size=record[3],
    )
    fast, target, opt = to_arrays(trained)
    learner = replace(state, fast=fast, target=target, opt=opt, step=stop)
    check_end(learner, chunk, start)
    return learner, chunk


@functools.partial(jax.jit, static_argnames=("policy",))
def _step(
    trained: Trained, batch: Batch, weight: jax.Array, policy: PolicySettings
) -> tuple[Trained, jax.Array, jax.Array, jax.Array]:
    """After the step; loss and satisfaction before it; the batch's TD errors under the updated online network."""
    after, loss, satisfied = train_step(trained, batch, weight, policy)
    return after, loss, satisfied, online_td(after.fast, batch, policy.gamma)


def _finite(td: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    if not np.isfinite(td).all():
        raise diverged(step)
    return td


def _uniforms(key: NDArray[np.uint32], step: int, n: int) -> NDArray[np.float64]:
    with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature; the draws are float64)
        return np.asarray(_drawn(key, np.int32(step), n))


_drawn = jax.jit(uniforms, static_argnames=("n",))
