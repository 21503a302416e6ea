"""A memory survives storing and restoring, byte for byte, at every stage of a market's life."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.sleep.memory import Memory
from janus_memory.store.arrays import array_digest, read_arrays, write_arrays
from tests.unit.sleep_rows import MARKET, night_of, rows_of, settings_for, sleep

if TYPE_CHECKING:
    from pathlib import Path


def stages(tmp_path: Path) -> list[Memory]:
    """New, warming up, and after a night with early rows waiting."""
    settings = settings_for(tmp_path)
    rows = rows_of(settings, 1)
    new = Memory.empty(MARKET)
    warming = sleep(settings, new, night_of(1, rows.take(slice(0, 50))), run="a").memory
    committed = sleep(settings, new, night_of(1, rows), run="b").memory
    return [new, warming, replace(committed, waiting=rows_of(settings, 2, 5))]


def test_a_memory_survives_a_file(tmp_path: Path) -> None:
    """Snapshot, file and restore give the same arrays and the same digest."""
    for number, memory in enumerate(stages(tmp_path)):
        file = tmp_path / f"{number}.npz"
        write_arrays(file, memory.snapshot(), {})
        back = Memory.restore(read_arrays(file)[0])
        assert array_digest(back.snapshot()) == array_digest(memory.snapshot())
        assert back.digest() == memory.digest()
        assert (back.market, back.sessions, back.accepted) == (
            memory.market,
            memory.sessions,
            memory.accepted,
        )


def test_a_digest_covers_what_was_learned_and_not_what_waits(tmp_path: Path) -> None:
    """Waiting rows, the buffer's counts and the map leave it; consolidated ids, weights and schemas change it."""
    _, _, memory = stages(tmp_path)
    known = memory.knowledge
    assert known is not None
    same = replace(
        memory,
        waiting=None,
        metadata=replace(memory.metadata, replay_count=memory.metadata.replay_count + 1),
        knowledge=replace(known, drawing=replace(known.drawing, coordinates=known.drawing.coordinates + 1)),
    )
    assert same.digest() == memory.digest()
    slow = {name: np.nextafter(value, 9) for name, value in known.slow.items()}
    fast = {name: value + (name == "key") for name, value in known.fast.items()}
    others = [
        replace(memory, known=memory.known[1:]),
        replace(memory, knowledge=replace(known, slow=slow)),
        replace(memory, knowledge=replace(known, fast=fast)),
        replace(memory, knowledge=replace(known, recall_gate=replace(known.recall_gate, bias=1.0))),
    ]
    digests = {memory.digest(), *(other.digest() for other in others)}
    assert len(digests) == 5
