"""The sampler against its oracle: the law of each strategy, drawn from by a plain float64 cumulative sum."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_memory.config import ReplaySettings, Strategy
from janus_memory.errors import ConfigError, ReplayError
from janus_memory.replay.law.laws import LARGEST_PRIORITY, importance_weights
from janus_memory.replay.law.sampler import Sampler
from janus_memory.replay.law.sum_tree import Backend
from tests.unit.replay_oracle import DAY, Entries, boundary_uniforms, random_entries, write, wrong_draws

_STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
_BACKENDS: tuple[Backend, ...] = get_args(Backend)
# 0, the largest float64 below 1, and what lies between.
_EDGES = np.array([0.0, 5e-324, 2.0**-53, 0.5, 1 - 2.0**-53])

strategies = pytest.mark.parametrize("strategy", _STRATEGIES)
backends = pytest.mark.parametrize("backend", _BACKENDS)


def _settings(strategy: Strategy, **changes: Any) -> ReplaySettings:
    return msgspec.structs.replace(ReplaySettings(strategy=strategy), **changes)


def _filled(settings: ReplaySettings, entries: Entries, backend: Backend = "numba") -> Sampler:
    sampler = Sampler(len(entries.priority), settings, backend)
    write(sampler, np.arange(len(entries.priority), dtype=np.int32), entries)
    return sampler


def _simple(n: int, priority: float | list[float] = 1.0) -> Entries:
    return Entries(np.full(n, 1.0) * priority, np.zeros(n, np.int32), np.zeros(n, np.int64))


@strategies
@backends
@pytest.mark.parametrize("n", [1, 2, 255, 10_000])
def test_draws_equal_a_cumulative_sum_of_the_law_after_updates(
    strategy: Strategy, backend: Backend, n: int
) -> None:
    """After overwrites and updates over twelve orders of magnitude, slots drawn twice in a batch included."""
    rng = np.random.default_rng(n)
    replay = _settings(strategy)
    entries = random_entries(rng, n)
    sampler = _filled(replay, entries, backend)
    for _ in range(20):
        slots = rng.integers(0, n, 256).astype(np.int32)
        rows = random_entries(rng, 256)
        write(sampler, slots, rows)
        entries.put(slots, rows)
        slots = rng.integers(0, n, 256).astype(np.int32)
        priority = 10 ** rng.uniform(-6, 6, 256)
        sampler.reprioritize(slots, priority)
        entries.priority[slots] = priority
    uniforms = np.concatenate([_EDGES, rng.random(5_000)])
    share = entries.law(replay)
    drawn = sampler.draw(uniforms)
    assert sorted(sampler.order()) == list(range(n))
    assert wrong_draws(share, sampler.order(), uniforms, drawn) == 0
    np.testing.assert_allclose(sampler.probabilities(), share, rtol=1e-12)
    assert sampler.probability(drawn).tobytes() == sampler.probabilities()[drawn].tobytes()
    assert sampler.max_priority() == entries.priority.max()
    assert sampler.min_probability() == pytest.approx(share.min(), rel=1e-12)
    assert sampler.effective_sample_size() == pytest.approx(1 / (share**2).sum(), rel=1e-9)


_CALLS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 40), st.sampled_from([0.0, 1e-6, 1.0])), min_size=1, max_size=12
)


@strategies
@given(n=st.sampled_from([1, 2, 37, 300]), calls=_CALLS, seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=25)
def test_both_backends_have_the_same_bits(
    strategy: Strategy, n: int, calls: list[tuple[bool, int, float]], seed: int
) -> None:
    """Whatever is written, in part or whole zero, probabilities, draws and snapshots are equal to the last bit."""
    rng = np.random.default_rng(seed)
    samplers = [Sampler(n, _settings(strategy), backend) for backend in _BACKENDS]
    for fresh, k, scale in calls:
        size = len(samplers[0])
        rows = random_entries(rng, min(k, n))
        rows.priority *= scale
        slots = (np.arange(len(rows.priority)) + size) % n if fresh or not size else rng.integers(0, size, k)
        for sampler in samplers:
            if fresh or not size:
                write(sampler, slots.astype(np.int32), rows)
            else:
                sampler.reprioritize(slots.astype(np.int32), np.resize(rows.priority, k))
        uniforms = np.concatenate([_EDGES, rng.random(20)])
        first, second = (sampler.draw(uniforms) for sampler in samplers)
        assert first.tobytes() == second.tobytes()
        assert (first < len(samplers[0])).all()
        one, other = (sampler.snapshot() for sampler in samplers)
        assert {name: a.tobytes() for name, a in one.items()} == {
            name: a.tobytes() for name, a in other.items()
        }
        assert samplers[0].probabilities().tobytes() == samplers[1].probabilities().tobytes()


@strategies
@backends
def test_all_zero_priorities_and_back(strategy: Strategy, backend: Backend) -> None:
    """Zeros for all are drawn by what else the law says; one positive priority ends that, its loss restores it."""
    replay = _settings(strategy)
    entries = random_entries(np.random.default_rng(3), 40)
    sampler = _filled(replay, entries, backend)
    uniforms = np.random.default_rng(4).random(500)
    for value in (0.0, 2.0, 0.0):
        for slots in (np.array([11], np.int32), np.arange(40, dtype=np.int32)):
            at = slots if value == 0 else slots[:1]
            entries.priority[at] = value
            sampler.reprioritize(at, np.full(len(at), value))
            share = entries.law(replay)
            np.testing.assert_allclose(sampler.probabilities(), share, rtol=1e-12)
            assert wrong_draws(share, sampler.order(), uniforms, sampler.draw(uniforms)) == 0
            assert sampler.max_priority() == entries.priority.max()


@strategies
@backends
@pytest.mark.parametrize("u", _EDGES.tolist())
def test_nothing_outside_the_entries_is_drawn(strategy: Strategy, backend: Backend, u: float) -> None:
    """A third of 50 slots hold entries, the last of them zeros: the ends of [0, 1) draw entries with mass."""
    entries = _simple(17)
    entries.priority[:] = [0.0] * 3 + [0.1] * 11 + [0.0] * 3
    sampler = Sampler(50, _settings(strategy), backend)
    write(sampler, np.arange(17, dtype=np.int32), entries)
    slot = int(sampler.draw(np.array([u]))[0])
    assert sampler.probability(np.array([slot], np.int32))[0] > 0
    assert 0 <= slot < 17


@strategies
@backends
def test_at_the_boundaries_no_entry_without_probability_is_drawn(
    strategy: Strategy, backend: Backend
) -> None:
    """Two thirds of the slots hold entries, each block ends in zeros: uniforms beside every boundary."""
    rng = np.random.default_rng(10)
    replay = _settings(strategy)
    entries = random_entries(rng, 667)
    entries.priority[np.arange(667) % 16 > 10] = 0.0
    sampler = Sampler(1_000, replay, backend)
    write(sampler, np.arange(667, dtype=np.int32), entries)
    share, order = entries.law(replay), sampler.order()
    uniforms = boundary_uniforms(share, order)
    drawn = sampler.draw(uniforms)
    assert (share[drawn] > 0).all()
    assert wrong_draws(share, order, uniforms, drawn) == 0


@pytest.mark.parametrize("strategy", ["prioritized_loss", "domain_balanced"])
@backends
def test_a_target_that_rounds_to_its_blocks_sum_stays_inside(strategy: Strategy, backend: Backend) -> None:
    """Block 0 holds 1.5 e, block 1 holds v = 1 + 2 e, then zeros: u lands on 1 + 3 e, less 1.5 e rounds to v."""
    e = 2.0**-52
    entries = _simple(32, 0.0)
    entries.priority[[0, 16]] = [1.5 * e, 1 + 2 * e]
    sampler = _filled(_settings(strategy, alpha=1.0), entries, backend)
    assert sampler.draw(np.array([1 - e])).tolist() == [16]


@strategies
@given(seed=st.integers(0, 2**32), low=st.floats(-320, 150), span=st.floats(0, 300))
@settings(deadline=None, max_examples=30)
def test_the_last_uniform_never_leaves_the_buffer(
    strategy: Strategy, seed: int, low: float, span: float
) -> None:
    """Over the whole range of float64, subnormals included, u just below 1 draws an entry of positive P."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 300))
    entries = random_entries(rng, n)
    entries.priority = 10 ** rng.uniform(low, min(low + span, 150), n) * (rng.random(n) < 0.7)
    sampler = Sampler(400, _settings(strategy, alpha=1.0), "numba")
    write(sampler, np.arange(n, dtype=np.int32), entries)
    drawn = sampler.draw(_EDGES)
    assert (drawn < n).all()
    assert (sampler.probability(drawn) > 0).all()


@strategies
@backends
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-9, 2 * LARGEST_PRIORITY])
def test_refused_priorities_change_nothing(strategy: Strategy, backend: Backend, bad: float) -> None:
    """A NaN, infinite, negative or huge priority among good ones is refused by name, by write and by update."""
    sampler = _filled(_settings(strategy), _simple(5), backend)
    before = {name: a.tobytes() for name, a in sampler.snapshot().items()}
    slots = np.arange(3, dtype=np.int32)
    with pytest.raises(ReplayError, match="entry 1 has slot 1 and priority"):
        sampler.reprioritize(slots, np.array([2.0, bad, 2.0]))
    with pytest.raises(ReplayError, match="entry 1 has slot 1 and priority"):
        write(sampler, slots, _simple(3, [2.0, bad, 2.0]))
    assert {name: a.tobytes() for name, a in sampler.snapshot().items()} == before


@backends
def test_refused_slots_domains_and_uniforms(backend: Backend) -> None:
    """Outside the buffer, outside the entries, beyond the next empty slot; a negative domain; u = 1, NaN, none."""
    sampler = Sampler(5, _settings("domain_balanced"), backend)
    with pytest.raises(ReplayError, match="empty buffer"):
        sampler.draw(np.array([0.5]))
    assert (sampler.max_priority(), sampler.min_probability()) == (1.0, np.inf)
    write(sampler, np.array([0, 1], np.int32), _simple(2))
    for slot in (-1, 5):
        with pytest.raises(ReplayError, match=r"slots are 0\.\.4"):
            write(sampler, np.array([slot], np.int32), _simple(1))
    with pytest.raises(ReplayError, match=r"slots are 0\.\.1"):
        sampler.reprioritize(np.array([2], np.int32), np.ones(1))
    with pytest.raises(ReplayError, match="fill in order"):
        write(sampler, np.array([3], np.int32), _simple(1))
    with pytest.raises(ReplayError, match="domain code -1"):
        write(
            sampler,
            np.array([2], np.int32),
            Entries(np.ones(1), np.array([-1], np.int32), np.zeros(1, np.int64)),
        )
    for u in (1.0, np.nan, -1e-300):
        with pytest.raises(ReplayError, match=r"\[0, 1\)"):
            sampler.draw(np.array([0.5, u]))
    assert len(sampler) == 2
    assert sampler.draw(np.zeros(0)).tolist() == []


def test_undefined_settings_are_refused() -> None:
    """No slots, an alpha outside [0, 1], no half-life."""
    for capacity, changes in ((0, {}), (5, {"alpha": 1.5}), (5, {"half_life_s": 0.0})):
        with pytest.raises(ConfigError, match="not defined"):
            Sampler(capacity, _settings("uniform", **changes))


@strategies
def test_weighted_estimates_are_unbiased(strategy: Strategy) -> None:
    """With beta 1 and no normalisation the weighted mean of draws is the buffer's mean, within one per cent."""
    rng = np.random.default_rng(8)
    entries = random_entries(rng, 500)
    entries.priority = rng.pareto(3.0, 500) + 0.1
    entries.timestamp //= 10
    sampler = _filled(_settings(strategy), entries)
    value = 1 + entries.priority + entries.domain
    drawn = sampler.draw((np.arange(400_000) + rng.random(400_000)) / 400_000)
    weight = importance_weights(sampler.probability(drawn), 500, 1.0, "none", np.inf)
    assert np.mean(weight * value[drawn]) == pytest.approx(value.mean(), rel=0.01)


@backends
def test_recency_over_years_of_market_time(backend: Backend) -> None:
    """A ring over 300 years of days with a half-life of one: the oracle holds, whatever the reference time was."""
    replay = _settings("prioritized_recency")
    rng = np.random.default_rng(6)
    entries = random_entries(rng, 64)
    sampler = _filled(replay, entries, backend)
    uniforms = rng.random(300)
    for step in range(100):
        slots = ((np.arange(16) + 16 * step) % 64).astype(np.int32)
        rows = random_entries(rng, 16)
        rows.timestamp += (step * 1_000 % 100_000) * DAY
        write(sampler, slots, rows)
        entries.put(slots, rows)
        share = entries.law(replay)
        assert wrong_draws(share, sampler.order(), uniforms, sampler.draw(uniforms)) == 0
        np.testing.assert_allclose(sampler.probabilities(), share, rtol=1e-12, atol=1e-150)


def test_recency_comes_back_when_the_newest_entries_are_overwritten_by_old_ones() -> None:
    """One entry 3 000 half-lives ahead silences the others; without it, or at priority 0, they are drawn again."""
    replay = _settings("prioritized_recency", alpha=1.0)
    entries = Entries(np.array([1.0, 3.0, 5.0]), np.zeros(3, np.int32), np.array([0, 0, 3_000 * DAY]))
    sampler = _filled(replay, entries)
    assert sampler.probabilities().tolist() == [0, 0, 1]
    sampler.reprioritize(np.array([2], np.int32), np.zeros(1))
    assert sampler.probabilities().tolist() == [0.25, 0.75, 0]
    sampler.reprioritize(np.array([2], np.int32), np.full(1, 1e-9))
    assert sampler.probabilities().tolist() == [0, 0, 1]
    write(
        sampler,
        np.array([2], np.int32),
        Entries(np.ones(1) * 4, np.zeros(1, np.int32), np.zeros(1, np.int64)),
    )
    assert sampler.probabilities().tolist() == [0.125, 0.375, 0.5]


def test_masses_do_not_change_as_time_passes() -> None:
    """New entries leave the masses of the old ones as they are, to the last bit; only an overflow moves them."""
    sampler = Sampler(20, _settings("prioritized_recency"))
    masses = []
    for day in range(20):
        rows = Entries(np.array([1.0 + day]), np.zeros(1, np.int32), np.array([20 * day * DAY + 7]))
        write(sampler, np.array([day], np.int32), rows)
        masses.append(sampler.snapshot()["mass"])
        for earlier, later in itertools.pairwise(masses):
            assert later[: len(earlier)].tobytes() == earlier.tobytes()


@strategies
@backends
def test_snapshot_then_restore_is_the_identity(strategy: Strategy, backend: Backend) -> None:
    """Half full, after updates and a move of the reference time: equal bytes, draws and later behaviour."""
    rng = np.random.default_rng(9)
    replay = _settings(strategy)
    sampler = Sampler(60, replay, backend)
    write(sampler, np.arange(35, dtype=np.int32), random_entries(rng, 35))
    late = random_entries(rng, 3)
    late.timestamp += 500 * DAY
    write(sampler, np.array([35, 36, 2], np.int32), late)
    late.timestamp += 10 * DAY
    write(sampler, np.array([3, 4, 5], np.int32), late)
    sampler.reprioritize(np.array([1, 36], np.int32), np.array([3.0, 0.0]))
    again = Sampler.restore(60, replay, sampler.snapshot(), backend)
    more = random_entries(rng, 9)
    uniforms = rng.random(500)
    for _ in range(2):
        assert len(again) == len(sampler)
        assert again.draw(uniforms).tobytes() == sampler.draw(uniforms).tobytes()
        one, other = sampler.snapshot(), again.snapshot()
        assert {name: a.tobytes() for name, a in one.items()} == {
            name: a.tobytes() for name, a in other.items()
        }
        assert again.probabilities().tobytes() == sampler.probabilities().tobytes()
        for s in (sampler, again):
            write(s, np.arange(33, 42, dtype=np.int32), dataclasses.replace(more))


@strategies
@backends
def test_zeros_stay_equally_likely_in_a_restored_sampler(strategy: Strategy, backend: Backend) -> None:
    """Where all priorities are zero an entry that is given zero again keeps its share (`laws.law`)."""
    sampler = _filled(_settings(strategy), _simple(4, 0.0), backend)
    again = Sampler.restore(4, _settings(strategy), sampler.snapshot(), backend)
    again.reprioritize(np.array([1, 2], np.int32), np.zeros(2))
    assert again.probabilities().tolist() == [0.25] * 4


@pytest.mark.parametrize(("name", "bad"), [("group", -1), ("priority", np.nan)])
def test_a_snapshot_that_is_none_is_refused(name: str, bad: float) -> None:
    """A domain or a priority that no sampler has; compiled code sees neither."""
    arrays = _filled(_settings("domain_balanced"), _simple(3)).snapshot()
    arrays[name] = np.full(3, bad, arrays[name].dtype)
    with pytest.raises(ReplayError, match="the sampler is unchanged"):
        Sampler.restore(3, _settings("domain_balanced"), arrays)


def test_an_empty_sampler_can_be_stored() -> None:
    """Snapshot and restore of nothing is nothing; writes and updates of nothing change nothing."""
    again = Sampler.restore(
        3, _settings("domain_balanced"), Sampler(3, _settings("domain_balanced")).snapshot()
    )
    write(again, np.zeros(0, np.int32), _simple(0))
    again.reprioritize(np.zeros(0, np.int32), np.zeros(0))
    assert (len(again), again.effective_sample_size(), again.probabilities().tolist()) == (0, 0.0, [])


@backends
def test_a_domain_that_leaves_and_returns(backend: Backend) -> None:
    """Shares follow the domains present; codes far apart and new ones are taken as they come."""
    replay = _settings("domain_balanced", alpha=1.0)
    sampler = Sampler(3, replay, backend)
    for domains, expected in (
        ([0, 5, 5], [0.5, 0.125, 0.375]),
        ([5, 5, 5], [0.2, 0.2, 0.6]),
        ([9, 5, 0], [1 / 3, 1 / 3, 1 / 3]),
        ([40, 5, 40], [0.125, 0.5, 0.375]),
    ):
        p = np.array([1.0, 1.0, 3.0])
        write(
            sampler,
            np.arange(3, dtype=np.int32),
            Entries(p, np.array(domains, np.int32), np.zeros(3, np.int64)),
        )
        np.testing.assert_allclose(sampler.probabilities(), expected, rtol=1e-15)
