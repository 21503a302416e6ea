"""The episodic buffer against a deque of rows."""

from __future__ import annotations

import gc
import tracemalloc
from collections import deque
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_memory.errors import CheckpointError, ConfigError, ReplayError, WireError
from janus_memory.hippocampus.buffer import EpisodicBuffer
from janus_memory.hippocampus.index import text_keys
from janus_memory.store.arrays import array_digest
from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("fx", ("a", "b"), "discrete", 3)
VECTOR = MarketSpec("fx", ("a", "b"), "vector", 2)


def make_rows(n: int, seed: int, spec: MarketSpec = SPEC) -> Transitions:
    """Rows with ids of their own, times out of order and a few episodes and domains."""
    rng = np.random.default_rng(seed)
    rows = Transitions.empty(spec, n)
    rows.transition_id[:] = [f"{seed}-{i}".encode() for i in range(n)]
    rows.episode_id[:] = [f"e{i}".encode() for i in rng.integers(0, 3, n)]
    rows.domain[:] = [f"d{i}".encode() for i in rng.integers(0, 2, n)]
    rows.timestamp[:] = rng.integers(0, 50, n)
    rows.state[:] = rng.standard_normal((n, 2))
    rows.reward[:] = rng.standard_normal(n)
    rows.action[:] = rng.integers(0, 3, rows.action.shape)
    return rows


def same(left: Transitions, right: Transitions) -> bool:
    return left.canonical_bytes() == right.canonical_bytes()


def singles(rows: Transitions) -> list[Transitions]:
    return [rows.take(slice(i, i + 1)) for i in range(len(rows))]


def joined(spec: MarketSpec, parts: list[Transitions]) -> Transitions:
    return Transitions.concatenate([Transitions.empty(spec), *parts])


@given(
    capacity=st.integers(1, 9),
    sizes=st.lists(st.integers(0, 20), max_size=6),
    spec=st.sampled_from([SPEC, VECTOR]),
)
def test_blocks_equal_a_deque_of_single_rows(capacity: int, sizes: list[int], spec: MarketSpec) -> None:
    """Whatever the block sizes, the last `capacity` rows are held in arrival order."""
    buffer, one_by_one = EpisodicBuffer(spec, capacity), EpisodicBuffer(spec, capacity)
    model: deque[Transitions] = deque(maxlen=capacity)
    for seed, size in enumerate(sizes):
        block = make_rows(size, seed, spec)
        buffer.extend(block)
        for row in singles(block):
            one_by_one.extend(row)
        model.extend(singles(block))
    expected = joined(spec, list(model))
    assert len(buffer) == len(model)
    assert buffer.arrived == sum(sizes)
    assert same(buffer.rows(), expected)
    assert array_digest(buffer.snapshot()) == array_digest(one_by_one.snapshot())


@given(
    capacity=st.integers(1, 12),
    n=st.integers(0, 30),
    start=st.integers(-5, 55),
    width=st.integers(0, 60),
)
def test_questions_equal_a_scan_in_the_total_order(capacity: int, n: int, start: int, width: int) -> None:
    """Time, episode and domain are found under out-of-order arrival, sorted by (timestamp, id)."""
    rows = make_rows(n, 7)
    buffer = EpisodicBuffer(SPEC, capacity)
    buffer.extend(rows)
    held = sorted(singles(rows)[-capacity:], key=lambda r: (int(r.timestamp[0]), bytes(r.transition_id[0])))
    newest = max((int(r.timestamp[0]) for r in held), default=0)

    between = [r for r in held if start <= r.timestamp[0] < start + width]
    assert same(buffer.between(start, start + width), joined(SPEC, between))
    last = [r for r in held if r.timestamp[0] > newest - width]
    assert same(buffer.last(width), joined(SPEC, last))
    for name in ("e0", "e1", "absent"):
        expected = [r for r in held if r.episode_id[0] == name.encode()]
        assert same(buffer.episode(name), joined(SPEC, expected))
    assert same(buffer.domain(b"d1"), joined(SPEC, [r for r in held if r.domain[0] == b"d1"]))


def test_last_reaches_past_the_beginning_of_time() -> None:
    """A duration longer than int64 can subtract means everything."""
    buffer = EpisodicBuffer(SPEC, 4)
    rows = make_rows(2, 0)
    rows.timestamp[:] = np.iinfo(np.int64).min + 5
    buffer.extend(rows)
    assert len(buffer.last(10**18)) == 2


def test_an_answer_is_a_copy() -> None:
    """Later writes do not change rows handed out, and rows handed out do not change the ring."""
    buffer = EpisodicBuffer(SPEC, 3)
    buffer.extend(make_rows(3, 1))
    answers = [buffer.rows(), buffer.between(-1, 99), Transitions.from_arrays(buffer.snapshot(), "rows/")]
    before = [answer.canonical_bytes() for answer in answers]
    buffer.extend(make_rows(3, 2))
    assert [answer.canonical_bytes() for answer in answers] == before
    kept = buffer.rows().canonical_bytes()
    buffer.rows().state[:] = 0
    assert buffer.rows().canonical_bytes() == kept


@pytest.mark.parametrize("n", [0, 1, 3, 4, 11])
def test_snapshot_then_restore_is_identity(n: int) -> None:
    """A restored buffer answers and goes on like the first."""
    first = EpisodicBuffer(SPEC, 4)
    first.extend(make_rows(n, 3))
    second = EpisodicBuffer.restore(SPEC, 4, first.snapshot())
    for more in (0, 3, 6):
        for buffer in (first, second):
            buffer.extend(make_rows(more, more))
        assert array_digest(first.snapshot()) == array_digest(second.snapshot())


def test_restore_under_a_smaller_capacity_keeps_the_newest() -> None:
    """Lowering the setting forgets the oldest arrivals."""
    buffer = EpisodicBuffer(SPEC, 5)
    rows = make_rows(8, 4)
    buffer.extend(rows)
    small = EpisodicBuffer.restore(SPEC, 2, buffer.snapshot())
    assert same(small.rows(), rows.take(slice(6, 8)))
    assert small.arrived == 8


@pytest.mark.parametrize("name", ["state", "next_state", "action", "reward"])
def test_rows_of_another_shape_are_refused_whole(name: str) -> None:
    """A column that numpy would stretch to fit is refused by name, and nothing is written."""
    buffer = EpisodicBuffer(SPEC, 4)
    buffer.extend(make_rows(2, 5))
    before = array_digest(buffer.snapshot())
    rows = make_rows(2, 6)
    wrong = Transitions.from_arrays({**rows.arrays(), name: np.zeros((2, 1), np.float32)})
    with pytest.raises(WireError, match=f"column {name} "):
        buffer.extend(wrong)
    assert array_digest(buffer.snapshot()) == before


def test_a_buffer_of_nothing_is_refused() -> None:
    """Capacity zero names the setting."""
    with pytest.raises(ConfigError, match=r"ingest\.capacity"):
        EpisodicBuffer(SPEC, 0)


def test_arrival_order_is_kept_past_many_turns() -> None:
    """The ring turns many times; ids stay consecutive."""
    buffer = EpisodicBuffer(SPEC, 7)
    for turn in range(50):
        rows = make_rows(3, turn)
        rows.timestamp[:] = np.arange(3 * turn, 3 * turn + 3)
        buffer.extend(rows)
    times = buffer.rows().timestamp.tolist()
    assert times[-1] == 149
    assert all(b - a == 1 for a, b in pairwise(times))


def test_a_row_that_is_no_single_row_is_not_staged() -> None:
    """`append` refuses blocks and other shapes; nothing is staged."""
    buffer = EpisodicBuffer(SPEC, 4)
    rows = make_rows(2, 0)
    with pytest.raises(WireError, match="not 2"):
        buffer.append(rows)
    with pytest.raises(WireError, match="column state "):
        buffer.append(Transitions.empty(MarketSpec("fx", ("a",), "discrete", 3), 1))
    assert len(buffer) == buffer.arrived == 0


def test_what_is_staged_is_read_in_its_place() -> None:
    """Rows that were appended and rows that came as a block keep their order of arrival, over several stages."""
    buffer, blocks = EpisodicBuffer(SPEC, 300), EpisodicBuffer(SPEC, 300)
    rows = make_rows(350, 2)
    for i in range(340):
        buffer.append(rows.take(slice(i, i + 1)))
    buffer.extend(rows.take(slice(340, 350)))
    blocks.extend(rows)
    assert array_digest(buffer.snapshot()) == array_digest(blocks.snapshot())


@pytest.mark.parametrize("slots", [[2, 4], [-1, 0], [0, -1], [2, 5], [3, 3], [0], [[0, 1]]])
def test_slots_outside_the_ring_or_beyond_the_first_free_one_are_refused(slots: list[int]) -> None:
    """`write` leaves the buffer as it was."""
    buffer = EpisodicBuffer(SPEC, 5)
    buffer.extend(make_rows(2, 0))
    before = array_digest(buffer.snapshot())
    with pytest.raises(ReplayError, match="nothing was written"):
        buffer.write(make_rows(2, 1), np.array(slots, np.int32))
    assert array_digest(buffer.snapshot()) == before


def test_the_ring_goes_on_after_slots_that_were_filled_by_name() -> None:
    """`extend` takes the slots that are still free first."""
    buffer = EpisodicBuffer(SPEC, 4)
    buffer.write(make_rows(3, 0), np.array([0, 1, 2], np.int32))
    assert buffer.extend(make_rows(2, 1)).tolist() == [3, 0]


@pytest.mark.parametrize("slots", [[0], [2, 3], [7, 1, 5, 3]])
def test_a_new_row_starts_without_metadata(slots: list[int]) -> None:
    """What was known of the row that left is not said of the one that took its slot, however it was chosen."""
    buffer = EpisodicBuffer(SPEC, 8)
    buffer.extend(make_rows(7, 0))
    buffer.extend(make_rows(1, 1))
    for column in buffer.metadata.arrays().values():
        column[:] = 1
    buffer.extend(make_rows(1, 2))
    buffer.write(make_rows(len(slots), 3), np.array(slots, np.int32))
    for name, column in buffer.metadata.arrays().items():
        assert np.flatnonzero(column == 0).tolist() == sorted({0, *slots}), name


def test_names_of_equal_key_are_told_apart() -> None:
    """Two episodes whose 64-bit keys collide are two episodes."""
    unit = np.zeros((2, 8), np.uint64)
    unit[0, 0] = unit[1, 1] = 1
    first, second = text_keys(unit.view("S64").reshape(2))
    words = np.full((2, 8), 0x4141414141414141, np.uint64)
    words[1, :2] += np.array([second, -first]).view(np.uint64)
    names = words.view("S64").reshape(2)
    assert len(np.unique(text_keys(names))) == 1 < len(np.unique(names))
    buffer = EpisodicBuffer(SPEC, 4)
    rows = make_rows(2, 0)
    rows.episode_id[:] = names
    buffer.extend(rows)
    assert [buffer.slots_episode(bytes(name)).tolist() for name in names] == [[0], [1]]


def test_a_name_that_no_row_can_have_finds_nothing() -> None:
    """A name of over 64 bytes is not taken for the row that has its first 64."""
    buffer = EpisodicBuffer(SPEC, 2)
    rows = make_rows(1, 0)
    rows.domain[:] = b"x" * 64
    buffer.extend(rows)
    assert len(buffer.domain("x" * 64)) == 1
    assert len(buffer.domain("x" * 65)) == 0


@pytest.mark.parametrize("capacity", [2, 9])
def test_handles_from_before_another_capacity_are_outdated(capacity: int) -> None:
    """A buffer restored under another capacity knows no slot and generation from before."""
    buffer = EpisodicBuffer(SPEC, 5)
    buffer.extend(make_rows(12, 4))
    buffer.metadata.priority[:] = [1, 2, 3, 4, 5]
    handles = np.arange(5, dtype=np.int32), buffer.generation.copy()
    other = EpisodicBuffer.restore(SPEC, capacity, buffer.snapshot())
    assert buffer.current(*handles).all()
    assert not other.current(*handles).any()
    assert other.metadata.priority[:2].tolist() == ([1, 2] if capacity == 2 else [3, 4])
    kept, more = other.rows(), make_rows(20, 5)
    other.extend(more.take(slice(0, 1)))
    newest = joined(SPEC, [kept, more.take(slice(0, 1))])
    assert same(other.rows(), newest.take(slice(max(0, len(newest) - capacity), None)))
    other.extend(more)
    assert same(other.rows(), more.take(slice(20 - capacity, 20)))
    assert not other.current(*handles).any()


def test_a_snapshot_of_something_else_is_refused() -> None:
    """A missing part and rows of another market are named."""
    snapshot = EpisodicBuffer(SPEC, 3).snapshot()
    with pytest.raises(CheckpointError, match="column state "):
        EpisodicBuffer.restore(MarketSpec("fx", ("a",), "discrete", 3), 3, snapshot)
    del snapshot["arrival"]
    with pytest.raises(CheckpointError, match="arrival"):
        EpisodicBuffer.restore(SPEC, 3, snapshot)


def use_heavily(buffer: EpisodicBuffer, times: int) -> int:
    """Write and ask in every way, at times out of order; the most bytes that the buffer ever held."""
    rng, most = np.random.default_rng(0), 0
    for _ in range(times):
        n = int(rng.integers(1, 60))
        rows = Transitions.of(
            buffer.spec,
            timestamp=rng.integers(0, 10**15, n),
            episode_id=np.array([b"e%d" % i for i in rng.integers(0, 40, n)], "S64"),
        )
        buffer.extend(rows)
        buffer.write(rows, rng.permutation(len(buffer))[:n].astype(np.int32))
        buffer.append(rows.take(slice(0, 1)))
        buffer.slots_last(10**12)
        buffer.slots_episode("e1")
        buffer.slots_domain("")
        most = max(most, buffer.nbytes)
    return most


def test_memory_stays_within_its_bound() -> None:
    """Under heavy, wrapping use: at most 1.1 times the raw columns plus 96 bytes a slot at d = 64.

    What `nbytes` says is what the process holds.
    """
    capacity = 4000
    spec = MarketSpec("fx", tuple(f"f{i}" for i in range(64)), "discrete", 3)
    raw = sum(column.nbytes for column in Transitions.empty(spec, capacity).arrays().values())
    # What is imported and cached at the first use is nobody's memory.
    use_heavily(EpisodicBuffer(spec, 60), 20)
    tracemalloc.start()
    try:
        buffer = EpisodicBuffer(spec, capacity)
        most = use_heavily(buffer, 200)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most <= 1.1 * raw + 96 * capacity
    assert abs(held - buffer.nbytes) < 0.02 * raw
