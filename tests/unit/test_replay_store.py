"""The replay store as a whole: the race of writer and trainer, its law, its snapshots, its refusals."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from janus_memory.config import Eviction, ReplaySettings, Strategy
from janus_memory.errors import CheckpointError, ConfigError, InsufficientData, ReplayError, WireError
from janus_memory.replay.compression import compressed
from janus_memory.replay.law.laws import law
from janus_memory.replay.store.batch import ReplayBatch
from janus_memory.replay.store.replay_store import ReplayStore, eviction_of
from janus_memory.store.arrays import array_digest
from janus_memory.store.tensors import read_tensors, write_tensors
from janus_memory.transition import MarketSpec, Transitions
from tests.unit.store_rows import SPEC, VECTOR, make_rows

STRATEGIES = get_args(Strategy)
EVICTIONS = get_args(Eviction)


def make_store(
    strategy: Strategy = "prioritized_loss",
    capacity: int = 50,
    eviction: Eviction | None = None,
    **given: Any,
) -> ReplayStore:
    return ReplayStore(SPEC, capacity, ReplaySettings(strategy=strategy, **given), eviction, 3)


def trained(store: ReplayStore, steps: int, seed: int = 0) -> ReplayStore:
    """The store after some days of insert, sample and update."""
    rng = np.random.default_rng(seed)
    for step in range(steps):
        store.insert(make_rows(7, 1000 * seed + step, store.spec))
        batch = store.sample(16, 0.5, step)
        store.insert(make_rows(3, 1000 * seed + step + 500, store.spec))
        store.update(batch, rng.standard_normal(16) * 5)
    return store


def digest(store: ReplayStore) -> str:
    return array_digest(store.snapshot())


@pytest.fixture
def _eager_threads() -> Iterator[None]:
    """Threads take turns every few microseconds, so that a short race has many outcomes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_eager_threads")
@pytest.mark.parametrize("eviction", EVICTIONS)
def test_a_writer_that_races_with_training_corrupts_nothing(eviction: Eviction) -> None:
    """Every update is applied to the row that was drawn, or counted as stale; none is lost or misdirected.

    A row's reward is its serial number and its TD error a function of it: whatever row has been judged must
    carry the error of its own number.
    """
    n_frames, size = 400, 10
    store = ReplayStore(SPEC, 64, ReplaySettings(), eviction, 0)
    drawn, written = threading.Event(), threading.Event()

    def write() -> None:
        for i in range(n_frames):
            if i % 8 == 7:
                drawn.wait()
                drawn.clear()
            store.insert(numbered(size, i * size))
        written.set()

    store.insert(numbered(size, n_frames * size))
    writer = threading.Thread(target=write)
    writer.start()
    submitted = stale = 0
    while not written.is_set():
        batch = store.sample(32, 1.0, 0)
        drawn.set()
        gone_before = n_gone(store, batch)
        dropped = store.update(batch, batch.reward + 1)
        assert gone_before <= dropped <= n_gone(store, batch)
        submitted, stale = submitted + 32, stale + dropped
    writer.join()
    batch = store.sample(32, 1.0, 0)
    store.insert(numbered(30, 0))
    gone = n_gone(store, batch)
    assert store.update(batch, batch.reward + 1) == gone

    arrays = store.snapshot()
    judged = arrays["slots/judged"].astype(bool)
    reward, td = numbers(arrays["slots/reward"]), numbers(arrays["slots/td_error"])
    assert 0 < stale < submitted
    assert store.stale_updates == stale + gone
    assert (numbers(arrays["sampler/priority"]) == numbers(arrays["slots/priority"])).all()
    assert judged.any()
    assert (td[judged] == reward[judged] + 1).all()
    assert not td[~judged].any()
    assert arrays["evictor/counters"].tolist()[0] == n_frames * size + size + 30


def numbered(n: int, first: int) -> Transitions:
    """Rows whose reward and time are serial numbers."""
    rows = Transitions.empty(SPEC, n)
    rows.reward[:] = rows.timestamp[:] = np.arange(first, first + n)
    return rows


def n_gone(store: ReplayStore, batch: ReplayBatch) -> int:
    """Drawn rows that have been overwritten since."""
    return int((numbers(store.snapshot()["slots/generation"])[batch.slot] != batch.generation).sum())


def numbers(column: NDArray[Any]) -> NDArray[Any]:
    return column


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_weighted_estimates_are_unbiased(strategy: Strategy) -> None:
    """At beta = 1 without normalisation the weighted mean of a batch estimates the plain mean, within 1 %."""
    store = trained(make_store(strategy, 200, "fifo", normalise="none", half_life_s=86_400.0), 30)
    value = np.random.default_rng(0).uniform(1, 2, 200)
    batch = store.sample(400_000, 1.0, 0)
    assert np.mean(batch.weight * value[batch.slot]) == pytest.approx(value.mean(), rel=0.01)
    if strategy != "uniform":
        assert np.mean(value[batch.slot] * batch.probability) != pytest.approx(value.mean() / 200, rel=0.01)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("normalise", ["batch", "buffer", "none"])
def test_weights_are_the_laws_own(strategy: Strategy, normalise: Any) -> None:
    """W = (1 / (N P))^beta over the largest of batch or buffer, P from the law's definition (E9, E10)."""
    store = trained(make_store(strategy, normalise=normalise), 12)
    arrays = store.snapshot()
    share = law(
        strategy,
        numbers(arrays["slots/priority"]),
        numbers(arrays["code"]),
        numbers(arrays["slots/timestamp"]),
        ReplaySettings(strategy=strategy),
    )
    batch = store.sample(64, 0.7, 0)
    weight = (1 / (50 * share)) ** 0.7
    largest = {"batch": weight[batch.slot].max(), "buffer": weight.max(), "none": 1.0}[normalise]
    assert np.allclose(batch.probability, share[batch.slot], rtol=1e-12)
    assert np.allclose(batch.weight, weight[batch.slot] / largest, rtol=1e-6)
    assert batch.weight.dtype == np.float32


def test_draws_follow_the_priorities_that_updates_wrote() -> None:
    """A row with all the priority is drawn nearly always; its neighbours by the floor alone."""
    store = make_store(capacity=4, alpha=1.0, priority_floor=1e-9)
    rows = make_rows(4, 0)
    rows.reward[:] = 0
    slots = store.insert(rows)
    store.update((slots, np.ones(4, np.uint32)), [0, 0, 5, 0])
    assert (store.sample(100, 1.0, 0).slot == 2).all()


def test_new_rows_get_the_largest_priority_held() -> None:
    """One in an empty store, and the present maximum later, also where it has fallen."""
    store = make_store(capacity=6, eviction="fifo", lambda_reward=0.0)
    slots = store.insert(make_rows(2, 0))
    assert priority_of(store) == [1.0, 1.0]
    store.update((slots, np.ones(2, np.uint32)), [7.0, 0.5])
    store.insert(make_rows(1, 1))
    assert priority_of(store) == [7.0, 0.5, 7.0]
    everything = np.arange(3, dtype=np.int32)
    store.update((everything, np.ones(3, np.uint32)), [0.25, 0.5, 0.125])
    store.insert(make_rows(2, 2))
    assert priority_of(store) == [0.25, 0.5, 0.125, 0.5, 0.5]


def test_the_lowest_updated_priority_leaves_first() -> None:
    """Eviction follows what updates wrote, not what the rows came with."""
    store = make_store(capacity=4, eviction="lowest_priority", lambda_reward=0.0)
    slots = store.insert(make_rows(4, 0))
    store.update((slots, np.ones(4, np.uint32)), [5, 0.25, 0.5, 7])
    assert store.insert(make_rows(2, 1)).tolist() == [1, 2]


@pytest.mark.parametrize("method", ["insert", "sample", "update", "probabilities", "stats", "snapshot"])
def test_every_method_waits_for_the_one_that_is_under_way(method: str) -> None:
    """Nothing is read or written while another thread is inside the store."""
    store = make_store()
    store.insert(make_rows(9, 0))
    batch = store.sample(4, 1.0, 0)
    arguments: dict[str, tuple[Any, ...]] = {
        "insert": (make_rows(2, 1),),
        "sample": (4, 1.0, 0),
        "update": (batch, np.ones(4)),
    }
    done = threading.Event()

    def call() -> None:
        getattr(store, method)(*arguments.get(method, ()))
        done.set()

    caller = threading.Thread(target=call)
    with store._lock:
        caller.start()
        assert not done.wait(0.05)
    assert done.wait(60)
    caller.join()


def priority_of(store: ReplayStore) -> list[float]:
    found: list[float] = store.snapshot()["slots/priority"].tolist()
    return found


@pytest.mark.parametrize("spec", [SPEC, VECTOR])
@pytest.mark.parametrize("eviction", EVICTIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_both_backends_give_the_same_bytes(strategy: Strategy, eviction: Eviction, spec: MarketSpec) -> None:
    """Draws, weights, rows and all state."""
    replay = ReplaySettings(strategy=strategy)
    compiled, plain = (
        trained(ReplayStore(spec, 23, replay, eviction, 5, backend=backend), 8)
        for backend in ("numba", "numpy")
    )
    assert digest(compiled) == digest(plain)
    for one, other in zip(compiled.sample(40, 0.5, 9), plain.sample(40, 0.5, 9), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("eviction", EVICTIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_block_is_its_rows_one_by_one(strategy: Strategy, eviction: Eviction) -> None:
    """Whatever leaves, also where a block is longer than the store."""
    whole, single = (make_store(strategy, 11, eviction) for _ in range(2))
    for turn, n in enumerate((4, 30, 1, 9)):
        rows = make_rows(n, turn)
        slots = whole.insert(rows)
        one_by_one = [single.insert(rows.take(slice(i, i + 1))).item() for i in range(n)]
        assert slots.tolist() == one_by_one
        for store in (whole, single):
            store.update(store.sample(5, 0.4, turn), np.arange(5) + turn)
    assert digest(whole) == digest(single)


@pytest.mark.parametrize("eviction", EVICTIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_restored_store_goes_on_bit_for_bit(strategy: Strategy, eviction: Eviction) -> None:
    """Snapshot then restore is the identity, and everything after it is equal: draws, victims, codes."""
    first = trained(make_store(strategy, 19, eviction), 5)
    replay = ReplaySettings(strategy=strategy)
    second = ReplayStore.restore(SPEC, 19, replay, eviction, first.snapshot())
    assert digest(first) == digest(second)
    assert digest(trained(first, 4, 1)) == digest(trained(second, 4, 1))


def test_a_snapshot_is_a_copy() -> None:
    """What happens later does not change it, and it keeps no row of the store alive in place."""
    store = trained(make_store(), 5)
    arrays = store.snapshot()
    before = array_digest(arrays)
    trained(store, 3, 1)
    assert array_digest(arrays) == before


def test_saved_and_loaded_under_its_own_settings(tmp_path: Path) -> None:
    """The file says what store it is of."""
    store = trained(make_store("domain_balanced", 30, "random", alpha=0.3), 6)
    store.save(tmp_path / "store.safetensors")
    loaded = ReplayStore.load(tmp_path / "store.safetensors")
    assert (loaded.spec, loaded.capacity, loaded.eviction) == (SPEC, 30, "random")
    assert digest(trained(loaded, 2, 9)) == digest(trained(store, 2, 9))


@pytest.mark.parametrize("eviction", EVICTIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_file_holds_the_snapshot(tmp_path: Path, strategy: Strategy, eviction: Eviction) -> None:
    """All of it, of a store that is not full too, and equal stores make equal files."""
    for capacity in (19, 500):
        store = trained(make_store(strategy, capacity, eviction), 4)
        store.save(tmp_path / "one.safetensors")
        saved = read_tensors(tmp_path / "one.safetensors")
        assert array_digest(saved) == digest(store)
        assert {len(rows) for name, rows in saved.items() if name.startswith("slots/")} == {len(store)}
        ReplayStore.load(tmp_path / "one.safetensors").save(tmp_path / "other.safetensors")
        assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()


def test_a_store_that_is_written_to_is_saved_whole(tmp_path: Path) -> None:
    """No file has a part of a block that came in meanwhile: every block overwrites all rows."""
    store, stop = make_store("uniform", 3_000, "fifo"), threading.Event()
    blocks = [make_rows(3_000, seed) for seed in range(2)]
    for k, block in enumerate(blocks):
        block.state[:] = k
        block.reward[:] = k

    def write() -> None:
        while not stop.is_set():
            for block in blocks:
                store.insert(block)

    store.insert(blocks[0])
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(40):
            store.save(tmp_path / "a.safetensors")
            saved = read_tensors(tmp_path / "a.safetensors")
            seen = {*np.unique(saved["slots/state"]), *np.unique(saved["slots/reward"])}
            assert len(seen) == 1
            assert len(np.unique(saved["slots/generation"])) == 1
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    ("capacity", "strategy", "eviction"),
    [(51, "mixed", "fifo"), (50, "uniform", "fifo"), (50, "mixed", "oldest")],
)
def test_a_snapshot_of_other_settings_is_refused(
    capacity: int, strategy: Strategy, eviction: Eviction
) -> None:
    """The message names what it was saved under."""
    arrays = trained(make_store("mixed", eviction="fifo"), 2).snapshot()
    with pytest.raises(CheckpointError, match=r"saved under .*mixed.*fifo"):
        ReplayStore.restore(SPEC, capacity, ReplaySettings(strategy=strategy), eviction, arrays)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """Another array file, and a store's with an array missing."""
    write_tensors(tmp_path / "a.safetensors", {"x": np.zeros(3)})
    with pytest.raises(CheckpointError, match="not the snapshot of a replay store"):
        ReplayStore.load(tmp_path / "a.safetensors")
    arrays = make_store().snapshot()
    del arrays["code"]
    with pytest.raises(CheckpointError, match="lacks 'code'"):
        ReplayStore.restore(SPEC, 50, ReplaySettings(), None, arrays)


def test_rows_that_cannot_be_judged_are_refused_whole() -> None:
    """Rewards and violations that would make a priority that is no number, and columns of another market."""
    store = trained(make_store(), 3)
    before = digest(store)
    bad = make_rows(3, 77)
    bad.reward[1] = np.nan
    bad.domain[:] = b"unseen"
    with pytest.raises(ReplayError, match="row 1 has reward nan"):
        store.insert(bad)
    wide = replace(make_rows(3, 77), reward=np.array([0, 1e300, 0]))
    with pytest.raises(ReplayError, match="row 1 has reward inf"):
        store.insert(wide)
    with pytest.raises(ReplayError, match=r"row 2 .*violation 1\.5"):
        store.insert(make_rows(3, 77), np.array([0, 1, 1.5], np.float32))
    with pytest.raises(ReplayError, match="`violation` has shape"):
        store.insert(make_rows(3, 77), np.zeros(2, np.float32))
    with pytest.raises(WireError, match="column state"):
        store.insert(make_rows(3, 77, VECTOR))
    assert digest(store) == before


def test_an_update_that_does_not_fit_is_refused_whole() -> None:
    """Columns of another length and slots that hold nothing."""
    store = make_store()
    store.insert(make_rows(5, 0))
    batch = store.sample(4, 1.0, 0)
    before = digest(store)
    with pytest.raises(ReplayError, match="`td_error` has shape"):
        store.update(batch, np.zeros(3))
    with pytest.raises(ReplayError, match="`generation` has shape"):
        store.update((batch.slot, batch.generation[:1]), np.zeros(4))
    with pytest.raises(ReplayError, match="slot 5 of 5 held"):
        store.update((np.array([5], np.int32), np.ones(1, np.uint32)), np.zeros(1))
    assert digest(store) == before


def test_an_empty_store_has_nothing_to_draw() -> None:
    """It says so; its statistics are those of nothing, not zeros that look like a result."""
    store = make_store()
    assert store.insert(make_rows(0, 0)).shape == (0,)
    with pytest.raises(InsufficientData, match="16 rows were asked of an empty replay store"):
        store.sample(16, 1.0, 0)
    stats = store.stats()
    assert (stats.size, stats.by_domain, stats.priority_quantiles) == (0, {}, {})
    assert np.isnan(stats.mean_loss)
    assert len(store.probabilities()) == 0


def test_a_batch_says_when_its_rows_are_replayed() -> None:
    """E12 from the earliest row of the batch."""
    store = make_store(compression=10.0)
    store.insert(make_rows(9, 0))
    batch = store.sample(6, 1.0, 0)
    assert batch.replay_time.tolist() == compressed(batch.timestamp, 10.0).tolist()
    earliest = batch.timestamp.min()
    assert batch.replay_time.tolist() == (earliest + (batch.timestamp - earliest) // 10).tolist()


def test_a_drawn_batch_is_a_copy() -> None:
    """Rows that take the slots later do not change it."""
    store = make_store(capacity=5, eviction="fifo")
    store.insert(make_rows(5, 0))
    batch = store.sample(8, 1.0, 0)
    before = [np.asarray(column).tobytes() for column in batch]
    store.insert(make_rows(5, 1))
    assert [np.asarray(column).tobytes() for column in batch] == before


def test_eviction_follows_the_strategy() -> None:
    """SPEC 2.4, unless the settings name another."""
    assert {strategy: eviction_of(strategy, None) for strategy in STRATEGIES} == {
        "uniform": "fifo",
        "prioritized_loss": "lowest_priority",
        "prioritized_recency": "oldest",
        "mixed": "fifo",
        "domain_balanced": "largest_domain",
    }
    assert make_store("uniform", eviction="random").eviction == "random"


def test_settings_that_no_store_is_defined_for_are_refused() -> None:
    """A compression that time cannot be divided by, and a capacity of nothing."""
    with pytest.raises(ConfigError, match="compression"):
        make_store(compression=0.0)
    with pytest.raises(ConfigError, match="slot"):
        make_store(capacity=0)


@pytest.mark.parametrize("eviction", EVICTIONS)
def test_memory_is_the_columns_and_little_more(eviction: Eviction) -> None:
    """All of a full store at d = 64: at most 1.1 times the columns that it keeps and 96 bytes a slot."""
    spec, capacity = MarketSpec("fx", tuple(f"f{i}" for i in range(64)), "discrete", 3), 10_000
    rows = make_rows(capacity, 0, spec)
    kept = ("state", "next_state", "action", "next_action", "reward", "done", "timestamp")
    raw = sum(getattr(rows, name).nbytes for name in kept)
    tracemalloc.start()
    store = ReplayStore(spec, capacity, ReplaySettings(strategy="prioritized_recency"), eviction, 0)
    for _ in range(2):
        store.insert(rows)
        store.update(store.sample(256, 1.0, 0), np.ones(256))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert raw < used <= 1.1 * raw + 96 * capacity
