"""A data folder after a night that remembers some rows, in the time of a night that has too few."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.hippocampus.metadata import Metadata
from janus_memory.sleep.cycle import read_commit
from janus_memory.sleep.memory import Memory, prefixed
from janus_memory.sleep.sessions import COMMIT_FILE
from janus_memory.store.arrays import read_arrays, write_arrays
from tests.unit.sleep_rows import MARKET, night_of, rows_of, sleep

if TYPE_CHECKING:
    from janus_memory.config import Settings
    from janus_memory.transition import Transitions

__all__ = ["remember", "warm_up"]


def remember(settings: Settings, rows: Transitions) -> None:
    """Sleep a night without learning, and put `rows` into the replay buffer that it committed."""
    committed = warm_up(settings)
    arrays, meta = read_arrays(committed)
    metadata = dataclasses.replace(Metadata.empty(len(rows)), priority=np.arange(len(rows), dtype=np.float64))
    memory = dataclasses.replace(read_commit(committed).memory, rows=rows, metadata=metadata)
    write_arrays(committed, arrays | prefixed("memory/", memory.snapshot()), meta)


def warm_up(settings: Settings) -> Path:
    """Sleep after a day of 50 rows, and commit; the file of the memory."""
    sleep(settings, Memory.empty(MARKET), night_of(1, rows_of(settings, 1, 50)))
    state = Path(settings.data_dir) / "state" / MARKET
    (state / "memory").mkdir()
    return (state / "sessions" / "day-1" / COMMIT_FILE).rename(state / "memory" / "000001-day-1.npz")
