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
from janus_memory.replay.compression import check_compression
from janus_memory.replay.law.sampler import Sampler
from janus_memory.replay.priorities import priority_quantiles
from janus_memory.replay.store import passes
from janus_memory.replay.store.admitting import Admitting
from janus_memory.replay.store.batch import ReplayBatch
from janus_memory.replay.store.domains import Domains
from janus_memory.replay.store.drawing import Drawing, weighed
from janus_memory.replay.store.eviction import Evictor
from janus_memory.replay.store.generator import Uniforms, generator_state, new_generator, restore_generator
from janus_memory.replay.store.held import held
from janus_memory.replay.store.revising import Revising
from janus_memory.replay.store.slots import NOTHING, Slots, check_values
from janus_memory.replay.store.stats import ReplayStats
from janus_memory.store.arrays import replacing, subtree
from janus_memory.store.tensors import put_tensors, read_tensors
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
# As objects: numpy need not look them up.
_I4, _U4, _F4 = np.dtype(np.int32), np.dtype(np.uint32), np.dtype(np.float32)


def eviction_of(strategy: Strategy, eviction: Eviction | None) -> Eviction:
    """The eviction that is set, or the strategy's own."""
    return eviction or _EVICTION[strategy]


class _Settings(msgspec.Struct, frozen=True):
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
        self._configure(_Settings(spec, capacity, replay, eviction_of(replay.strategy, eviction)), backend)
        self._generator = new_generator(seed)
        self._uniforms = Uniforms(self._generator)
        self._total_replays = self._stale_updates = 0
        self._sampler = Sampler(capacity, replay, backend)
        self._evictor = Evictor(self.eviction, capacity)
        self._domains = Domains(capacity, backend)
        self._slots = Slots(spec, capacity, backend)
        self._attach()

    def _configure(self, settings: _Settings, backend: Backend) -> None:
        """Take over what does not change."""
        replay = settings.replay
        check_compression(replay.compression)
        self._settings = settings
        self.spec, self.capacity, self.eviction = settings.spec, settings.capacity, settings.eviction
        self._compression, self._normalise = replay.compression, replay.normalise
        self._law = (replay.lambda_logic, replay.lambda_reward, replay.priority_floor)
        self._compiled = backend == "numba"
        self._lock = threading.Lock()

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
        new = self._slots.incoming(rows)
        v = NOTHING if violation is None else _column("violation", violation, len(rows))
        with self._lock:
            if self._admitting is not None:
                slots = self._admitting.take_in(new, v, rows.domain)
                if slots is not None:
                    return slots
            check_values(new.reward, v)
            codes = self._domains.codes(rows.domain)
            priority = np.full(len(codes), self._sampler.max_priority())
            slots = self._evictor.admit(priority, new.timestamp, codes, self._generator)
            self._slots.write(new, slots, self._sampler.max_priority(), v)
            self._sampler.write(slots, priority, codes, new.timestamp)
            if self._sampler.arrays is not self._bound:
                self._bind()
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
            self._total_replays += n
            uniforms, weighing = self._uniforms.take(n), (beta, self._over(size))
            if self._drawing is not None:
                return self._drawing.batch(uniforms, self._sampler.standing(), weighing, now_ns)
            slots = self._sampler.draw(uniforms)
            share = self._sampler.probability(slots)
            rows = passes.gather(self._source, slots, now_ns, *self._stamps)
        return ReplayBatch(
            slot=slots,
            probability=share,
            weight=weighed(share, *weighing),
            compression=self._compression,
            **rows._asdict(),
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
        slots = np.ascontiguousarray(drawn[0], _I4)
        n = len(slots)
        generations = np.ascontiguousarray(drawn[1], _U4)
        if generations.shape != slots.shape:
            raise ReplayError(
                f"`generation` has shape {generations.shape} for {n} slots; the store is unchanged; pass the batch "
                "that was drawn, or its slots and generations"
            )
        td = _column("td_error", td_error, n)
        v = None if violation is None else _column("violation", violation, n)
        with self._lock:
            size = len(self._sampler)
            if self._revising is not None and self._sampler.ordinary:
                law = (*self._law, self._sampler.exponent)
                kept, p, calm = self._revising.batch(slots, generations, td, v, size, law)
                if not calm:
                    self._sampler.settle()
            else:
                kept, p = passes.judge(self._target, slots, generations, td, v, size, self._law)
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
            loss = self._target.td_error[held][self._target.judged[held]]
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
            return {name: value.copy() for name, value in self._state().items()}

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
        settings = _Settings(spec, capacity, replay, eviction_of(replay.strategy, eviction))
        kept = _settings_of(arrays)
        if kept != settings:
            raise CheckpointError(
                f"the replay store was saved under {kept}, and is asked for under {settings}; nothing was "
                "restored; use the settings it was saved under, or start with an empty store"
            )
        return cls._restored(kept, arrays, backend, own=False)

    def save(self, path: Path) -> None:
        """Write the snapshot to a file, atomically and synced.

        The store is locked while its bytes go to the operating system, of which no copy is made, and not while they
        go to the disk.
        """
        with replacing(path) as file, self._lock:
            put_tensors(file, self._state())

    @classmethod
    def load(cls, path: Path, *, backend: Backend = "numba") -> ReplayStore:
        """The store that was saved, under the settings it was saved under.

        Raises:
            CheckpointError: the file is not one that `save` wrote; nothing was changed.
        """
        arrays = read_tensors(path)
        return cls._restored(_settings_of(arrays), arrays, backend, own=True)

    def _state(self) -> Arrays:
        """All state, as long as the lock is held: large arrays are the store's own."""
        size = len(self._sampler)
        own: Arrays = {
            "settings": np.frombuffer(msgspec.json.encode(self._settings), np.uint8),
            "generator": generator_state(self._generator),
            "uniforms": self._uniforms.rest(),
            "domains": self._domains.snapshot(),
            "code": self._domains.code[:size],
            "counters": np.array([self._total_replays, self._stale_updates], np.int64),
        }
        parts = {
            "slots/": self._slots.held(size),
            "sampler/": self._sampler.snapshot(copied=False),
            "evictor/": self._evictor.snapshot(copied=False),
        }
        return own | {prefix + name: v for prefix, part in parts.items() for name, v in part.items()}

    def _over(self, size: int) -> float | None:
        """Of which P the weight shall be 1 (E10); None for the least of the batch."""
        if self._normalise == "batch":
            return None
        return self._sampler.min_probability() if self._normalise == "buffer" else 1.0 / size

    def _attach(self) -> None:
        """Hold the parts' arrays, which are allocated once and written in place, where calls on them begin."""
        slots = self._slots
        self._source, self._target, self._stamps = slots.source, slots.target, slots.stamps
        self._bind()
        self._admitting = (
            Admitting(slots, self._domains, self._sampler, self._evictor) if self._compiled else None
        )

    def _bind(self) -> None:
        """Hand the arrays to the compiled calls; again where the sampler has made room for more domains."""
        self._bound, parts = (
            self._sampler.arrays,
            (self._sampler.recency, self._source, self._target, self._stamps),
        )
        self._drawing = self._revising = None
        if self._compiled:
            arrays = held(self._bound, *parts)
            self._drawing = Drawing(arrays, self._source, self._compression)
            self._revising = Revising(arrays)

    @classmethod
    def _restored(
        cls, settings: _Settings, arrays: Mapping[str, NDArray[np.generic]], backend: Backend, *, own: bool
    ) -> ReplayStore:
        """The store of a snapshot; it may keep the arrays where they are its own."""
        store = cls.__new__(cls)
        try:
            store._take_over(settings, arrays, backend, own=own)  # noqa: SLF001  (of this class)
        except KeyError as error:
            raise CheckpointError(
                f"the replay store's snapshot lacks {error}; nothing was restored; use an older snapshot"
            ) from error
        return store

    def _take_over(
        self, settings: _Settings, arrays: Mapping[str, NDArray[np.generic]], backend: Backend, *, own: bool
    ) -> None:
        """Become the store of a snapshot, in place of `__init__`."""
        self._configure(settings, backend)
        replay, capacity = settings.replay, settings.capacity
        code = np.asarray(arrays["code"], np.int32)
        names = np.asarray(arrays["domains"], f"S{ID_BYTES}")
        self._domains = Domains.restore(capacity, names, code, backend)
        self._generator = restore_generator(np.asarray(arrays["generator"], np.uint64))
        self._uniforms = Uniforms(self._generator, np.array(arrays["uniforms"], np.float64))
        self._total_replays, self._stale_updates = (int(count) for count in arrays["counters"])
        self._sampler = Sampler.restore(capacity, replay, subtree(arrays, "sampler/"), backend)
        self._evictor = Evictor.restore(settings.eviction, capacity, subtree(arrays, "evictor/"))
        slots = subtree(arrays, "slots/")
        self._slots = Slots.restore(settings.spec, capacity, slots, backend, own=own)
        self._attach()


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
    # A copy, because compiled code takes what is neither strided nor read-only.
    if isinstance(values, np.ndarray) and values.dtype == _F4:
        column = values.copy(order="C")
    else:
        with np.errstate(over="ignore"):
            column = np.array(values, _F4)
    if column.shape != (n,):
        raise ReplayError(
            f"`{name}` has shape {column.shape} for {n} rows; the store is unchanged; give one value a row"
        )
    return column
