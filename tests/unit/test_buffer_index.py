"""The sorted runs against a scan of all slots, and the promises of their cost."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.hippocampus.index import SortedRuns, text_keys
from janus_memory.transition import ID_BYTES

INT64 = np.iinfo(np.int64)
ENTRY_BYTES = 16


class Ring:
    """Slots with a key each, and an index of them; what `keys` was asked for is counted."""

    def __init__(self, n: int) -> None:
        self.key = np.zeros(n, np.int64)
        self.generation = np.zeros(n, np.uint32)
        self.asked = 0
        self.index = SortedRuns(self._keys, self.generation)

    def _keys(self, slots: NDArray[np.int32]) -> NDArray[np.int64]:
        self.asked += len(slots)
        return self.key[slots]

    def write(self, slots: NDArray[np.int32], keys: NDArray[np.int64]) -> None:
        """Write slots, each once."""
        self.key[slots] = keys
        self.generation[slots] += 1
        self.index.touch(slots)

    def scan(self, low: int, high: int) -> list[int]:
        """The answer, by looking at every slot."""
        return [i for i, k in enumerate(self.key.tolist()) if self.generation[i] and low <= k <= high]

    def found(self, low: int, high: int) -> list[int]:
        """The index's answer; a slot named twice would show."""
        return sorted(self.index.find(low, high).tolist())

    @property
    def entries(self) -> int:
        """How many entries the index holds."""
        noted = max(1, len(self.key) // 4) * 4
        return (self.index.nbytes - noted) // ENTRY_BYTES


KEYS = st.one_of(st.integers(-5, 5), st.sampled_from([INT64.min, INT64.max]))


@settings(max_examples=60)
@given(data=st.data(), n=st.integers(1, 40), steps=st.integers(0, 12))
def test_every_answer_equals_a_scan(data: st.DataObject, n: int, steps: int) -> None:
    """Whatever is written between questions, of whatever size, each live slot is found once."""
    ring = Ring(n)
    for _ in range(steps):
        slots = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n))
        keys = data.draw(st.lists(KEYS, min_size=len(slots), max_size=len(slots)))
        ring.write(np.array(slots, np.int32), np.array(keys, np.int64))
        if data.draw(st.booleans()):
            low, high = data.draw(KEYS), data.draw(KEYS)
            assert ring.found(low, high) == ring.scan(low, high)
            written = ring.key[ring.generation > 0]
            assert ring.index.highest() == (written.max() if len(written) else None)
    assert ring.found(INT64.min, INT64.max) == ring.scan(INT64.min, INT64.max)


def test_bounds_outside_int64_mean_everything() -> None:
    """Python's integers may lie beyond the keys' type."""
    ring = Ring(3)
    ring.write(np.arange(3, dtype=np.int32), np.array([INT64.min, 0, INT64.max]))
    assert ring.found(-(10**30), 10**30) == [0, 1, 2]
    assert ring.found(10**30, 10**31) == []
    assert ring.found(-(10**31), -(10**30)) == []


def test_the_number_of_runs_and_entries_is_bounded() -> None:
    """After many small writes at random keys there are O(log N) runs and at most 1.5 N entries."""
    rng = np.random.default_rng(0)
    ring = Ring(1000)
    for start in range(0, 20_000, 5):
        slots = (np.arange(start, start + 5) % 1000).astype(np.int32)
        ring.write(slots, rng.integers(-(10**9), 10**9, 5))
        ring.index.find(0, 1)
        assert ring.entries <= 1500
        assert len(ring.index._runs) <= math.log2(1500) + 1
    assert ring.found(0, 10**8) == ring.scan(0, 10**8)


def test_only_what_was_written_is_looked_at_again() -> None:
    """A question after a small write asks for that write's keys; one after none asks for no key."""
    ring = Ring(1000)
    ring.write(np.arange(1000, dtype=np.int32), np.arange(1000))
    ring.index.find(0, 10)
    before = ring.asked
    ring.write(np.array([7, 9, 11], np.int32), np.array([5, 5, 5]))
    for _ in range(3):
        assert ring.found(5, 5) == [5, 7, 9, 11]
    assert ring.asked == before + 3


def test_stale_entries_that_are_met_again_and_again_go() -> None:
    """A range that was overwritten costs its questions no more than one clean-up."""
    ring = Ring(1000)
    ring.write(np.arange(1000, dtype=np.int32), np.arange(1000))
    ring.index.find(0, 0)
    ring.write(np.arange(200, dtype=np.int32), np.full(200, 5000))
    assert ring.found(0, 199) == []
    assert ring.entries == 1200
    for _ in range(6):
        assert ring.found(0, 199) == []
    assert ring.entries == 1000


def test_the_highest_key_is_that_of_a_live_entry() -> None:
    """Stale entries at a run's end are passed over, and go when that has cost enough."""
    ring = Ring(100)
    ring.write(np.arange(100, dtype=np.int32), np.arange(100))
    assert ring.index.highest() == 99
    ring.write(np.arange(90, 100, dtype=np.int32), np.full(10, -1))
    assert ring.index.highest() == 89
    assert ring.entries == 110
    for _ in range(11):
        assert ring.index.highest() == 89
    assert ring.entries == 100
    assert ring.found(-1, 99) == list(range(100))


def test_keys_of_names_differ_unless_the_names_are_equal() -> None:
    """No two of 100 000 names meet, and a name's key does not depend on its neighbours."""
    names = np.array([f"episode-{i}".encode() for i in range(100_000)], f"S{ID_BYTES}")
    keys = text_keys(names)
    assert len(np.unique(keys)) == len(names)
    assert text_keys(names[77:78])[0] == keys[77]
    assert len(text_keys(names[:0])) == 0
