"""The replay store beside other libraries': iteration, block insert, saving and loading, and what is on top of a draw.

The work: 64-float states, 256 rows drawn and read, 256 priorities written back. Ours is a whole `ReplayStore`: lock,
generations, replay counts, domains and statistics included, rows handed over in the full schema (five identifiers, of which
the store keeps the domain), first in, first out as the peers are.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

import numpy as np

from benchmarks.peers import (
    ALPHA,
    BATCH,
    BETA,
    STATE_SIZE,
    Cpprb,
    Experience,
    Flashbax,
    StableBaselines3,
    Tianshou,
    Torchrl,
    experience,
    opened,
)
from benchmarks.report import Row, measured
from benchmarks.turns import in_turn, per_second
from janus_memory.config import ReplaySettings, Strategy
from janus_memory.replay.law.sampler import Sampler
from janus_memory.replay.store.replay_store import ReplayStore
from janus_memory.transition import MarketSpec, Transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from benchmarks.peers import FilePeer, Peer

__all__ = ["inserts", "iterations", "overheads", "persistence"]

SPEC = MarketSpec("bench", tuple(f"feature_{i}" for i in range(STATE_SIZE)), "discrete", 3)
SMALL, LARGE = 10_000, 1_000_000
# How many times as fast as each peer, by size.
ITERATION_TARGETS: dict[int, dict[type[Peer], float | None]] = {
    SMALL: {Tianshou: 2.0, Cpprb: 3.5, Flashbax: 6.0, Torchrl: None, StableBaselines3: None},
    LARGE: {Tianshou: 1.5, Cpprb: 1.5, Flashbax: 1.5, Torchrl: 1.5, StableBaselines3: None},
}
INSERT_TARGET = 2.5
# Rows of a block: a small frame, a full one, ten of them, and all that the store holds.
BLOCKS = (10, 100, 1000, SMALL)
FILE_TARGET = 5.0
OVERHEAD_TARGET = 1.5
_Float = TypeVar("_Float", np.float32, np.float64)
_N_DOMAINS = 8
_EPISODE_ROWS = 1000
_MEMORY = Path("/dev/shm")  # noqa: S108  (a folder of its own is made in it)
_FILL_ROWS = 100_000
_START_NS = 1_700_000_000_000_000_000
_STEP_NS = 60_000_000_000


class Effort(NamedTuple):
    """How often everything is measured."""

    repetitions: int
    calls: int


def iterations(size: int, effort: Effort) -> Iterator[Row]:
    """Rows of one iteration at `size` held, against each peer; only one peer's memory is held at a time."""
    rows = experience(size, seed=1)
    prioritised, uniform = filled(rows, "prioritized_loss"), filled(rows, "uniform")
    for peer, target in ITERATION_TARGETS[size].items():
        memory, name = opened(peer, rows)
        # A peer that draws uniformly does not update priorities: nor do we, beside it.
        alone = peer is StableBaselines3
        store = uniform if alone else prioritised
        ours, theirs = in_turn(
            _drawing(store) if alone else _iterating(store),
            None if memory is None else _peer_iterating(memory),
            **effort._asdict(),
        )
        work = "sample 256 (uniform)" if alone else "sample 256 + update 256"
        yield measured(
            f"{work}, {size:_} held".replace("_", " "),
            "iterations/s",
            per_second(ours),
            per_second(theirs),
            name,
            better="higher",
            target=target,
        )
        del memory


def overheads(effort: Effort) -> Iterator[Row]:
    """Rows of a whole iteration against its bare steps (draw, gather, new priorities), for each strategy."""
    rows = experience(SMALL, seed=1)
    for strategy in get_args(Strategy):
        store = filled(rows, strategy, own_eviction=True)
        ours, bare = in_turn(_iterating(store), _bare(rows, strategy), **effort._asdict())
        yield measured(
            f"whole iteration, {strategy} with {store.eviction} eviction",
            "us",
            [1e6 * s for s in ours],
            [1e6 * s for s in bare],
            "our draw + gather + new priorities alone",
            better="lower",
            target=OVERHEAD_TARGET,
        )


def inserts(effort: Effort) -> Iterator[Row]:
    """Rows of blocks that go into a full store, against cpprb: a frame as it arrives by day, and larger ones."""
    rows = experience(SMALL, seed=1)
    memory, name = opened(Cpprb, rows)
    store = filled(rows, "prioritized_loss")
    for size in BLOCKS:
        blocks, parts = itertools.cycle(_blocks(rows, size)), itertools.cycle(_cut(rows, size))
        ours, theirs = in_turn(
            functools.partial(_insert_next, store, blocks),
            None if memory is None else functools.partial(_insert_next, memory, parts),
            repetitions=effort.repetitions,
            calls=effort.calls * SMALL // size,
        )
        yield measured(
            f"insert a block of {size:_} rows".replace("_", " "),
            "rows/s",
            [size * rate for rate in per_second(ours)],
            [size * rate for rate in per_second(theirs)],
            name,
            better="higher",
            target=INSERT_TARGET,
        )


def _insert_next(memory: ReplayStore | Cpprb, blocks: Iterator[Any]) -> None:
    memory.insert(next(blocks))


def _blocks(rows: Experience, size: int) -> list[Transitions]:
    """As many blocks of `size` rows as the experience has, later than all that a store was filled with."""
    later = _START_NS + SMALL * _STEP_NS
    return [
        replace(transitions(rows, first, first + size), timestamp=_times(later + first * _STEP_NS, size))
        for first in range(0, len(rows), size)
    ]


def _cut(rows: Experience, size: int) -> list[Experience]:
    """The same blocks for a peer."""
    names = [field.name for field in fields(rows)]
    return [
        Experience(**{name: getattr(rows, name)[first : first + size] for name in names})
        for first in range(0, len(rows), size)
    ]


def persistence(effort: Effort) -> Iterator[Row]:
    """Rows of saving and loading a full store, against torchrl and cpprb.

    The files lie in memory where there is such a file system: ours are synced, theirs are not, and the disk shall be in
    nobody's figures.
    """
    rows = experience(SMALL, seed=1)
    store = filled(rows, "prioritized_loss")
    peers: tuple[type[FilePeer], ...] = (Torchrl, Cpprb)
    for peer in peers:
        memory, name = opened(peer, rows)
        with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            for step, (ours, theirs) in _file_steps(store, memory, Path(folder)).items():
                seconds, others = in_turn(ours, theirs, **effort._asdict())
                yield measured(
                    f"{step} a store of 10 000 rows",
                    "stores/s",
                    per_second(seconds),
                    per_second(others),
                    name,
                    better="higher",
                    target=FILE_TARGET,
                )


def _file_steps(
    store: ReplayStore, memory: FilePeer | None, folder: Path
) -> dict[str, tuple[Callable[[], object], Callable[[], object] | None]]:
    """Saving and then loading, ours and the peer's."""
    path = folder / "ours.safetensors"
    return {
        "save": (lambda: store.save(path), None if memory is None else lambda: memory.save(folder)),
        "load": (lambda: ReplayStore.load(path), None if memory is None else lambda: memory.load(folder)),
    }


def transitions(rows: Experience, start: int, stop: int) -> Transitions:
    """Rows start..stop of an experience in the market's schema: episodes of 1 000 rows, each in one of eight domains."""
    number = np.arange(start, stop)
    return Transitions.of(
        SPEC,
        timestamp=_times(_START_NS + start * _STEP_NS, stop - start),
        transition_id=np.char.add(b"transition-", np.char.zfill(number.astype("S9"), 9)),
        instrument="EURUSD",
        domain=np.char.add(b"domain-", (number // _EPISODE_ROWS % _N_DOMAINS).astype("S1")),
        agent_id="agent-1",
        episode_id=np.char.add(b"episode-", (number // _EPISODE_ROWS).astype("S6")),
        state=rows.state[start:stop],
        next_state=rows.next_state[start:stop],
        action=rows.action[start:stop],
        reward=rows.reward[start:stop],
        done=rows.done[start:stop],
    )


def filled(rows: Experience, strategy: Strategy, *, own_eviction: bool = False) -> ReplayStore:
    """A store that holds these rows at their priorities, first in, first out unless it shall evict as its strategy does."""
    n = len(rows)
    store = ReplayStore(SPEC, n, _settings(strategy), None if own_eviction else "fifo", seed=0)
    for start in range(0, n, _FILL_ROWS):
        store.insert(transitions(rows, start, min(start + _FILL_ROWS, n)))
    store.update((np.arange(n, dtype=np.int32), np.ones(n, np.uint32)), rows.priority)
    return store


def _settings(strategy: Strategy) -> ReplaySettings:
    # The peers are given |delta| as the priority.
    return ReplaySettings(strategy=strategy, alpha=ALPHA, lambda_logic=0.0, lambda_reward=0.0)


def _iterating(store: ReplayStore) -> Callable[[], object]:
    td_errors = _priorities(np.float32)
    return lambda: store.update(store.sample(BATCH, BETA, _START_NS), next(td_errors))


def _drawing(store: ReplayStore) -> Callable[[], object]:
    return lambda: store.sample(BATCH, BETA, _START_NS)


def _peer_iterating(memory: Peer) -> Callable[[], object]:
    priorities = _priorities(np.float32)
    return lambda: memory.iterate(next(priorities))


def _bare(rows: Experience, strategy: Strategy) -> Callable[[], object]:
    """An iteration without weights, generations, counts, statistics, checks or lock."""
    n = len(rows)
    slots = np.arange(n, dtype=np.int32)
    sampler = Sampler(n, _settings(strategy))
    sampler.write(slots, rows.priority.astype(np.float64), slots % _N_DOMAINS, _times(_START_NS, n))
    held = transitions(rows, 0, n)
    columns = (
        held.state,
        held.action,
        held.reward,
        held.next_state,
        held.next_action,
        held.done,
        held.timestamp,
    )
    rng = np.random.default_rng(0)
    priorities = _priorities(np.float64)

    def iterate() -> object:
        drawn = sampler.draw(rng.random(BATCH))
        batch = [column.take(drawn, axis=0) for column in columns]
        sampler.reprioritize(drawn, next(priorities))
        return batch

    return iterate


def _priorities(dtype: type[_Float]) -> Iterator[NDArray[_Float]]:
    """New priorities for one batch after another, made beforehand."""
    rng = np.random.default_rng(2)
    return itertools.cycle([np.abs(rng.standard_normal(BATCH)).astype(dtype) for _ in range(64)])


def _times(start_ns: int, n: int) -> NDArray[np.int64]:
    return start_ns + np.arange(n) * _STEP_NS
