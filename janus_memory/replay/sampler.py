"""Draws from a strategy's law P(i) over a buffer whose entries change, in logarithmic time (E8, SPEC 2.4).

A sum tree holds the masses of `replay.laws`; recency masses are p^alpha 2^(t / half-life) relative to a
reference time, so that time passing touches nothing. The reference moves by whole half-lives, and only when
the masses would leave the range of float64: the binary point shifts, no digit changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import ConfigError, ReplayError
from janus_memory.replay.laws import half_lives, powers, scaled
from janus_memory.replay.sum_tree import SumTree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import ReplaySettings
    from janus_memory.replay.sum_tree import Backend
    from janus_memory.store.arrays import Arrays

    F8 = NDArray[np.float64]
    I4 = NDArray[np.int32]
    I8 = NDArray[np.int64]

__all__ = ["LARGEST_PRIORITY", "Sampler"]

# Sums of p^alpha 2^exponent stay finite below these two, and what lies 2^-500 under the newest is never drawn.
LARGEST_PRIORITY = 1e150
_EXPONENT_RANGE = 400
_LOW_TOTAL = 2.0**-500


class Sampler:
    """The law of `settings.strategy` over slots 0..len-1. Single writer; the two backends give the same bits."""

    __slots__ = (
        "_alpha",
        "_base",
        "_capacity",
        "_flat",
        "_half_life_s",
        "_present",
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
        self._timestamp = np.zeros(capacity if self._strategy == "prioritized_recency" else 0, np.int64)
        self._base = 0
        self._size = 0
        self._flat = np.zeros(1, np.bool_)
        self._present = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return self._size

    def write(self, slots: I4, priority: F8, domain_code: I4, timestamp: I8) -> None:
        """Put entries into slots, which fill in order from 0 and are then overwritten; of a slot twice the last counts.

        Args:
            slots: int32 [n]. priority: p, float64 [n]. domain_code: int32 [n], not negative, small numbers.
            timestamp: market time, int64 [n], UTC nanoseconds.

        Raises:
            ReplayError: a slot outside the buffer or beyond the next empty one, a priority that is NaN,
                infinite, negative or above `LARGEST_PRIORITY`, a negative domain; nothing was changed.
        """
        if not len(slots):
            return
        slots, priority = self._checked(slots, priority, self._capacity)
        size = self._grown(slots)
        codes = np.asarray(domain_code, np.int32)
        if codes.min() < 0:
            raise ReplayError(
                f"domain code {codes.min()} is negative; the sampler is unchanged; number domains from 0"
            )
        times = np.asarray(timestamp, np.int64)
        if self._tree.group is not None:
            self._tree.reserve(int(codes.max()) + 1)
            self._flat = np.concatenate([self._flat, np.zeros(len(self._tree.members), np.bool_)])[
                : len(self._tree.members)
            ]
        moved = len(self._timestamp) > 0 and self._advance(slots, times)
        self._size = size
        self._assign(slots, priority, codes, times, new=True)
        if self._tree.group is not None:
            self._present = np.flatnonzero(self._tree.members)
        self._settle(moved=moved)

    def reprioritize(self, slots: I4, priority: F8) -> None:
        """Give entries new priorities; of a slot twice the last counts.

        Raises:
            ReplayError: a slot without an entry or a priority that `write` refuses; nothing was changed.
        """
        if not len(slots):
            return
        slots, priority = self._checked(slots, priority, self._size)
        times = self._timestamp[slots] if len(self._timestamp) else self._timestamp
        codes = self._present if self._tree.group is None else self._tree.group[slots]
        self._assign(slots, priority, codes, times, new=False)
        self._settle(moved=False)

    def draw(self, uniforms: F8) -> I4:
        """Slots by inverse CDF in the order of `order`; int32 [B] for uniforms float64 [B] in [0, 1).

        Raises:
            ReplayError: no entries, or a uniform that is not in [0, 1).
        """
        uniforms = np.asarray(uniforms, np.float64)
        if not self._size:
            raise ReplayError("a draw from an empty buffer; nothing was changed; insert rows first")
        drawn = self._tree.descend(uniforms, self._present, self._size, self._even())
        if drawn is None:
            raise ReplayError(
                "a uniform to draw with is not in [0, 1); nothing was changed; draw it with Generator.random"
            )
        return drawn

    def probability(self, slots: I4) -> F8:
        """P of entries (E8), the law they are drawn from; float64 [n]."""
        mass = self._tree.masses[slots]
        if self._tree.group is not None:
            inside: F8 = mass / self._tree.totals()[self._tree.group[slots]] / len(self._present)
            return inside
        share: F8 = mass / self._tree.total()
        return 0.5 * share + 0.5 / self._size if self._strategy == "mixed" else share

    def probabilities(self) -> F8:
        """P of every entry by slot; float64 [len]."""
        return self.probability(np.arange(self._size, dtype=np.int32))

    def order(self) -> I4:
        """Slots in the order of the inverse CDF: ascending, for `domain_balanced` inside each domain; int32 [len]."""
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

    def snapshot(self) -> Arrays:
        """All that decides later draws; equal histories give equal bytes."""
        arrays: Arrays = {
            "priority": self._tree.priorities[: self._size].copy(),
            "timestamp": self._timestamp[: self._size].copy(),
            "base": np.array(self._base, np.int64),
        }
        if self._tree.group is not None:
            arrays["group"] = self._tree.group[: self._size].copy()
        return arrays

    @classmethod
    def restore(
        cls,
        capacity: int,
        settings: ReplaySettings,
        arrays: Mapping[str, NDArray[np.generic]],
        backend: Backend = "numba",
    ) -> Sampler:
        """The sampler a snapshot was taken of, with the same capacity and settings."""
        sampler = cls(capacity, settings, backend)
        priority = np.asarray(arrays["priority"], np.float64)
        n = len(priority)
        codes = np.asarray(arrays.get("group", np.zeros(n, np.int32)), np.int32)
        times = np.zeros(n, np.int64)
        if len(sampler._timestamp):
            times = np.asarray(arrays["timestamp"], np.int64)
        sampler.write(np.arange(n, dtype=np.int32), priority, codes, times)
        if sampler._base != int(arrays["base"]):
            sampler._base = int(arrays["base"])
            sampler._reweigh()
        return sampler

    def _checked(self, slots: I4, priority: F8, stop: int) -> tuple[I4, F8]:
        slots = np.asarray(slots, np.int32)
        priority = np.asarray(priority, np.float64)
        if slots.min() < 0 or slots.max() >= stop:
            raise ReplayError(
                f"slots {slots.min()}..{slots.max()} are not all in 0..{stop - 1}; the sampler is unchanged; "
                "use slots that the buffer gave"
            )
        # One comparison that NaN and both infinities fail too.
        if not (priority.min() >= 0 and priority.max() <= LARGEST_PRIORITY):
            bad = int(np.argmax(~((priority >= 0) & (priority <= LARGEST_PRIORITY))))
            raise ReplayError(
                f"priority {priority[bad]} of slot {slots[bad]} is not in 0..{LARGEST_PRIORITY:g}; the sampler is "
                "unchanged; look for a loss that left the finite numbers"
            )
        return slots, priority

    def _grown(self, slots: I4) -> int:
        """The number of entries after a write; refuses a gap."""
        new = np.unique(slots[slots >= self._size])
        if len(new) and new[-1] != self._size + len(new) - 1:
            raise ReplayError(
                f"slot {new[-1]} was written while the buffer holds {self._size} entries; the sampler is "
                "unchanged; slots fill in order from 0"
            )
        return self._size + len(new)

    def _assign(self, slots: I4, priority: F8, codes: I4, times: I8, *, new: bool) -> None:
        mass = self._masses(priority, codes, times)
        self._tree.assign(slots, priority, mass, codes if new and self._tree.group is not None else None)

    def _masses(self, priority: F8, codes: I4, times: I8) -> F8:
        """The masses of entries under the present reference time and flatness; float64 [n]."""
        if self._strategy == "uniform":
            return np.ones(len(priority))
        mass = powers(priority, self._alpha)
        if self._flat.any():
            mass = np.where(self._flat[codes if self._tree.group is not None else 0], 1.0, mass)
        if len(self._timestamp):
            whole, part = half_lives(times, self._half_life_s)
            mass = scaled(mass * part, whole - self._base)
        return mass

    def _advance(self, slots: I4, times: I8) -> bool:
        """Take the times of new entries; whether the reference had to move."""
        self._timestamp[slots] = times
        newest = int(half_lives(times, self._half_life_s)[0].max())
        first = not self._size
        if first or newest - self._base > _EXPONENT_RANGE:
            self._base = newest
            return not first
        return False

    def _settle(self, *, moved: bool) -> None:
        """Weigh all entries anew where what their masses are relative to has changed."""
        flat = self._tree.positive == 0
        if self._tree.group is not None:
            flat &= self._tree.members > 0
        if moved or flat.tobytes() != self._flat.tobytes():
            self._flat = flat
            self._reweigh()
        if len(self._timestamp) and self._tree.total() < _LOW_TOTAL:
            counted = self._flat[0] | (self._tree.priorities[: self._size] > 0)
            whole = half_lives(self._timestamp[: self._size][counted], self._half_life_s)[0]
            if whole.max() != self._base:
                self._base = int(whole.max())
                self._reweigh()

    def _reweigh(self) -> None:
        """All masses afresh from the priorities. O(len)."""
        n = self._size
        codes = self._present if self._tree.group is None else self._tree.group[:n]
        self._tree.masses[:n] = self._masses(self._tree.priorities[:n], codes, self._timestamp[:n])
        self._tree.rebuild()

    def _even(self) -> float:
        return self._tree.total() / self._size if self._strategy == "mixed" else 0.0
