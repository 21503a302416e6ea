"""Exact sharp-wave-ripple replay (E7 to E11): every priority is computed anew before every batch.

One iteration: TD errors of all rows with the online network, priorities, a batch drawn by inverse CDF,
importance weights annealed over the night, one optimiser step on the weighted Huber loss (bootstrapped from
the target network) plus the logic loss, one Polyak step of the target. A chunk of iterations runs in one
compiled loop whose bounds are arguments: chunks of any length run the same machine code, so ten chunks
of 100 equal one of 1000 bit for bit. Equal bits in two processes need an equal number of compute threads
(`janus_memory.threads`).
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from janus_memory.policy.training import Batch, Trained, to_arrays, to_device, train_step
from janus_memory.replay.night.blocks import Block, batch_of, block_of, block_td
from janus_memory.replay.night.chunk import ReplayChunk, check_beginning, check_end
from janus_memory.replay.night.sampling import draw, masses, shares, uniforms

if TYPE_CHECKING:
    from janus_memory.config import PolicySettings, ReplaySettings
    from janus_memory.replay.night.learner import LearnerState
    from janus_memory.replay.night.problem import ReplayProblem

__all__ = ["learn"]

# Length of the compiled loop's record: a longer chunk calls the loop again.
_RECORD = 128


class _Rows(NamedTuple):
    """The problem on the device: what training takes, what a TD error takes, and what priorities and law add."""

    columns: Batch
    block: Block
    reward: jax.Array
    violation: jax.Array
    age: jax.Array
    domain: jax.Array


class _Carry(NamedTuple):
    """What one iteration hands to the next."""

    trained: Trained
    replay_count: jax.Array
    record: jax.Array


def learn(  # noqa: PLR0917  (the night's workers call it by position; one call site each)
    state: LearnerState,
    problem: ReplayProblem,
    replay: ReplaySettings,
    policy: PolicySettings,
    start: int,
    stop: int,
    total: int,
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

    Returns:
        The learner after `stop` iterations, and what happened.

    Raises:
        InsufficientData: no rows.
        ReplayError: rows that cannot be used, a chunk that does not begin where the learner stands, or
            training that left the finite numbers.
    """
    check_beginning(state, problem, start, stop, total)
    rows, n_domains = _device_rows(problem, replay), _n_domains(problem, replay)
    carry = _Carry(
        trained=to_device(state.fast, state.target, state.opt, policy),
        replay_count=jnp.zeros(len(problem), jnp.int32),
        record=jnp.zeros((4, _RECORD), jnp.float32),
    )
    records = [np.zeros((4, 0), np.float32)]
    with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature; the cumulative sum is int64)
        for first in range(start, stop, _RECORD):
            last = min(first + _RECORD, stop)
            bounds = (np.int32(first), np.int32(last), np.int32(total))
            carry = _run(carry, rows, state.key, bounds, n_domains, replay, policy)
            records.append(np.asarray(carry.record)[:, : last - first])
    record = np.concatenate(records, axis=1)
    after = _learner(carry, state, stop)
    chunk = ReplayChunk(
        loss=record[0],
        mean_abs_td=record[1],
        replay_count=np.asarray(carry.replay_count),
        satisfaction=record[2],
        effective_sample_size=record[3],
    )
    check_end(after, chunk, start)
    return after, chunk


@functools.partial(jax.jit, static_argnames=("n_domains", "replay", "policy"))
def _run(  # noqa: PLR0917  (compiled once; called in one place)
    carry: _Carry,
    rows: _Rows,
    key: jax.Array,
    bounds: tuple[jax.Array, jax.Array, jax.Array],
    n_domains: int,
    replay: ReplaySettings,
    policy: PolicySettings,
) -> _Carry:
    """Iterations first..last of total; record[:, t - first] describes iteration t."""
    first, last, total = bounds

    def iteration(step: jax.Array, carry: _Carry) -> _Carry:
        td = block_td(carry.trained.fast, rows.block, policy.gamma)
        p = _priorities(td, rows, replay)
        mass = masses(p, rows.age, rows.domain, n_domains, replay)
        share = shares(mass)
        drawn = draw(mass, uniforms(key, step, replay.batch))
        weight = _weights(share, drawn, _beta(step, total, replay), replay)
        trained, value, sat = train_step(carry.trained, rows.columns.take(drawn), weight, policy)
        line = jnp.stack([value, jnp.mean(jnp.abs(td)), sat, 1 / jnp.sum(share * share)])
        return _Carry(
            trained=trained,
            replay_count=carry.replay_count.at[drawn].add(1),
            record=carry.record.at[:, step - first].set(line),
        )

    after: _Carry = jax.lax.fori_loop(first, last, iteration, carry)
    return after


def _priorities(td: jax.Array, rows: _Rows, replay: ReplaySettings) -> jax.Array:
    """E7 with its floor; [N]."""
    p = jnp.abs(td) + replay.lambda_logic * rows.violation + replay.lambda_reward * jnp.abs(rows.reward)
    return jnp.maximum(p, jnp.float32(replay.priority_floor))


def _beta(step: jax.Array, total: jax.Array, replay: ReplaySettings) -> jax.Array:
    """Beta of this iteration, linear over the night (E9)."""
    done = step.astype(jnp.float32) / jnp.maximum(total - 1, 1).astype(jnp.float32)
    return replay.beta_start + (replay.beta_end - replay.beta_start) * done


def _weights(share: jax.Array, drawn: jax.Array, beta: jax.Array, replay: ReplaySettings) -> jax.Array:
    """(1 / (N P))^beta of the drawn rows, over the largest of the batch or of the buffer (E9, E10); [B]."""
    drawn_share = share[drawn]
    if replay.normalise == "none":
        return (1 / (len(share) * drawn_share)) ** beta
    reachable = drawn_share if replay.normalise == "batch" else jnp.where(share > 0, share, jnp.inf)
    return (reachable.min() / drawn_share) ** beta


def _device_rows(problem: ReplayProblem, replay: ReplaySettings) -> _Rows:
    age_s = (problem.timestamp.max() - problem.timestamp) / 1e9
    return _Rows(
        columns=batch_of(problem, slice(None)),
        block=block_of(problem, slice(None)),
        reward=jnp.asarray(problem.reward),
        violation=jnp.asarray(problem.violation),
        age=jnp.asarray((age_s / replay.half_life_s).astype(np.float32)),
        domain=jnp.asarray(problem.domain),
    )


def _n_domains(problem: ReplayProblem, replay: ReplaySettings) -> int:
    """How many domains the law knows; 1 where it does not look at them, so that the loop compiles once."""
    return int(problem.domain.max()) + 1 if replay.strategy == "domain_balanced" else 1


def _learner(carry: _Carry, before: LearnerState, step: int) -> LearnerState:
    """The carry as arrays of this process."""
    fast, target, opt = to_arrays(carry.trained)
    return replace(before, fast=fast, target=target, opt=opt, step=step)
