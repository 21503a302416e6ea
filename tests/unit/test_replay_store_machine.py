"""The replay store against a dictionary: any order of insert, sample, update, refusal, snapshot and restore."""
# ruff: noqa: D102  (a rule is named for what it does)

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from janus_memory.config import Eviction, ReplaySettings, Strategy
from janus_memory.errors import InsufficientData, ReplayError
from janus_memory.replay.law.laws import law
from janus_memory.replay.store.batch import ReplayBatch
from janus_memory.replay.store.replay_store import ReplayStore, eviction_of
from janus_memory.store.arrays import Arrays, array_digest
from janus_memory.transition import Transitions
from tests.unit.store_rows import SPEC, make_rows

CAPACITY = 7


@dataclass
class Entry:
    """One row of the model."""

    row: Transitions
    priority: float
    arrival: int
    generation: int
    code: int
    violation: float
    td_error: float = float("nan")
    replays: int = 0
    last_replayed: int = 0

    @property
    def timestamp(self) -> int:
        return int(self.row.timestamp[0])


@dataclass
class Model:
    """What the store should hold: entries by slot, and a few counters."""

    entries: dict[int, Entry] = field(default_factory=dict)
    codes: dict[bytes, int] = field(default_factory=dict)
    arrived: int = 0
    drawn: int = 0
    stale: int = 0
    batches: list[ReplayBatch] = field(default_factory=list)

    def victim(self, eviction: Eviction) -> int:
        """The slot that the next row takes from a full store."""
        keys: dict[str, Any] = {
            "fifo": lambda e: e.arrival,
            "lowest_priority": lambda e: (e.priority, e.arrival),
            "oldest": lambda e: (e.timestamp, e.arrival),
            "largest_domain": lambda e: (-self.sizes()[e.code], e.code, e.arrival),
        }
        return min(self.entries, key=lambda slot: keys[eviction](self.entries[slot]))

    def sizes(self) -> Counter[int]:
        return Counter(entry.code for entry in self.entries.values())

    def intern(self, names: list[bytes]) -> None:
        for name in names:
            free = min(set(range(len(self.codes) + 1)) - set(self.codes.values()))
            self.codes.setdefault(name, free)

    def forget(self) -> None:
        held = self.sizes()
        self.codes = {name: code for name, code in self.codes.items() if held[code]}

    def column(self, name: str) -> NDArray[Any]:
        return np.array([getattr(self.entries[slot], name) for slot in range(len(self.entries))])


class StoreMachine(RuleBasedStateMachine):
    """Drives a store and its model side by side; a subclass for each strategy."""

    strategy: Strategy

    @initialize(
        eviction=st.sampled_from([None, *get_args(Eviction)]),
        normalise=st.sampled_from(["batch", "buffer", "none"]),
        seed=st.integers(0, 5),
    )
    def begin(self, eviction: Eviction | None, normalise: Any, seed: int) -> None:
        self.replay = ReplaySettings(strategy=self.strategy, normalise=normalise, half_life_s=7200.0)
        self.eviction = eviction
        self.store = ReplayStore(SPEC, CAPACITY, self.replay, eviction, seed)
        self.model = Model()
        self.kept: tuple[Arrays, Model] | None = None

    @rule(n=st.integers(0, 2 * CAPACITY + 1), seed=st.integers(0, 99), judged=st.booleans())
    def insert(self, n: int, seed: int, judged: bool) -> None:
        rows = make_rows(n, seed)
        violation = np.random.default_rng(seed).random(n).astype(np.float32)
        slots = self.store.insert(rows, violation if judged else None)
        model, eviction = self.model, eviction_of(self.strategy, self.eviction)
        model.intern(rows.domain.tolist())
        largest = max((entry.priority for entry in model.entries.values()), default=1.0)
        for i, slot in enumerate(slots.tolist()):
            free = len(model.entries)
            if free < CAPACITY:
                assert slot == free
            elif eviction == "random":
                assert 0 <= slot < CAPACITY
            else:
                assert slot == model.victim(eviction)
            model.entries[slot] = Entry(
                row=rows.take(slice(i, i + 1)),
                priority=largest,
                arrival=model.arrived,
                generation=model.entries[slot].generation + 1 if slot in model.entries else 1,
                code=model.codes[rows.domain[i]],
                violation=float(violation[i]) if judged else 0.0,
            )
            model.arrived += 1
        model.forget()

    @rule(n=st.integers(0, 9), beta=st.floats(0, 1), now=st.integers(0, 9))
    def sample(self, n: int, beta: float, now: int) -> None:
        model = self.model
        if not model.entries:
            with pytest.raises(InsufficientData, match="fx"):
                self.store.sample(n, beta, now)
            return
        share = self.law()
        batch = self.store.sample(n, beta, now)
        assert np.allclose(batch.probability, share[batch.slot], rtol=1e-12)
        raw = (1 / (len(share) * share)) ** beta
        scale = {"batch": raw[batch.slot].max(initial=0), "buffer": raw.max(), "none": 1.0}[
            self.replay.normalise
        ]
        assert np.allclose(batch.weight, raw[batch.slot] / scale if n else [], rtol=1e-6)
        for i, slot in enumerate(batch.slot.tolist()):
            entry = model.entries[slot]
            entry.replays, entry.last_replayed = entry.replays + 1, now
            assert batch.generation[i] == entry.generation
            for name in ("state", "action", "reward", "next_state", "next_action", "done", "timestamp"):
                assert getattr(batch, name)[i].tobytes() == getattr(entry.row, name)[0].tobytes()
        model.drawn += n
        model.batches.append(batch)

    @precondition(lambda self: self.model.batches)
    @rule(data=st.data(), seed=st.integers(0, 99), judged=st.booleans())
    def update(self, data: st.DataObject, seed: int, judged: bool) -> None:
        batch = data.draw(st.sampled_from(self.model.batches))
        rng = np.random.default_rng(seed)
        td = (rng.standard_normal(len(batch.slot)) * 10.0 ** rng.integers(-6, 6)).astype(np.float32)
        violation = rng.random(len(td)).astype(np.float32) if judged else None
        stale = self.store.update(batch, td, violation)
        for i, slot in enumerate(batch.slot.tolist()):
            entry = self.model.entries[slot]
            if entry.generation != batch.generation[i]:
                stale -= 1
                self.model.stale += 1
                continue
            if violation is not None:
                entry.violation = float(violation[i])
            entry.td_error = float(abs(td[i]))
            entry.priority = max(
                entry.td_error
                + self.replay.lambda_logic * entry.violation
                + self.replay.lambda_reward * float(abs(entry.row.reward[0])),
                self.replay.priority_floor,
            )
        assert stale == 0

    @precondition(lambda self: any(len(batch.slot) for batch in self.model.batches))
    @rule(bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e300]))
    def refuse(self, bad: float) -> None:
        batch = next(batch for batch in self.model.batches if len(batch.slot))
        before = array_digest(self.store.snapshot())
        with pytest.raises(ReplayError, match="TD error"):
            self.store.update(batch, [*[0.5] * (len(batch.slot) - 1), bad])
        assert array_digest(self.store.snapshot()) == before

    @rule()
    def snapshot(self) -> None:
        self.kept = self.store.snapshot(), copy.deepcopy(self.model)

    @precondition(lambda self: self.kept is not None)
    @rule()
    def restore(self) -> None:
        assert self.kept is not None
        arrays, model = self.kept
        self.store = ReplayStore.restore(SPEC, CAPACITY, self.replay, self.eviction, arrays)
        self.model = copy.deepcopy(model)
        assert array_digest(self.store.snapshot()) == array_digest(arrays)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        model, arrays = self.model, self.store.snapshot()
        held = [model.entries[slot] for slot in range(len(model.entries))]
        rows = Transitions.concatenate([Transitions.empty(SPEC), *(entry.row for entry in held)])
        for name in ("state", "action", "reward", "next_state", "next_action", "done", "timestamp"):
            assert arrays[f"slots/{name}"].tobytes() == getattr(rows, name).tobytes()
        assert arrays["slots/generation"].tolist() == [entry.generation for entry in held]
        known = {name: arrays[f"slots/{name}"].tolist() for name in ("priority", "violation", "td_error")}
        assert known["priority"] == [entry.priority for entry in held]
        assert known["violation"] == [entry.violation for entry in held]
        assert known["td_error"] == [0.0 if np.isnan(entry.td_error) else entry.td_error for entry in held]
        assert arrays["slots/replay_count"].tolist() == [entry.replays for entry in held]
        assert arrays["slots/last_replayed"].tolist() == [entry.last_replayed for entry in held]

    @invariant()
    def counts_what_the_model_counts(self) -> None:
        model, stats = self.model, self.store.stats()
        held = list(model.entries.values())
        losses = [entry.td_error for entry in held if not np.isnan(entry.td_error)]
        assert len(self.store) == stats.size == len(held)
        assert stats.total_replays == model.drawn
        assert stats.stale_updates == self.store.stale_updates == model.stale
        assert stats.mean_loss == pytest.approx(np.mean(losses) if losses else np.nan, nan_ok=True)
        sizes = model.sizes()
        assert stats.by_domain == {name.decode(): sizes[code] for name, code in model.codes.items()}
        share = self.law()
        assert np.allclose(self.store.probabilities(), share, rtol=1e-12)
        assert stats.effective_sample_size == pytest.approx(1 / (share**2).sum() if held else 0.0)
        if held:
            assert stats.priority_quantiles["0"] == min(entry.priority for entry in held)
            assert stats.priority_quantiles["1"] == max(entry.priority for entry in held)

    def law(self) -> NDArray[np.float64]:
        """The law's own definition, of the model's entries."""
        priority = self.model.column("priority").astype(np.float64)
        code = self.model.column("code").astype(np.int32)
        return law(
            self.strategy, priority, code, self.model.column("timestamp").astype(np.int64), self.replay
        )


def _case(strategy: Strategy) -> Any:
    machine: Any = type(f"Machine_{strategy}", (StoreMachine,), {"strategy": strategy})
    machine.TestCase.settings = settings(max_examples=15, stateful_step_count=20)
    return machine.TestCase


TestUniform = _case("uniform")
TestPrioritizedLoss = _case("prioritized_loss")
TestPrioritizedRecency = _case("prioritized_recency")
TestMixed = _case("mixed")
TestDomainBalanced = _case("domain_balanced")
