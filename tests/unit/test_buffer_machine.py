"""The episodic buffer against a dictionary, in whatever order its methods are called."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray

from janus_memory.hippocampus.buffer import EpisodicBuffer
from janus_memory.store.arrays import array_digest
from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("fx", ("a", "b"), "discrete", 3)


@dataclass
class Held:
    """A row as the model holds it."""

    row: Transitions
    arrival: int
    known: float = 0.0

    def place(self) -> tuple[int, bytes, int]:
        """Where it stands in the total order."""
        return int(self.row.timestamp[0]), bytes(self.row.transition_id[0]), self.arrival


@dataclass
class Model:
    """What the buffer should hold, slot by slot."""

    capacity: int
    held: dict[int, Held] = field(default_factory=dict)
    generation: dict[int, int] = field(default_factory=dict)
    arrived: int = 0
    following: int = 0

    def put(self, row: Transitions, slot: int) -> None:
        """Write one row into a slot."""
        self.held[slot] = Held(row, self.arrived)
        self.generation[slot] = self.generation.get(slot, 0) + 1
        self.arrived += 1

    def turn(self, row: Transitions) -> int:
        """Write one row into the ring's next slot."""
        slot = self.following
        self.put(row, slot)
        self.following = (slot + 1) % self.capacity
        return slot

    def joined(self, held: list[Held]) -> Transitions:
        """The rows, one below the other."""
        return Transitions.concatenate([Transitions.empty(SPEC), *(h.row for h in held)])


BLOCKS = st.lists(st.tuples(st.integers(0, 5), st.integers(-4, 4), st.integers(0, 2)), max_size=12)


def make_rows(parts: list[tuple[int, int, int]]) -> Transitions:
    """Rows of which ids and timestamps often repeat."""
    n = len(parts)
    return Transitions.of(
        SPEC,
        timestamp=np.array([time for _, time, _ in parts], np.int64),
        transition_id=np.array([b"t%d" % name for name, _, _ in parts], "S64"),
        episode_id=np.array([b"e%d" % group for _, _, group in parts], "S64"),
        domain=np.array([b"d%d" % (group % 2) for _, _, group in parts], "S64"),
        reward=np.arange(n, dtype=np.float32),
    )


class BufferMachine(RuleBasedStateMachine):
    """Single rows, blocks, chosen slots, questions, and a life through a snapshot."""

    @initialize(capacity=st.integers(1, 9))
    def start(self, capacity: int) -> None:
        """An empty buffer."""
        self.buffer, self.model = EpisodicBuffer(SPEC, capacity), Model(capacity)

    @rule(parts=BLOCKS)
    def extend(self, parts: list[tuple[int, int, int]]) -> None:
        """A block of any length."""
        rows = make_rows(parts)
        slots = self.buffer.extend(rows)
        expected = [self.model.turn(rows.take(slice(i, i + 1))) for i in range(len(rows))]
        assert slots.dtype == np.int32
        assert slots.tolist() == expected[-self.model.capacity :]

    @rule(parts=BLOCKS)
    def append(self, parts: list[tuple[int, int, int]]) -> None:
        """Single rows, which may be staged."""
        rows = make_rows(parts)
        for i in range(len(rows)):
            row = rows.take(slice(i, i + 1))
            self.buffer.append(row)
            self.model.turn(row)
        assert self.buffer.arrived == self.model.arrived

    @rule(parts=BLOCKS, choices=st.lists(st.integers(0, 99), min_size=12, max_size=12))
    def write(self, parts: list[tuple[int, int, int]], choices: list[int]) -> None:
        """Rows into chosen slots, repeated ones and the next free ones among them."""
        rows, model = make_rows(parts), self.model
        slots: list[int] = []
        for i in range(len(rows)):
            size = len(model.held)
            slots.append(choices[i] % min(size + 1, model.capacity))
            model.put(rows.take(slice(i, i + 1)), slots[-1])
            if len(model.held) > size:
                model.following = len(model.held) % model.capacity
        self.buffer.write(rows, np.array(slots, np.int32))

    @rule(choice=st.integers(0, 99), value=st.floats(0, 10))
    def learn(self, choice: int, value: float) -> None:
        """Metadata is changed in place."""
        if self.model.held:
            slot = choice % len(self.model.held)
            self.buffer.metadata.priority[slot] = self.model.held[slot].known = value

    @rule(start=st.integers(-6, 6), width=st.integers(0, 6))
    def ask_for_time(self, start: int, width: int) -> None:
        """`between` and `last`, rows and slots."""
        times = {slot: int(h.row.timestamp[0]) for slot, h in self.model.held.items()}
        newest = max(times.values(), default=0)
        between = {slot for slot, t in times.items() if start <= t < start + width}
        last = {slot for slot, t in times.items() if t > newest - width}
        self.agree(self.buffer.slots_between(start, start + width), between)
        self.agree(self.buffer.slots_last(width), last)

    @rule(group=st.integers(0, 3))
    def ask_for_names(self, group: int) -> None:
        """`episode` and `domain`, rows and slots."""
        rows = {slot: h.row for slot, h in self.model.held.items()}
        episode, domain = b"e%d" % group, f"d{group}"
        self.agree(
            self.buffer.slots_episode(episode), {s for s, r in rows.items() if r.episode_id[0] == episode}
        )
        self.agree(
            self.buffer.slots_domain(domain), {s for s, r in rows.items() if r.domain[0] == domain.encode()}
        )

    @rule()
    def restore(self) -> None:
        """The buffer lives on as its snapshot."""
        snapshot = self.buffer.snapshot()
        self.buffer = EpisodicBuffer.restore(SPEC, self.model.capacity, snapshot)
        assert array_digest(self.buffer.snapshot()) == array_digest(snapshot)

    @rule(offset=st.integers(0, 2))
    def check_handles(self, offset: int) -> None:
        """A slot's handle is current at its own generation and at no other."""
        n = self.model.capacity
        generations = np.array([self.model.generation.get(slot, 0) for slot in range(n)], np.uint32)
        slots = np.arange(n, dtype=np.int32)
        expected = [slot in self.model.held and offset == 0 for slot in range(n)]
        assert self.buffer.current(slots, generations - np.uint32(offset)).tolist() == expected

    @rule()
    def check_state(self) -> None:
        """All rows in arrival order, and what is known of each."""
        model, n = self.model, len(self.buffer)
        assert n == len(model.held)
        in_order = sorted(model.held.values(), key=lambda h: h.arrival)
        assert self.buffer.rows().canonical_bytes() == model.joined(in_order).canonical_bytes()
        known = [model.held[slot].known for slot in range(n)]
        assert self.buffer.metadata.priority[:n].tolist() == known
        generation = [model.generation.get(slot, 0) for slot in range(model.capacity)]
        assert self.buffer.generation.tolist() == generation

    @invariant()
    def slots_fill_in_order(self) -> None:
        """No slot is empty below one that is not."""
        assert sorted(self.model.held) == list(range(len(self.model.held)))

    def agree(self, slots: NDArray[np.int32], expected: set[int]) -> None:
        """The slots are the expected ones, in the total order, and hold the model's rows."""
        in_order = sorted(expected, key=lambda slot: self.model.held[slot].place())
        assert slots.tolist() == in_order
        rows = self.model.joined([self.model.held[slot] for slot in in_order])
        assert self.buffer.columns.take(slots).canonical_bytes() == rows.canonical_bytes()


BufferMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestBufferMachine = BufferMachine.TestCase
