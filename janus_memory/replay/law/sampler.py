"""Draws from a strategy's law P(i) over a buffer whose entries change, in logarithmic time (E8, SPEC 2.4).

A sum tree holds the masses of `replay.law.laws`. Recency masses are p^alpha 2^(t / half-life) relative to a
reference time, so that time passing touches nothing. The reference moves by whole half-lives, and only when
the masses would leave the range of float64: the binary point shifts, no digit changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import ConfigError, ReplayError
from janus_memory.replay.law.laws import LARGEST_PRIORITY, LEAST_TOTAL, SMALLEST_PRIORITY, half_lives, scaled
from janus_memory.replay.law.sum_tree import SumTree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import ReplaySettings
    from janus_memory.replay.law.sum_tree import Backend, Leaves, Tree
    from janus_memory.store.arrays import Arrays

    F8 = NDArray[np.float64]
    I4 = NDArray[np.int32]
    I8 = NDArray[np.int64]

__all__ = ["Sampler"]

# What lies 2^-500 under the newest is never drawn.
_HALF_LIVES_AHEAD = 400


class Sampler:
    """The law of `settings.strategy` over slots 0..len-1. Single writer; the two backends give the same bits."""

    __slots__ = (
        "_alpha",
        "_any_flat",
        "_base",
        "_capacity",
        "_flat",
        "_half_life_s",
        "_present",
        "_recency",
        "_silent",
        "_size",
        "_strategy",
        "_timestamp",
        "_tree",
    )

    def __init__(self, capacity: int, settings: ReplaySettings, backend: Backend = "numba") -> None:
        if capacity < 1 or not 0 <= settings.alpha <= 1 or not settings.half_life_s > 0:
            raise ConfigError(
                f"a sampler over {capacity} slots with replay.alpha = {settings.alpha} and replay.half_life_s = "
                f"{settings.half_life_s} is not defined; nothing was started; give it at least one slot, an "
                "alpha in [0, 1] and a positive half-life"
            )
        self._capacity = capacity
        self._strategy = settings.strategy
        self._alpha = settings.alpha
        self._half_life_s = settings.half_life_s
        self._tree = SumTree(capacity, grouped=self._strategy == "domain_balanced", backend=backend)
        recent = capacity if self._strategy == "prioritized_recency" else 0
        self._timestamp = np.zeros(recent, np.int64)
        self._recency = np.zeros(recent)
        self._base = 0
        self._silent = False
        self._size = 0
        # Groups that have entries, in the order of their codes; those of them whose priorities are all zero.
        self._present = np.zeros(1, np.int64)
        self._flat = np.zeros(1, np.bool_)
        self._any_flat = False

    def __len__(self) -> int:
        return self._size

    def write(self, slots: I4, priority: F8, domain_code: I4, timestamp: I8) -> None:
        """Put entries into slots, which fill in order from 0 and are then overwritten; of a slot twice the last counts.

        Args:
            slots: int32 [n].
            priority: p, float64 [n].
            domain_code: int32 [n], not negative; sums are held for every code up to the largest.
            timestamp: market time, int64 [n], UTC nanoseconds.

        Raises:
            ReplayError: a slot outside the buffer or beyond the next empty one, a priority that is NaN,
                infinite, negative or above `LARGEST_PRIORITY`, a negative domain; nothing was changed.
        """
        if not len(slots):
            return
        slots, priority, factor = self._checked(slots, priority, self._capacity)
        size = self._grown(slots)
        codes = np.asarray(domain_code, np.int32)
        _check_codes(codes)
        moved = len(self._timestamp) > 0 and self._take_times(slots, np.asarray(timestamp, np.int64))
        self._size = size
        self._reserve(codes)
        self._put(slots, priority, self._masses(slots, factor, codes), codes)
        self._settle(moved=moved)

    def reprioritize(self, slots: I4, priority: F8) -> None:
        """Give entries new priorities; of a slot twice the last counts.

        Raises:
            ReplayError: a slot without an entry or a priority that `write` refuses; nothing was changed.
        """
        if not len(slots):
            return
        slots, priority, factor = self._checked(slots, priority, self._size)
        codes = slots if self._tree.group is None else self._tree.group[slots]
        self._tree.assign(slots, priority, self._masses(slots, factor, codes), codes)
        self.settle()

    def draw(self, uniforms: F8) -> I4:
        """Slots by inverse CDF in the order of `order`; int32 [B] for uniforms float64 [B] in [0, 1).

        Raises:
            ReplayError: no entries, or a uniform that is not in [0, 1).
        """
        if not self._size:
            raise ReplayError("a draw from an empty buffer; nothing was changed; insert rows first")
        uniforms = np.asarray(uniforms, np.float64)
        if self._tree.group is not None:
            drawn = self._tree.descend_grouped(uniforms, self._present)
        else:
            drawn = self._tree.descend(uniforms, self._size, self.even())
        if drawn is None:
            raise ReplayError(
                "a uniform to draw with is not in [0, 1); nothing was changed; take it from Generator.random"
            )
        return drawn

    @property
    def arrays(self) -> Tree:
        """The tree's own arrays; another record once there is room for more domains."""
        return self._tree.arrays

    @property
    def recency(self) -> F8:
        """What the mass of each slot's entry is multiplied by, float64 [capacity], the same array for life; [0] for 1."""
        return self._recency

    @property
    def exponent(self) -> float | None:
        """Alpha; None where masses do not depend on priorities."""
        return None if self._strategy == "uniform" else self._alpha

    def standing(self) -> tuple[int, float | None, I8 | None]:
        """Entries; `even`; the groups that have entries and equal shares, int64 [n], None where the law has no groups."""
        return self._size, self.even(), None if self._tree.group is None else self._present

    @property
    def ordinary(self) -> bool:
        """Whether an update can do without more than p^alpha times the recency: no group has zeros for all priorities."""
        return not (self._any_flat or self._silent)

    def leaves(self) -> Leaves | None:
        """What `tree_kernels.assign` changes where a new entry changes no other's mass; None for the other laws."""
        alone = self._tree.group is None and not len(self._timestamp)
        return self._tree.leaves() if alone else None

    def entrance(self) -> tuple[float, float] | None:
        """The largest priority and the mass that belongs to it, at which new entries come in; None without a positive one."""
        priority = self.max_priority()
        if not self._size or priority < SMALLEST_PRIORITY:
            return None
        one = np.ones(1)
        mass = one if self._strategy == "uniform" else self._tree.powers(priority * one, self._alpha)
        return priority, float(mass[0])

    def count(self, n: int) -> None:
        """Count n entries that were written at `entrance` into `leaves`, into the next slots and then the first ones again."""
        if self._size < self._capacity:
            self._size = min(self._size + n, self._capacity)

    def even(self) -> float | None:
        """What each entry weighs above its mass, for the uniform half of `mixed`; None for the other strategies."""
        return self._tree.total() / self._size if self._strategy == "mixed" else None

    def probability(self, slots: I4) -> F8:
        """P of entries (E8), the law they are drawn from; float64 [n]."""
        mass = self._tree.masses[slots]
        if self._tree.group is not None:
            inside: F8 = mass / (self._tree.totals() * len(self._present))[self._tree.group[slots]]
            return inside
        share: F8 = mass / self._tree.total()
        return 0.5 * share + 0.5 / max(self._size, 1) if self._strategy == "mixed" else share

    def probabilities(self) -> F8:
        """P of every entry by slot; float64 [len]."""
        return self.probability(np.arange(self._size, dtype=np.int32))

    def order(self) -> I4:
        """Slots in the order of the inverse CDF: ascending, for `domain_balanced` by domain first; int32 [len]."""
        if self._tree.group is None:
            return np.arange(self._size, dtype=np.int32)
        return np.argsort(self._tree.group[: self._size], kind="stable").astype(np.int32)

    def max_priority(self) -> float:
        """The largest priority of the current entries; 1 where there are none."""
        return self._tree.maximum() if self._size else 1.0

    def min_probability(self) -> float:
        """The least positive P; inf where there are no entries. O(len)."""
        share = self.probabilities()
        return float(share.min(where=share > 0, initial=np.inf))

    def effective_sample_size(self) -> float:
        """1 / sum P^2: over how many entries the draws really spread; 0 where there are none. O(len)."""
        share = self.probabilities()
        return float(1.0 / np.sum(share * share)) if self._size else 0.0

    def snapshot(self, *, copied: bool = True) -> Arrays:
        """Copies of all that decides later draws, or these arrays themselves; equal histories give equal bytes."""
        n = self._size
        arrays: Arrays = {"priority": self._tree.priorities[:n], "mass": self._tree.masses[:n]}
        if self._tree.group is not None:
            arrays["group"] = self._tree.group[:n]
        if len(self._timestamp):
            arrays["timestamp"] = self._timestamp[:n]
            arrays["base"] = np.array(self._base, np.int64)
        return {name: values.copy() for name, values in arrays.items()} if copied else arrays

    @classmethod
    def restore(
        cls,
        capacity: int,
        settings: ReplaySettings,
        arrays: Mapping[str, NDArray[np.generic]],
        backend: Backend = "numba",
    ) -> Sampler:
        """The sampler a snapshot was taken of; capacity and settings are those it had."""
        sampler = cls(capacity, settings, backend)
        n = sampler._size = len(arrays["priority"])
        slots, nothing = np.arange(n, dtype=np.int32), np.zeros(n, np.int32)
        priority, mass = np.asarray(arrays["priority"], np.float64), np.empty(n)
        sampler._check(slots, priority, capacity)
        mass[:] = arrays["mass"]
        codes = np.asarray(arrays.get("group", nothing), np.int32)
        if len(sampler._timestamp):
            sampler._timestamp[:n] = arrays["timestamp"]
            sampler._rebase(int(arrays["base"]))
        if n:
            _check_codes(codes)
            sampler._reserve(codes)
            sampler._put(slots, priority, mass, codes)
            sampler._flat = sampler._flatness()
            sampler._any_flat = settings.strategy != "uniform" and bool(sampler._flat.any())
        return sampler

    def _reserve(self, codes: I4) -> None:
        """Make room for these groups."""
        if self._tree.group is not None:
            self._tree.reserve(int(codes.max()) + 1)
            more = len(self._tree.members) - len(self._flat)
            self._flat = np.concatenate([self._flat, np.zeros(more, np.bool_)])

    def _put(self, slots: I4, priority: F8, mass: F8, codes: I4) -> None:
        """Put checked entries into slots, in groups that have room."""
        self._tree.assign(slots, priority, mass, codes)
        if self._tree.group is not None:
            self._present = np.flatnonzero(self._tree.members)

    def _checked(self, slots: I4, priority: F8, stop: int) -> tuple[I4, F8, F8]:
        """The arguments as arrays, and p^alpha."""
        slots = np.asarray(slots, np.int32)
        priority = np.asarray(priority, np.float64)
        self._check(slots, priority, stop)
        if self._strategy == "uniform":
            return slots, priority, np.ones(len(priority))
        return slots, priority, self._tree.powers(priority, self._alpha)

    def _check(self, slots: I4, priority: F8, stop: int) -> None:
        bad = self._tree.inspect(slots, priority, stop, LARGEST_PRIORITY)
        if bad >= 0:
            raise ReplayError(
                f"entry {bad} has slot {slots[bad]} and priority {priority[bad]}; slots are 0..{stop - 1} and "
                f"priorities 0..{LARGEST_PRIORITY:g}; the sampler is unchanged; use slots that the buffer gave, "
                "and look for a loss that left the finite numbers"
            )

    def _grown(self, slots: I4) -> int:
        """The number of entries after a write; refuses a gap."""
        reached = max(self._size, int(slots.max()) + 1)
        written = np.zeros(reached - self._size, np.bool_)
        written[slots[slots >= self._size] - self._size] = True
        if not written.all():
            raise ReplayError(
                f"slot {reached - 1} was written while the buffer holds {self._size} entries; the sampler is "
                "unchanged; slots fill in order from 0"
            )
        return reached

    def _masses(self, slots: I4, factor: F8, codes: I4) -> F8:
        """The masses of entries with this p^alpha, under the present reference time and flatness; float64 [n]."""
        if self._any_flat:
            factor = np.where(self._flat[codes if self._tree.group is not None else 0], 1.0, factor)
        return factor * self._recency[slots] if len(self._recency) else factor

    def _take_times(self, slots: I4, times: I8) -> bool:
        """Take the times of new entries; whether the reference had to move, and the others' recency with it."""
        whole, part = half_lives(times, self._half_life_s)
        newest = int(whole.max())
        moved = self._size > 0 and newest - self._base > _HALF_LIVES_AHEAD
        if moved:
            self._rebase(newest)
        elif not self._size:
            self._base = newest
        self._timestamp[slots] = times
        self._recency[slots] = scaled(part, whole - self._base)
        return moved

    def _rebase(self, base: int) -> None:
        """Make `base` half-lives after 1970 the reference time."""
        self._base = base
        whole, part = half_lives(self._timestamp[: self._size], self._half_life_s)
        ahead = whole - base
        # Entries of priority zero may lie further ahead; their recency counts once they have a priority.
        self._silent = bool(ahead.max(initial=0) > _HALF_LIVES_AHEAD)
        self._recency[: self._size] = scaled(part, np.minimum(ahead, _HALF_LIVES_AHEAD))

    def settle(self) -> None:
        """Weigh all entries anew where what their masses are relative to has changed."""
        self._settle(moved=False)

    def _settle(self, *, moved: bool) -> None:
        flat = self._flatness()
        if moved or flat.tobytes() != self._flat.tobytes():
            self._flat = flat
            self._any_flat = self._strategy != "uniform" and bool(flat.any())
            self._reweigh()
        if len(self._timestamp) and (self._silent or self._tree.total() < LEAST_TOTAL):
            counted = self._flat[0] | (self._tree.priorities[: self._size] > 0)
            base = int(half_lives(self._timestamp[: self._size][counted], self._half_life_s)[0].max())
            if base != self._base:
                self._rebase(base)
                self._reweigh()

    def _flatness(self) -> NDArray[np.bool_]:
        """Which groups have entries, all of priority zero."""
        flat: NDArray[np.bool_] = self._tree.positive == 0
        if self._tree.group is not None:
            flat &= self._tree.members > 0
        return flat

    def _reweigh(self) -> None:
        """All masses and sums afresh from the priorities. O(len)."""
        every = np.arange(self._size, dtype=np.int32)
        factor = self._checked(every, self._tree.priorities[: self._size], self._size)[2]
        codes = every if self._tree.group is None else self._tree.group[: self._size]
        self._tree.masses[: self._size] = self._masses(every, factor, codes)
        self._tree.rebuild()


def _check_codes(codes: I4) -> None:
    if codes.min() < 0:
        raise ReplayError(
            f"domain code {codes.min()} is negative; the sampler is unchanged; number domains from 0"
        )
