"""The replay store: rows, what is known of them, the law they are drawn by, and who leaves when it is full (SPEC 2.4).

One object over four parts that do not know each other: the ring holds the rows, the sampler the
strategy's law, the evictor the order of leaving, the domains their codes. A draw names its rows by slot and
generation: by the time a batch has been trained its slots may hold other rows, and what was learned of a row that
is gone is dropped and counted, never booked on its successor.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from janus_memory.config import Eviction, ReplaySettings  # noqa: TC001  (msgspec reads the annotations)
from janus_memory.errors import CheckpointError, InsufficientData, ReplayError
from janus_memory.hippocampus.ring import Ring
from janus_memory.replay.compression import check_compression
from janus_memory.replay.law.laws import importance_weights
from janus_memory.replay.law.sampler import Sampler
from janus_memory.replay.priorities import priority_quantiles
from janus_memory.replay.store import passes
from janus_memory.replay.store.batch import ReplayBatch
from janus_memory.replay.store.domains import Domains
from janus_memory.replay.store.drawing import Drawing
from janus_memory.replay.store.eviction import Evictor
from janus_memory.replay.store.generator import generator_state, new_generator, restore_generator
from janus_memory.replay.store.stats import ReplayStats
from janus_memory.store.arrays import subtree
from janus_memory.store.tensors import read_tensors, write_tensors
from janus_memory.transition import ID_BYTES, MarketSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from janus_memory.config import Strategy
    from janus_memory.replay.law.sum_tree import Backend
    from janus_memory.replay.store.batch import Drawn
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import Transitions

__all__ = ["ReplayStore", "eviction_of"]

# Who leaves under each strategy, where the settings do not say (SPEC 2.4).
_EVICTION: dict[Strategy, Eviction] = {
    "uniform": "fifo",
    "prioritized_loss": "lowest_priority",
    "prioritized_recency": "oldest",
    "mixed": "fifo",
    "domain_balanced": "largest_domain",
}


def eviction_of(strategy: Strategy, eviction: Eviction | None) -> Eviction:
    """The eviction that is set, or the strategy's own."""
    return eviction or _EVICTION[strategy]


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot belongs to."""

    spec: MarketSpec
    capacity: int
    replay: ReplaySettings
    eviction: Eviction


class ReplayStore:
    """Rows and the law they are drawn by. Every method is atomic: a writer and a trainer may race.

    Attributes:
        spec: the shape of the market's rows.
        capacity: how many rows are held at most.
        eviction: who leaves when it is full.
    """

    def __init__(
        self,
        spec: MarketSpec,
        capacity: int,
        replay: ReplaySettings,
        eviction: Eviction | None,
        seed: int,
        *,
        backend: Backend = "numba",
    ) -> None:
        """An empty store.

        Args:
            spec: the shape of the market's rows.
            capacity: how many rows are held at most.
            replay: strategy, exponents, floor and normalisation.
            eviction: who leaves; None follows the strategy.
            seed: of the store's own generator (draws, random eviction).
            backend: both give the same bytes; "numpy" compiles nothing.

        Raises:
            ConfigError: a capacity below one row, or a setting that no law is defined for.
        """
        check_compression(replay.compression)
        self.spec = spec
        self.capacity = capacity
        self.eviction = eviction_of(replay.strategy, eviction)
        self._settings = _Settings(spec=spec, capacity=capacity, replay=replay, eviction=self.eviction)
        self._compression, self._normalise = replay.compression, replay.normalise
        self._law = (replay.lambda_logic, replay.lambda_reward, replay.priority_floor)
        self._gather = passes.gather if backend == "numba" else passes.gather_numpy
        self._judge = passes.judge if backend == "numba" else passes.judge_numpy
        self._generator = new_generator(seed)
        self._lock = threading.Lock()
        self._sampler = Sampler(capacity, replay, backend)
        self._evictor = Evictor(self.eviction, capacity)
        self._domains = Domains(capacity, backend)
        self._judged = np.zeros(capacity, np.bool_)
        self._total_replays = self._stale_updates = 0
        self._attach(Ring(spec, capacity))

    def __len__(self) -> int:
        return len(self._sampler)

    @property
    def stale_updates(self) -> int:
        """Updates dropped so far, because their row had been overwritten."""
        return self._stale_updates

    def insert(self, rows: Transitions, violation: NDArray[np.float32] | None = None) -> NDArray[np.int32]:
        """Take in rows, in the order given, at the largest priority held (1 in an empty store).

        Equal to inserting them one by one, but for the codes of domains that leave on the way.

        Args:
            rows: n transitions.
            violation: v, float32 [n] in [0, 1]; 0 if None.

        Returns:
            The slot of each row, int32 [n]; of rows with the same slot the last one has stayed.

        Raises:
            WireError: a column is not shaped for this market; nothing was written.
            ReplayError: a reward that is not finite, a violation outside [0, 1]; nothing was written.
        """
        n = len(rows)
        v = np.zeros(n, np.float32) if violation is None else _column("violation", violation, n)
        _check_values(_column("reward", rows.reward, n), v)
        with self._lock:
            self._ring.checked(rows)
            codes = self._domains.codes(rows.domain)
            priority = np.full(n, self._sampler.max_priority())
            slots = self._evictor.admit(priority, rows.timestamp, codes, self._generator)
            self._ring.write(rows, slots)
            self._sampler.write(slots, priority, codes, rows.timestamp)
            self._target.priority[slots] = priority
            self._target.violation[slots] = v
            self._judged[slots] = False
            self._domains.place(slots, codes)
        return slots

    def sample(self, n: int, beta: float, now_ns: int) -> ReplayBatch:
        """Draw n rows, with repeats, by the strategy's law, and stamp them as replayed.

        Args:
            n: rows of the batch.
            beta: how far the weights correct the draw, 1 for unbiased estimates (E9).
            now_ns: market time that is noted as that of the replay.

        Raises:
            InsufficientData: the store is empty.
        """
        with self._lock:
            size = len(self._sampler)
            if not size:
                raise InsufficientData(
                    f"market {self.spec.name}: {n} rows were asked of an empty replay store; nothing was changed; "
                    "insert transitions first"
                )
            slots, share, rows = self._drawn(self._generator.random(n), size, now_ns)
            smallest = self._sampler.min_probability() if self._normalise == "buffer" else 0.0
            self._total_replays += n
        weight = importance_weights(share, size, beta, self._normalise, smallest)
        return ReplayBatch(
            slots,
            rows.generation,
            share,
            weight.astype(np.float32),
            rows.state,
            rows.action,
            rows.reward,
            rows.next_state,
            rows.next_action,
            rows.done,
            rows.timestamp,
            self._compression,
        )

    def update(self, drawn: Drawn, td_error: ArrayLike, violation: ArrayLike | None = None) -> int:
        """Write back what training found: TD errors, violations, and the priorities that follow (E7).

        Of a row that stands in the batch twice the last entry counts. A row that has been overwritten since it
        was drawn is passed over and counted in `stale_updates`.

        Args:
            drawn: the batch, or its slots and generations.
            td_error: delta, float32 [B].
            violation: v, float32 [B] in [0, 1]; those stored if None.

        Returns:
            How many entries were stale.

        Raises:
            ReplayError: columns of different lengths, a slot that holds nothing, a TD error that is not finite,
                a violation outside [0, 1]; nothing was changed.
        """
        slots = np.asarray(drawn[0], np.int32)
        n = len(slots)
        generations = np.asarray(drawn[1], np.uint32)
        if generations.shape != slots.shape:
            raise ReplayError(
                f"`generation` has shape {generations.shape} for {n} slots; the store is unchanged; pass the batch "
                "that was drawn, or its slots and generations"
            )
        td = _column("td_error", td_error, n)
        v = None if violation is None else _column("violation", violation, n)
        with self._lock:
            kept, p = self._judge(self._target, slots, generations, td, v, len(self._sampler), self._law)
            self._sampler.reprioritize(kept, p)
            if self.eviction == "lowest_priority":  # the others would check priorities for nothing
                self._evictor.on_priority(kept, p)
            stale = n - len(kept)
            self._stale_updates += stale
        return stale

    def probabilities(self) -> NDArray[np.float64]:
        """P of every row by slot (E8); float64 [len]."""
        with self._lock:
            return self._sampler.probabilities()

    def stats(self) -> ReplayStats:
        """The store's numbers of now. O(len)."""
        with self._lock:
            held = slice(0, len(self._sampler))
            judged = self._judged[held]
            loss = self._target.td_error[held][judged]
            return ReplayStats(
                size=len(self._sampler),
                total_replays=self._total_replays,
                mean_loss=float(loss.mean(dtype=np.float64)) if len(loss) else float("nan"),
                by_domain=self._domains.by_name(),
                priority_quantiles=priority_quantiles(self._target.priority[held]),
                effective_sample_size=self._sampler.effective_sample_size(),
                stale_updates=self._stale_updates,
            )

    def snapshot(self) -> Arrays:
        """Copies of all state, the generator's included: a restored store goes on with the same draws."""
        with self._lock:
            held = slice(0, len(self._sampler))
            own: Arrays = {
                "settings": np.frombuffer(msgspec.json.encode(self._settings), np.uint8),
                "generator": generator_state(self._generator),
                "domains": self._domains.snapshot(),
                "code": self._domains.code[held].copy(),
                "judged": self._judged[held].copy(),
                "counters": np.array([self._total_replays, self._stale_updates], np.int64),
            }
            parts = (("buffer/", self._ring), ("sampler/", self._sampler), ("evictor/", self._evictor))
            return own | {prefix + name: v for prefix, part in parts for name, v in part.snapshot().items()}

    @classmethod
    def restore(
        cls,
        spec: MarketSpec,
        capacity: int,
        replay: ReplaySettings,
        eviction: Eviction | None,
        arrays: Mapping[str, NDArray[np.generic]],
        *,
        backend: Backend = "numba",
    ) -> ReplayStore:
        """The store a snapshot was taken of; it goes on bit for bit.

        Raises:
            CheckpointError: the snapshot belongs to other settings, or lacks a part.
        """
        store = cls(spec, capacity, replay, eviction, 0, backend=backend)
        kept = _settings_of(arrays)
        if kept != store._settings:
            raise CheckpointError(
                f"the replay store was saved under {kept}, and is asked for under {store._settings}; nothing was "
                "restored; use the settings it was saved under, or start with an empty store"
            )
        try:
            store._take_over(arrays, backend)
        except KeyError as error:
            raise CheckpointError(
                f"the replay store's snapshot lacks {error}; nothing was restored; use an older snapshot"
            ) from error
        return store

    def save(self, path: Path) -> None:
        """Write the snapshot to a file, atomically."""
        write_tensors(path, self.snapshot())

    @classmethod
    def load(cls, path: Path, *, backend: Backend = "numba") -> ReplayStore:
        """The store that was saved, under the settings it was saved under.

        Raises:
            CheckpointError: the file is not one that `save` wrote; nothing was changed.
        """
        arrays = read_tensors(path)
        kept = _settings_of(arrays)
        return cls.restore(kept.spec, kept.capacity, kept.replay, kept.eviction, arrays, backend=backend)

    def _drawn(
        self, uniforms: NDArray[np.float64], size: int, now_ns: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], passes.Source]:
        """Slots drawn from `size` entries, their P and their rows, counted and stamped."""
        if self._drawing is not None:
            return self._drawing.rows(uniforms, size, self._sampler.even(), now_ns)
        slots = self._sampler.draw(uniforms)
        rows = self._gather(self._source, slots, now_ns, *self._stamps)
        return slots, self._sampler.probability(slots), rows

    def _attach(self, ring: Ring) -> None:
        """Make a ring's arrays this store's own; they are allocated once and written in place."""
        rows, known = ring.columns, ring.metadata
        self._ring = ring
        self._source = passes.Source(
            rows.state,
            rows.action,
            rows.reward,
            rows.next_state,
            rows.next_action,
            rows.done,
            rows.timestamp,
            ring.generation,
        )
        self._target = passes.Judged(
            ring.generation, rows.reward, known.td_error, known.violation, known.priority, self._judged
        )
        self._stamps = (known.replay_count, known.last_replayed)
        sums = self._sampler.sums() if self._gather is passes.gather else None
        self._drawing = None if sums is None else Drawing(sums, self._source, *self._stamps)

    def _take_over(self, arrays: Mapping[str, NDArray[np.generic]], backend: Backend) -> None:
        """Become the store of a snapshot."""
        code = np.asarray(arrays["code"], np.int32)
        held = slice(0, len(code))
        self._judged[held] = arrays["judged"]
        names = np.asarray(arrays["domains"], f"S{ID_BYTES}")
        self._domains = Domains.restore(self.capacity, names, code, backend)
        self._generator = restore_generator(np.asarray(arrays["generator"], np.uint64))
        self._total_replays, self._stale_updates = (int(count) for count in arrays["counters"])
        replay, capacity = self._settings.replay, self.capacity
        self._sampler = Sampler.restore(capacity, replay, subtree(arrays, "sampler/"), backend)
        self._evictor = Evictor.restore(self.eviction, capacity, subtree(arrays, "evictor/"))
        self._attach(Ring.restore(self.spec, capacity, subtree(arrays, "buffer/")))


def _settings_of(arrays: Mapping[str, NDArray[np.generic]]) -> _Settings:
    """What a snapshot was taken under."""
    try:
        return msgspec.json.decode(arrays["settings"].tobytes(), type=_Settings)
    except (KeyError, msgspec.DecodeError) as error:
        raise CheckpointError(
            f"not the snapshot of a replay store: {error}; nothing was restored; use what `save` has written"
        ) from error


def _column(name: str, values: ArrayLike, n: int) -> NDArray[np.float32]:
    """The values as float32 [n]; what leaves its range becomes infinite, and is refused as such."""
    column = np.asarray(values)
    if column.dtype != np.float32:
        with np.errstate(over="ignore"):
            column = column.astype(np.float32)
    if column.shape != (n,):
        raise ReplayError(
            f"`{name}` has shape {column.shape} for {n} rows; the store is unchanged; give one value a row"
        )
    return column


def _check_values(reward: NDArray[np.float32], violation: NDArray[np.float32]) -> None:
    """Refuse what would later make a priority that is no number."""
    bad = ~(np.isfinite(reward) & (violation >= 0) & (violation <= 1))
    if bad.any():
        row = int(bad.argmax())
        raise ReplayError(
            f"row {row} has reward {reward[row]} and violation {violation[row]}; nothing was inserted; rewards are "
            "finite and violations lie in [0, 1]"
        )
