"""An episode replayed: which rows are due when, and that they are sent then, whatever the clock does."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_memory.errors import ConfigError
from janus_memory.replay.emission import Emission, emit, schedule
from janus_memory.replay.episodes import episodes_of, find_episode
from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("fx", ("ret", "vol"), "discrete", 3)
S = 10**9
T0 = 1_700_000_000 * S


def rows_at(
    *seconds: float, episode: bytes = b"e1", agent: bytes = b"a", instrument: bytes = b"EURUSD"
) -> Transitions:
    """One row for each time after T0; ids ascend."""
    n = len(seconds)
    return dataclasses.replace(
        Transitions.empty(SPEC, n),
        transition_id=np.array([b"%s-%s-%03d" % (agent, episode, i) for i in range(n)], "S64"),
        episode_id=np.full(n, episode, "S64"),
        agent_id=np.full(n, agent, "S64"),
        instrument=np.full(n, instrument, "S64"),
        timestamp=np.array([T0 + round(s * S) for s in seconds], np.int64),
        reward=np.arange(n, dtype=np.float32),
    )


@dataclass
class World:
    """A clock moved by hand, and a sink that notes what is acknowledged when; sending takes `send_s`."""

    send_s: float = 0.0
    time: float = 100.0
    slept: list[float] = field(default_factory=list)
    queued: list[Transitions] = field(default_factory=list)
    arrived: list[tuple[float, Transitions]] = field(default_factory=list)

    def now(self) -> float:
        """The time as moved so far."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Move it."""
        self.slept.append(seconds)
        self.time += seconds

    async def send(self, rows: Transitions) -> None:
        """Queue."""
        self.queued.append(rows)

    async def flush(self) -> None:
        """Acknowledge what is queued."""
        self.time += self.send_s
        self.arrived += [(self.time, rows) for rows in self.queued]
        self.queued.clear()


def play(emissions: list[Emission], world: World) -> list[Emission]:
    told: list[Emission] = []
    asyncio.run(emit(emissions, world, world, told.append))
    return told


def test_rows_are_due_at_their_compressed_time_and_carry_it() -> None:
    """E12 at C = 15 by hand: bars of a minute every 4 s, two rows of one bar together, everything else untouched."""
    rows = rows_at(0, 60, 60, 150)
    due = schedule(rows, 15)
    assert [e.due_s for e in due] == [0.0, 4.0, 10.0]
    assert [e.rows.transition_id[:, None].tolist() for e in due] == [
        [[b"a-e1-000"]], [[b"a-e1-001"], [b"a-e1-002"]], [[b"a-e1-003"]],
    ]  # fmt: skip
    back = Transitions.concatenate([e.replayed for e in due])
    assert (back.timestamp - T0).tolist() == [0, 4 * S, 4 * S, 10 * S]
    restored = dataclasses.replace(back, timestamp=rows.timestamp)
    assert restored.canonical_bytes() == rows.canonical_bytes()
    assert Transitions.concatenate([e.rows for e in due]).canonical_bytes() == rows.canonical_bytes()


@given(st.lists(st.integers(0, 10_000), max_size=40), st.floats(0.1, 1e4), st.integers(0, 9))
def test_a_schedule_holds_every_row_once_in_the_total_order(
    seconds: list[int], compression: float, seed: int
) -> None:
    """Whatever order rows are given in; later emissions are due later; equal times are never parted."""
    rows = rows_at(*seconds)
    shuffled = rows.take(np.random.default_rng(seed).permutation(len(rows)))
    due = schedule(shuffled, compression)
    assert [i for e in due for i in e.rows.transition_id] == list(rows.sorted().transition_id)
    assert len(due) == len(set(seconds))
    assert all(before.due_s < after.due_s for before, after in pairwise(due))
    for e in due:
        assert e.due_s == pytest.approx(
            (e.rows.timestamp[0] - T0) / S / compression - due_offset(seconds, compression)
        )


def due_offset(seconds: list[int], compression: float) -> float:
    """The first row, whenever it happened, is due at once."""
    return min(seconds) / compression


def test_a_bad_compression_is_refused_before_anything_is_planned() -> None:
    with pytest.raises(ConfigError, match="not a positive number"):
        schedule(rows_at(0, 1), 0)


def test_each_emission_goes_out_when_it_is_due() -> None:
    """The waits are the compressed intervals; what is told is acknowledged."""
    world = World()
    due = schedule(rows_at(0, 60, 150), 15)
    assert play(due, world) == due
    assert world.slept == [4.0, 6.0]
    assert [rows.timestamp[0] - T0 for _, rows in world.arrived] == [0, 4 * S, 10 * S]
    assert [(at - 100.0, rows.transition_id[0]) for at, rows in world.arrived] == [
        (0.0, b"a-e1-000"), (4.0, b"a-e1-001"), (10.0, b"a-e1-002"),
    ]  # fmt: skip


def test_lateness_does_not_add_up() -> None:
    """A broker that needs 5 s a record delays the second row by one send; the pace catches up in the long gap."""
    world = World(send_s=5.0)
    play(schedule(rows_at(0, 60, 600), 15), world)
    assert world.slept == [30.0]
    assert [at - 100.0 for at, _ in world.arrived] == [5.0, 10.0, 45.0]


def test_what_was_sent_before_an_interrupt_is_told_and_no_more() -> None:
    """Cancelled while it waits for the third row: two have been told, two have arrived."""

    class Interrupted(World):
        async def sleep(self, seconds: float) -> None:
            if self.slept:
                raise asyncio.CancelledError
            await super().sleep(seconds)

    world, told = Interrupted(), list[Emission]()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(emit(schedule(rows_at(0, 60, 150), 15), world, world, told.append))
    assert [e.due_s for e in told] == [0.0, 4.0]
    assert len(world.arrived) == 2


def test_a_row_that_is_not_acknowledged_is_not_told() -> None:
    """The sink's refusal ends the replay."""

    class Refusing(World):
        async def flush(self) -> None:
            if self.arrived:
                raise ConfigError("no")
            await super().flush()

    world, told = Refusing(), list[Emission]()
    with pytest.raises(ConfigError):
        asyncio.run(emit(schedule(rows_at(0, 60, 150), 15), world, world, told.append))
    assert len(told) == 1


def test_no_rows_are_no_emissions() -> None:
    assert schedule(rows_at(), 15) == []
    assert play([], World()) == []
    assert episodes_of(rows_at()) == []


def mixed() -> Transitions:
    """Three episodes whose rows alternate; two share their id."""
    return Transitions.concatenate(
        [
            rows_at(0, 20, 40, episode=b"day-1", agent=b"anna"),
            rows_at(10, 30, episode=b"day-1", agent=b"ben"),
            rows_at(-5, 25, episode=b"day-2", agent=b"ben"),
        ]
    ).sorted()


def test_episodes_are_told_apart_by_instrument_agent_and_id() -> None:
    """Each with its own rows, in order, the one that began first first; together they are the buffer."""
    rows = mixed()
    found = episodes_of(rows)
    assert [e.name for e in found] == ["EURUSD/ben/day-2", "EURUSD/anna/day-1", "EURUSD/ben/day-1"]
    assert [((rows.timestamp[e.members] - T0) // S).tolist() for e in found] == [
        [-5, 25],
        [0, 20, 40],
        [10, 30],
    ]
    assert sorted(np.concatenate([e.members for e in found]).tolist()) == list(range(7))


def test_an_episode_is_found_by_its_id_or_its_name() -> None:
    """An id that two share needs the name; a wrong one is answered with the nearest."""
    found = episodes_of(mixed())
    assert find_episode(found, "day-2") is found[0]
    assert find_episode(found, "EURUSD/ben/day-1") is found[2]
    with pytest.raises(
        ConfigError, match=r"2 episodes have the id 'day-1'.*EURUSD/anna/day-1, EURUSD/ben/day-1"
    ):
        find_episode(found, "day-1")
    with pytest.raises(ConfigError, match=r"no episode 'day-3'.*nearest are day-"):
        find_episode(found, "day-3")
    with pytest.raises(ConfigError, match="it holds 3, see them with --list"):
        find_episode(found, "zzz")
