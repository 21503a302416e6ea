"""Exact sharp-wave-ripple replay (E7 to E11): every priority is computed anew before every batch.

One iteration: TD errors of all rows with the online network, priorities, a batch drawn by inverse CDF,
importance weights annealed over the night, one Adam step on the weighted Huber loss (bootstrapped from
the target network) plus the logic loss, one Polyak step of the target. A chunk of iterations runs in one
compiled loop whose bounds are arguments: chunks of any length run the same machine code, so ten chunks
of 100 equal one of 1000 bit for bit. Equal bits in two processes need an equal number of compute threads
(`janus_memory.threads`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from janus_memory.errors import ReplayError
from janus_memory.policy.losses import bootstrap, td_error
from janus_memory.policy.networks import Weights, forward, n_actions_of, state_size_of
from janus_memory.policy.training import Batch, Trained, online_td, to_arrays, to_device, train_step
from janus_memory.replay.learner import LearnerState, begin_night, init_learner
from janus_memory.replay.priorities import priorities
from janus_memory.replay.problem import ReplayProblem, check_problem, distinct_states
from janus_memory.replay.sampling import draw, masses, shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.config import PolicySettings, ReplaySettings

__all__ = [
    "LearnerState",
    "ReplayChunk",
    "ReplayProblem",
    "begin_night",
    "init_learner",
    "learn",
    "priorities",
    "td_errors",
]

# Length of the compiled loop's record: a longer chunk calls the loop again.
_RECORD = 128


@dataclass(frozen=True, slots=True)
class ReplayChunk:
    """What a chunk of iterations looked like; never fed back.

    Attributes:
        loss: L_total of each iteration's batch, float32 [iterations].
        mean_abs_td: mean |delta| over all rows before each iteration's update, float32 [iterations].
        replay_count: how often each row was drawn in this chunk, int32 [N].
        satisfaction: SatAgg of the policy on each batch before the update (1 without rules), float32 [iterations].
        effective_sample_size: 1 / sum P(i)^2 over the buffer, float32 [iterations].
    """

    loss: NDArray[np.float32]
    mean_abs_td: NDArray[np.float32]
    replay_count: NDArray[np.int32]
    satisfaction: NDArray[np.float32]
    effective_sample_size: NDArray[np.float32]


class _Rows(NamedTuple):
    """The problem on the device: its columns, its distinct states and where each row's states lie in them."""

    x: jax.Array
    action: jax.Array
    reward: jax.Array
    next_x: jax.Array
    next_action: jax.Array
    done: jax.Array
    violation: jax.Array
    policy_truth: jax.Array
    rule_weight: jax.Array
    states: jax.Array
    here: jax.Array
    there: jax.Array


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
        ConfigError: vector actions.
        InsufficientData: no rows.
        ReplayError: rows that cannot be used, a chunk that does not begin where the learner stands, or
            training that left the finite numbers.
    """
    check_problem(problem, state_size_of(state.fast), n_actions_of(state.fast))
    if state.step != start or not start <= stop <= total:
        raise ReplayError(
            f"replay iterations {start}..{stop} of {total} were asked of a learner at iteration {state.step}; "
            "it is unchanged; resume from the checkpoint that belongs to it"
        )
    rows = _device_rows(problem)
    carry = _Carry(
        trained=to_device(state.fast, state.target, state.opt),
        replay_count=jnp.zeros(len(problem), jnp.int32),
        record=jnp.zeros((4, _RECORD), jnp.float32),
    )
    records = [np.zeros((4, 0), np.float32)]
    with jax.enable_x64(True):  # noqa: FBT003  (JAX's own signature; the cumulative sum is int64)
        for first in range(start, stop, _RECORD):
            last = min(first + _RECORD, stop)
            bounds = (np.int32(first), np.int32(last), np.int32(total))
            carry = _run(carry, rows, state.key, bounds, replay, policy)
            records.append(np.asarray(carry.record)[:, : last - first])
    record = np.concatenate(records, axis=1)
    after = _learner(carry, state, stop)
    _check_finite(after, record, start)
    chunk = ReplayChunk(
        loss=record[0],
        mean_abs_td=record[1],
        replay_count=np.asarray(carry.replay_count),
        satisfaction=record[2],
        effective_sample_size=record[3],
    )
    return after, chunk


def td_errors(
    state: LearnerState, problem: ReplayProblem, policy: PolicySettings, rows: slice
) -> NDArray[np.float32]:
    """TD errors delta of a block of rows with the online network (E7); float32, one per row of the block.

    Raises:
        ConfigError, InsufficientData, ReplayError: as `learn`.
    """
    block = ReplayProblem(
        x=problem.x[rows],
        action=problem.action[rows],
        reward=problem.reward[rows],
        next_x=problem.next_x[rows],
        next_action=problem.next_action[rows],
        done=problem.done[rows],
        violation=problem.violation[rows],
        policy_truth=problem.policy_truth[rows],
        rule_weight=problem.rule_weight,
    )
    check_problem(block, state_size_of(state.fast), n_actions_of(state.fast))
    columns = (
        block.x,
        block.action,
        block.reward,
        block.next_x,
        block.next_action,
        block.done,
        block.policy_truth,
        block.rule_weight,
    )
    fast = {name: jnp.asarray(value) for name, value in state.fast.items()}
    return np.asarray(_block_td(fast, Batch(*(jnp.asarray(column) for column in columns)), policy.gamma))


_block_td = jax.jit(online_td, static_argnames=("gamma",))


@functools.partial(jax.jit, static_argnames=("replay", "policy"))
def _run(  # noqa: PLR0917  (compiled once; called in one place)
    carry: _Carry,
    rows: _Rows,
    key: jax.Array,
    bounds: tuple[jax.Array, jax.Array, jax.Array],
    replay: ReplaySettings,
    policy: PolicySettings,
) -> _Carry:
    """Iterations first..last of total; record[:, t - first] describes iteration t."""
    first, last, total = bounds
    night = jax.random.wrap_key_data(key, impl="threefry2x32")

    def iteration(step: jax.Array, carry: _Carry) -> _Carry:
        td = _all_td(carry.trained.fast, rows, policy.gamma)
        mass = masses(_priorities(td, rows, replay), replay.alpha)
        share = shares(mass)
        key = jax.random.fold_in(night, step)
        drawn = draw(mass, jax.random.uniform(key, (replay.batch,), jnp.float64))
        weight = _weights(share, drawn, _beta(step, total, replay))
        trained, value, sat = train_step(carry.trained, _batch(rows, drawn), weight, policy)
        line = jnp.stack([value, jnp.mean(jnp.abs(td)), sat, 1 / jnp.sum(share * share)])
        return _Carry(
            trained=trained,
            replay_count=carry.replay_count.at[drawn].add(1),
            record=carry.record.at[:, step - first].set(line),
        )

    after: _Carry = jax.lax.fori_loop(first, last, iteration, carry)
    return after


def _all_td(fast: Weights, rows: _Rows, gamma: float) -> jax.Array:
    """TD error delta of every row with the online network (E7), each distinct state evaluated once; [N]."""
    q = forward(fast, rows.states)
    following = bootstrap(q[rows.there], rows.next_action, rows.done)
    return td_error(q[rows.here, rows.action], rows.reward, following, gamma)


def _priorities(td: jax.Array, rows: _Rows, replay: ReplaySettings) -> jax.Array:
    """E7 with its floor; [N]."""
    p = jnp.abs(td) + replay.lambda_logic * rows.violation + replay.lambda_reward * jnp.abs(rows.reward)
    return jnp.maximum(p, jnp.float32(replay.priority_floor))


def _beta(step: jax.Array, total: jax.Array, replay: ReplaySettings) -> jax.Array:
    """Beta of this iteration, linear over the night (E9)."""
    done = step.astype(jnp.float32) / jnp.maximum(total - 1, 1).astype(jnp.float32)
    return replay.beta_start + (replay.beta_end - replay.beta_start) * done


def _weights(share: jax.Array, drawn: jax.Array, beta: jax.Array) -> jax.Array:
    """w_i / max_j w_j of the drawn rows, the maximum over the buffer (E9, E10); [B]."""
    smallest = jnp.min(jnp.where(share > 0, share, jnp.inf))
    return (smallest / share[drawn]) ** beta


def _batch(rows: _Rows, drawn: jax.Array) -> Batch:
    return Batch(
        x=rows.x[drawn],
        action=rows.action[drawn],
        reward=rows.reward[drawn],
        next_x=rows.next_x[drawn],
        next_action=rows.next_action[drawn],
        done=rows.done[drawn],
        policy_truth=rows.policy_truth[drawn],
        rule_weight=rows.rule_weight,
    )


def _device_rows(problem: ReplayProblem) -> _Rows:
    states, here, there = distinct_states(problem)
    columns = (
        problem.x,
        problem.action,
        problem.reward,
        problem.next_x,
        problem.next_action,
        problem.done,
        problem.violation,
        problem.policy_truth,
        problem.rule_weight,
    )
    return _Rows(*(jnp.asarray(column) for column in (*columns, states, here, there)))


def _learner(carry: _Carry, before: LearnerState, step: int) -> LearnerState:
    """The carry as arrays of this process."""
    fast, target, opt = to_arrays(carry.trained)
    return replace(before, fast=fast, target=target, opt=opt, step=step)


def _check_finite(after: LearnerState, record: NDArray[np.float32], start: int) -> None:
    """Refuse a chunk whose training left the finite numbers; the learner given to `learn` still stands."""
    bad = ~np.isfinite(record).all(axis=0)
    if bad.any() or not all(np.isfinite(value).all() for value in after.fast.values()):
        at = start + int(bad.argmax()) if bad.any() else after.step
        raise ReplayError(
            f"training left the finite numbers at replay iteration {at}; the learner before this chunk is "
            "unchanged; lower policy.learning_rate, or look for extreme rewards in the night's report"
        )
