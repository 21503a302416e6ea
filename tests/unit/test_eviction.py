"""Every kind of eviction against a list of rows that is searched from end to end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.config import Eviction
from janus_memory.errors import CheckpointError, ReplayError
from janus_memory.replay.store.eviction import Evictor
from janus_memory.store.arrays import array_digest

KINDS: tuple[Eviction, ...] = get_args(Eviction)
PRIORITIES = st.sampled_from([0.0, -0.0, 1e-12, 0.5, 1.0, 1e12])


@dataclass
class Row:
    """What the model knows of a row held."""

    slot: int
    arrival: int
    priority: float
    timestamp: int
    domain: int


@dataclass
class Model:
    """The definition, word by word."""

    kind: Eviction
    capacity: int
    rng: np.random.Generator
    rows: list[Row] = field(default_factory=list)
    arrived: int = 0

    def victim(self) -> Row:
        """The row that leaves a full store."""
        rows = self.rows
        if self.kind == "fifo":
            return min(rows, key=lambda r: r.arrival)
        if self.kind == "lowest_priority":
            return min(rows, key=lambda r: (r.priority, r.arrival))
        if self.kind == "oldest":
            return min(rows, key=lambda r: (r.timestamp, r.arrival))
        if self.kind == "random":
            slot = int(self.rng.random() * self.capacity)
            return next(r for r in rows if r.slot == slot)
        domains = [r.domain for r in rows]
        largest = min(domains, key=lambda d: (-domains.count(d), d))
        return min((r for r in rows if r.domain == largest), key=lambda r: r.arrival)

    def admit(self, priority: float, timestamp: int, domain: int) -> int:
        """The slot of a new row, which is held from then on."""
        slot = len(self.rows)
        if slot == self.capacity:
            victim = self.victim()
            self.rows.remove(victim)
            slot = victim.slot
        self.rows.append(Row(slot, self.arrived, priority, timestamp, domain))
        self.arrived += 1
        return slot

    def on_priority(self, slot: int, priority: float) -> None:
        """Change the priority of the row in a slot."""
        next(r for r in self.rows if r.slot == slot).priority = priority


def admit(
    evictor: Evictor, rows: list[tuple[float, int, int]], rng: np.random.Generator
) -> NDArray[np.int32]:
    columns = [np.array([row[i] for row in rows]) for i in range(3)]
    return evictor.admit(
        columns[0].astype(np.float64), columns[1].astype(np.int64), columns[2].astype(np.int32), rng
    )


ROWS = st.lists(st.tuples(PRIORITIES, st.integers(-3, 3), st.integers(0, 4)), max_size=14)
CHANGES = st.lists(st.tuples(st.integers(0, 30), PRIORITIES), max_size=4)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(capacity=st.integers(1, 9), steps=st.lists(st.tuples(ROWS, CHANGES), max_size=6))
def test_a_block_is_its_rows_one_by_one(
    kind: Eviction,
    capacity: int,
    steps: list[tuple[list[tuple[float, int, int]], list[tuple[int, float]]]],
) -> None:
    """Blocks and new priorities lead to the model's slots, and to the bytes of single admissions."""
    rngs = [np.random.default_rng(5) for _ in range(3)]
    blocks, singles, model = Evictor(kind, capacity), Evictor(kind, capacity), Model(kind, capacity, rngs[2])
    for rows, changes in steps:
        expected = [model.admit(*row) for row in rows]
        assert admit(blocks, rows, rngs[0]).tolist() == expected
        assert [int(admit(singles, [row], rngs[1])[0]) for row in rows] == expected
        assert len(blocks) == len(model.rows)
        known = [(slot % len(model.rows), p) for slot, p in changes if model.rows]
        for slot, priority in known:
            model.on_priority(slot, priority)
            singles.on_priority(np.array([slot], np.int32), np.array([priority]))
        blocks.on_priority(np.array([s for s, _ in known], np.int32), np.array([p for _, p in known]))
    assert array_digest(blocks.snapshot()) == array_digest(singles.snapshot())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 3, 8, 21])
def test_snapshot_then_restore_is_identity(kind: Eviction, n: int) -> None:
    """A restored evictor goes on like the first."""
    rng = np.random.default_rng(n)
    rows = [(float(p), int(t), int(d)) for p, t, d in rng.integers(0, 6, (n + 30, 3))]
    first = Evictor(kind, 8)
    admit(first, rows[:n], np.random.default_rng(1))
    second = Evictor.restore(kind, 8, first.snapshot())
    kept = array_digest(first.snapshot())
    left, right = (admit(e, rows[n:], np.random.default_rng(2)).tolist() for e in (first, second))
    assert left == right
    assert array_digest(first.snapshot()) == array_digest(second.snapshot()) != kept


def test_a_snapshot_is_a_copy() -> None:
    """What an evictor does later is not in a snapshot taken before."""
    for kind in KINDS:
        evictor = Evictor(kind, 4)
        before = evictor.snapshot()
        kept = array_digest(before)
        admit(evictor, [(1.0, 2, 3)] * 6, np.random.default_rng(0))
        assert array_digest(before) == kept
        restored = Evictor.restore(kind, 4, before)
        admit(restored, [(1.0, 2, 3)], np.random.default_rng(0))
        assert array_digest(before) == kept


def test_a_snapshot_of_another_kind_or_capacity_is_refused() -> None:
    """The error names what differs."""
    snapshot = Evictor("fifo", 4).snapshot()
    with pytest.raises(CheckpointError, match="not of an evictor of kind oldest"):
        Evictor.restore("oldest", 4, snapshot)
    with pytest.raises(CheckpointError, match="of 4 slots, not 5"):
        Evictor.restore("fifo", 5, snapshot)


@pytest.mark.parametrize("priority", [np.nan, np.inf, -1e-9])
@pytest.mark.parametrize("kind", KINDS)
def test_a_priority_that_is_none_is_refused_whole(kind: Eviction, priority: float) -> None:
    """Nothing is admitted or noted, whatever the kind, and the row is named."""
    evictor = Evictor(kind, 4)
    rng = np.random.default_rng(0)
    admit(evictor, [(1.0, 0, 0)] * 5, rng)
    before = array_digest(evictor.snapshot())
    with pytest.raises(ReplayError, match="row 1 "):
        admit(evictor, [(1.0, 0, 0), (priority, 0, 0)], rng)
    with pytest.raises(ReplayError, match="row 1 "):
        evictor.on_priority(np.array([0, 1], np.int32), np.array([2.0, priority]))
    assert array_digest(evictor.snapshot()) == before


def test_slots_and_domains_that_are_none_are_refused() -> None:
    """A slot without a row and a negative code change nothing."""
    evictor = Evictor("lowest_priority", 4)
    admit(evictor, [(1.0, 0, 0)] * 2, np.random.default_rng(0))
    before = array_digest(evictor.snapshot())
    for slot in (-1, 2, 4):
        with pytest.raises(ReplayError, match="2 rows"):
            evictor.on_priority(np.array([slot], np.int32), np.array([1.0]))
    with pytest.raises(ReplayError, match="code -1"):
        admit(evictor, [(1.0, 0, -1)], np.random.default_rng(0))
    assert array_digest(evictor.snapshot()) == before


def test_random_eviction_is_uniform() -> None:
    """Of 64 000 victims over 16 slots each has 4 000 within five standard deviations."""
    evictor = Evictor("random", 16)
    slots = admit(evictor, [(1.0, 0, 0)] * 64_016, np.random.default_rng(3))[16:]
    counts = np.bincount(slots, minlength=16)
    assert np.abs(counts - 4_000).max() < 5 * np.sqrt(64_000 * 15 / 256)


def test_a_row_can_be_the_victim_of_the_next() -> None:
    """A late old row leaves first, so the slot occurs twice in its block."""
    evictor = Evictor("oldest", 2)
    rows = [(1.0, time, 0) for time in (5, 6, -9, 7)]
    assert admit(evictor, rows, np.random.default_rng(0)).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("rounds", [1, 2, 3, 7])
def test_priorities_noted_between_rows_all_count(rounds: int) -> None:
    """Fewer than are replayed one by one, and more; the caller's arrays may be used again."""
    capacity, rng = 12, np.random.default_rng(rounds)
    model, evictor = Model("lowest_priority", capacity, rng), Evictor("lowest_priority", capacity)
    first = [(float(p), 0, 0) for p in rng.random(capacity)]
    assert admit(evictor, first, rng).tolist() == [model.admit(*row) for row in first]
    slots, priority = np.zeros(6, np.int32), np.zeros(6)
    for _ in range(rounds):
        slots[:], priority[:] = rng.integers(0, capacity, 6), rng.random(6)
        evictor.on_priority(slots, priority)
        for slot, p in zip(slots.tolist(), priority.tolist(), strict=True):
            model.on_priority(slot, p)
    slots[:] = priority[:] = 0
    more = [(float(p), 0, 0) for p in rng.random(2 * capacity)]
    assert admit(evictor, more, rng).tolist() == [model.admit(*row) for row in more]
