"""Optimisers by name: Adam as it was, every other one stored and resumed bit for bit."""

from __future__ import annotations

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from janus_memory.config import Optimiser, PolicySettings, ReplaySettings
from janus_memory.errors import CheckpointError, ConfigError
from janus_memory.policy.optimisers import init_optimiser, optimiser, state_arrays, state_from
from janus_memory.policy.training import to_arrays, to_device
from janus_memory.replay.night.learner import LearnerState, begin_night, init_learner, under_settings
from janus_memory.replay.night.swr import learn
from janus_memory.settings import settings_from
from janus_memory.store.arrays import Arrays, array_digest
from tests.unit.replay_rows import random_problem

_REPLAY = ReplaySettings(batch=8)
_ADAM = PolicySettings(hidden=(4,))


def _policy(name: Any) -> PolicySettings:
    return PolicySettings(hidden=(4,), optimiser=name)


def _learner(policy: PolicySettings) -> LearnerState:
    return begin_night(init_learner(3, 3, policy, 4), 5)


@pytest.mark.parametrize("name", get_args(Optimiser))
def test_every_optimiser_is_stored_and_resumed_bit_for_bit(name: Any) -> None:
    """Two steps, with the state as arrays in between, change the weights as two steps do; every weight moves."""
    policy, rng = _policy(name), np.random.default_rng(0)
    fast = {"w0": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32), "b0": jnp.zeros(2, jnp.float32)}
    slopes = [
        jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape), jnp.float32), fast) for _ in range(2)
    ]
    step, state = optimiser(policy), state_from(init_optimiser(fast, policy), fast, policy)
    _, state = step.update(slopes[0], state, fast)
    went_on, _ = step.update(slopes[1], state, fast)
    resumed, _ = step.update(slopes[1], state_from(state_arrays(state), fast, policy), fast)
    for at, change in went_on.items():
        assert np.asarray(change).tobytes() == np.asarray(resumed[at]).tobytes()
        assert np.asarray(change).all()


@pytest.mark.parametrize("name", ["sgd", "radam"])
def test_a_night_under_another_optimiser_resumes_bit_for_bit(name: str) -> None:
    """Cut in two and stored in between, it ends in the bytes of a whole one; so does one that keeps nothing."""
    policy, problem = _policy(name), random_problem(20)
    begun = _learner(policy)
    whole, _ = learn(begun, problem, _REPLAY, policy, 0, 4, 4)
    half, _ = learn(begun, problem, _REPLAY, policy, 0, 2, 4)
    half = LearnerState.restore({name: value.copy() for name, value in half.snapshot().items()})
    again, _ = learn(half, problem, _REPLAY, policy, 2, 4, 4)
    assert array_digest(again.snapshot()) == array_digest(whole.snapshot())
    assert all(not np.array_equal(value, begun.fast[at]) for at, value in whole.fast.items())


def test_the_settings_default_is_adam_with_the_names_it_always_had() -> None:
    """`count`, and `mu/...` and `nu/...` of the weights' names and shapes, all zero."""
    fast = _learner(_ADAM).fast
    opt = init_optimiser(fast, _ADAM)
    assert sorted(opt) == sorted(["count", *(f"{m}/{name}" for m in ("mu", "nu") for name in fast)])
    assert opt["count"].dtype == np.dtype(np.int32)
    assert opt["count"].shape == ()
    assert all(not value.any() for value in opt.values())
    assert opt["nu/w0"].shape == fast["w0"].shape


def test_plain_gradient_descent_is_what_its_name_says() -> None:
    """W <- W - rate * slope, and nothing to remember."""
    fast, policy = {"w0": jnp.array([1.0, 2.0])}, PolicySettings(optimiser="sgd", learning_rate=0.5)
    change, _ = optimiser(policy).update({"w0": jnp.array([0.2, -0.4])}, optimiser(policy).init(fast), fast)
    np.testing.assert_allclose(change["w0"], [-0.1, 0.2], rtol=1e-6)
    assert init_optimiser({"w0": np.ones(2, np.float32)}, policy) == {}


def test_states_go_to_the_device_and_back_unchanged() -> None:
    state = learn(_learner(_ADAM), random_problem(20), _REPLAY, _ADAM, 0, 2, 2)[0]
    fast, target, opt = to_arrays(to_device(state.fast, state.target, state.opt, _ADAM))
    assert array_digest({**fast, **opt}) == array_digest({**state.fast, **state.opt})
    assert array_digest(target) == array_digest(state.target)


def test_a_state_of_another_optimiser_is_refused_or_begun_afresh() -> None:
    """In the middle of a night it is refused; a new night begins with the weights and a new state."""
    state = _learner(_ADAM)
    with pytest.raises(CheckpointError, match="rmsprop needs"):
        to_device(state.fast, state.target, state.opt, _policy("rmsprop"))
    after = under_settings(state, _policy("rmsprop"))
    assert sorted(after.opt) == sorted(f"nu/{name}" for name in state.fast)
    assert array_digest(after.fast) == array_digest(state.fast)
    assert under_settings(after, _policy("rmsprop")) is after


def test_only_adams_kin_hand_their_states_on() -> None:
    """As docs/settings.md says: a count and two moments; every other two optimisers begin afresh after each other."""
    kin = {"adabelief", "adam", "adamw", "nadam", "radam"}
    state = _learner(_ADAM)
    for name in get_args(Optimiser):
        other = under_settings(state, _policy(name))
        assert (other is state) == (name in kin)
        for following in get_args(Optimiser):
            kept = under_settings(other, _policy(following)) is other
            assert kept == (name == following or {name, following} <= kin)


def test_a_name_that_is_not_on_the_list_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"policy\.optimiser = 'adm'"):
        settings_from(None, {}, ["policy.optimiser=adm"])


def test_no_optimiser_leaves_float32_under_64_bits() -> None:
    """The compiled night runs in JAX's 64-bit mode, whose constants must not widen what is learned."""
    fast: Arrays = {"w0": np.ones((2, 2), np.float32)}
    with jax.enable_x64(True):  # noqa: FBT003  (its only argument)
        for name in get_args(Optimiser):
            trained = to_device(fast, fast, init_optimiser(fast, _policy(name)), _policy(name))
            slope = {"w0": jnp.full((2, 2), 0.1, jnp.float32)}
            change, state = optimiser(_policy(name)).update(slope, trained.opt, trained.fast)
            kinds = {leaf.dtype.name for leaf in jax.tree.leaves((change, state))}
            assert kinds <= {"float32", "int32"}, name
