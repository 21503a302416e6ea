"""One compiled call for judgements, priorities and sums gives the bytes of the steps one by one."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.config import ReplaySettings, Strategy
from janus_memory.errors import ReplayError
from janus_memory.replay.law.laws import LARGEST_PRIORITY
from janus_memory.replay.store.passes import judge
from janus_memory.replay.store.revising import Revising
from tests.unit.replay_parts import N, Parts, make_parts, same

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
LAW = (2.0, 0.5)
Batch = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any] | None]
ENTRIES = st.lists(
    st.tuples(
        st.integers(0, N - 1),
        st.integers(1, 2),
        st.floats(-65536, 65536, width=32),
        st.floats(0, 1, width=32),
    ),
    max_size=40,
)


def columns_of(entries: list[tuple[int, int, float, float]]) -> tuple[NDArray[Any], ...]:
    kinds = (np.int32, np.uint32, np.float32, np.float32)
    return tuple(np.array([entry[i] for entry in entries], kind) for i, kind in enumerate(kinds))


def by_steps(parts: Parts, batch: Batch) -> tuple[NDArray[Any], NDArray[Any]]:
    """The same in numpy."""
    kept, p = judge(parts.judged, *batch, N, (*LAW, 0.3))
    parts.sampler.reprioritize(kept, p)
    return kept, p


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=25)
@given(turns=st.lists(ENTRIES, min_size=1, max_size=4), given_violation=st.booleans())
def test_one_call_gives_the_bytes_of_the_steps(
    strategy: Strategy, turns: list[list[tuple[int, int, float, float]]], given_violation: bool
) -> None:
    """Stale rows and rows that occur twice among them: judgements, the law and what it sums up."""
    parts, other = make_parts(strategy), make_parts(strategy, backend="numpy")
    struct = Revising(parts.held())
    for entries in turns:
        slots, generations, td, violation = columns_of(entries)
        batch: Batch = (slots, generations, td, violation if given_violation else None)
        kept, p, calm = struct.batch(*batch, N, (*LAW, 0.3, parts.sampler.exponent))
        assert calm
        assert same((kept, p), by_steps(other, batch))
        assert same(parts.judged, other.judged)
    one, two = parts.sampler.snapshot(), other.sampler.snapshot()
    assert same([one[name] for name in one], [two[name] for name in one])
    assert parts.sampler.max_priority() == other.sampler.max_priority()
    uniforms = np.random.default_rng(0).random(200)
    assert same([parts.sampler.draw(uniforms)], [other.sampler.draw(uniforms)])


@pytest.mark.parametrize("strategy", ["prioritized_loss", "prioritized_recency", "domain_balanced"])
def test_a_group_without_a_positive_priority_asks_to_be_settled(strategy: Strategy) -> None:
    """Its masses are then relative to something else, which the call does not know; one zero among others is nothing."""
    parts = make_parts(strategy, floor=0.0)
    parts.judged.violation[:] = 0
    law = (0.0, 0.0, 0.0, parts.sampler.exponent)
    group = np.flatnonzero(np.arange(N) % 3 == 1) if strategy == "domain_balanced" else np.arange(N)
    for slots, expected in ((group[:1], True), (group, False)):
        at = slots.astype(np.int32)
        zeros = np.zeros(len(at), np.float32)
        assert (
            Revising(parts.held()).batch(at, parts.source.generation[at], zeros, None, N, law)[2] is expected
        )
    assert parts.sampler.ordinary
    parts.sampler.settle()
    assert not parts.sampler.ordinary


def test_a_law_that_sinks_below_its_reference_asks_to_be_settled() -> None:
    """Only the entry 500 half-lives ago still has a priority."""
    parts = make_parts("prioritized_recency", floor=0.0)
    late = np.arange(1, N, dtype=np.int32)
    age = np.full(N - 1, 500 * ReplaySettings().half_life_s * 1e9).astype(np.int64)
    parts.sampler.write(late, np.ones(N - 1), late, age)
    zeros = np.zeros(N - 1, np.float32)
    law = (0.0, 0.0, 0.0, parts.sampler.exponent)
    parts.sampler.reprioritize(np.zeros(1, np.int32), np.array([1e-150]))
    assert not Revising(parts.held()).batch(late, parts.source.generation[1:], zeros, None, N, law)[2]
    parts.sampler.settle()
    assert parts.sampler.probabilities()[0] == 1.0


@pytest.mark.parametrize(
    ("slot", "td", "violation", "match"),
    [
        (3, np.nan, None, "TD error nan in row 1"),
        (3, -np.inf, None, "TD error -inf in row 1"),
        (N, 0.0, None, f"slot {N} of {N} held in row 1"),
        (-1, 0.0, None, "slot -1 "),
        (3, 0.0, 1.5, r"violation 1\.5 outside"),
        (3, 0.0, np.nan, "violation nan outside"),
        (3, 1e38, None, "priority above 1e\\+150 in row 1"),
    ],
)
@pytest.mark.parametrize("compiled", [True, False])
def test_a_judgement_with_one_bad_entry_changes_nothing(
    compiled: bool,
    slot: int,
    td: float,
    violation: float | None,
    match: str,
) -> None:
    """The entries before the bad one are not written either."""
    parts, untouched = make_parts("prioritized_loss"), make_parts("prioritized_loss")
    parts.judged.generation[:] = untouched.judged.generation[:] = 1
    law = (2.0, LARGEST_PRIORITY, 0.3) if td == 1e38 else (*LAW, 0.3)
    parts.judged.reward[3] = untouched.judged.reward[3] = 3.0
    parts.judged.reward[[2, 4]] = untouched.judged.reward[[2, 4]] = 0.0
    batch = (np.array([2, slot, 4], np.int32), np.ones(3, np.uint32), np.array([1, td, 1], np.float32))
    v = None if violation is None else np.array([0, violation, 0], np.float32)

    def refused() -> None:
        if compiled:
            Revising(parts.held()).batch(*batch, v, N, (*law, 0.6))
        else:
            judge(parts.judged, *batch, v, N, law)

    with pytest.raises(ReplayError, match=match):
        refused()
    assert same(parts.judged, untouched.judged)
    assert parts.sampler.probabilities().tobytes() == untouched.sampler.probabilities().tobytes()
