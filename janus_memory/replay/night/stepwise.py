"""Replay step by step: sample, update, refresh (SPEC section 3), for nights that one compiled loop does not suit.

`replay_steps` samples; a `StepLearner` updates and says how wrong it is. Two modes: `exact` asks for the TD errors of
all rows before every batch; `lazy` asks every `refresh_every` steps and at the beginning of every chunk, and renews
the drawn rows after each step, with the updated online network. Nothing but the learner outlives a chunk, so a night
resumes from the learner's checkpoint. The laws are those of the compiled loop (`replay.night.swr`), in float64.

`learn` steps with the built-in network: above `replay.parallel_min_rows` rows, and for lazy nights; the TD errors of
all rows come from the night's workers. A user's own policy steps at any size (`replay.night.own`).
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

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

    F4 = NDArray[np.float32]
    I4 = NDArray[np.int32]

__all__ = ["Step", "StepLearner", "is_stepwise", "learn", "replay_steps"]


class Step(NamedTuple):
    """What an update of a batch looked like.

    Attributes:
        loss: of the batch, before the update.
        satisfaction: SatAgg of the policy on the batch before the update (1 without rules).
        td: TD errors of its rows after the update, float32 [B]; may be None where they were not asked for.
    """

    loss: float
    satisfaction: float
    td: F4 | None


class StepLearner(Protocol):
    """Who learns while `replay_steps` samples; it knows the night's rows."""

    def td_errors(self) -> F4:
        """TD errors of all rows under the present weights (E7); float32 [N]."""

    def update(self, rows: I4, weight: F4, *, ask_td: bool) -> Step:
        """Learn once from these rows.

        Args:
            rows: int32 [B].
            weight: their importance weights, float32 [B] (E11).
            ask_td: whether anybody reads their TD errors afterwards.
        """


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
    learner = _Network(state, problem, policy, refresh)
    chunk = replay_steps(learner, problem, replay, state.key, start, stop, total)
    fast, target, opt = to_arrays(learner.trained)
    after = replace(state, fast=fast, target=target, opt=opt, step=stop)
    check_end(after, chunk, start)
    return after, chunk


def replay_steps(  # noqa: PLR0917  (as `learn`)
    learner: StepLearner,
    problem: ReplayProblem,
    replay: ReplaySettings,
    key: NDArray[np.uint32],
    start: int,
    stop: int,
    total: int,
) -> ReplayChunk:
    """Let the learner replay iterations start..stop of a night of `total`; `key` is the night's.

    Raises:
        ReplayError: a TD error is not finite.
    """
    every = 1 if replay.refresh == "exact" else replay.refresh_every
    law = weighing(problem, replay)
    count, records = np.zeros(len(problem), np.int32), []
    for step in range(start, stop):
        renewing = (step - start) % every == 0
        if renewing:
            td = _finite(learner.td_errors(), step)
            law.renew_all(td)
        drawn = law.draw(_uniforms(key, step, replay.batch))
        if renewing:
            seen = float(np.abs(td).mean(dtype=np.float64)), law.effective_sample_size()
        # What the next step renews for all rows need not be known; the last step's tells whether learning diverged.
        ask_td = step + 1 == stop or (step + 1 - start) % every != 0
        done = learner.update(drawn, law.importance(beta_at(step, total, replay)), ask_td=ask_td)
        np.add.at(count, drawn, 1)
        records.append((done.loss, seen[0], done.satisfaction, seen[1]))
        if done.td is not None:
            law.renew(_finite(done.td, step))
    record = np.array(records, np.float32).reshape(-1, 4).T
    return ReplayChunk(
        loss=record[0],
        mean_abs_td=record[1],
        replay_count=count,
        satisfaction=record[2],
        effective_sample_size=record[3],
    )


class _Network:
    """The built-in network as a `StepLearner`; `trained` is what it has become."""

    def __init__(
        self,
        state: LearnerState,
        problem: ReplayProblem,
        policy: PolicySettings,
        refresh: Callable[[Arrays], F4],
    ) -> None:
        self.trained = to_device(state.fast, state.target, state.opt, policy)
        self._problem = problem
        self._policy = policy
        self._refresh = refresh

    def td_errors(self) -> F4:
        """Asked of whoever holds the rows."""
        return self._refresh(to_arrays(self.trained)[0])

    def update(self, rows: I4, weight: F4, *, ask_td: bool) -> Step:
        """One compiled training step, which has the TD errors anyway."""
        del ask_td
        batch = batch_of(self._problem, rows)
        self.trained, loss, satisfied, after = _step(self.trained, batch, weight, self._policy)
        return Step(float(loss), float(satisfied), np.asarray(after))


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
