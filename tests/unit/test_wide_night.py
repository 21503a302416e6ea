"""A night of 32 features, in which the states of young schemas are looked at a second time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from janus_memory.sleep.memory import Memory
from tests.unit.sleep_rows import FEATURES, MARKET, night_of, rows_of, settings_for, sleep

if TYPE_CHECKING:
    from pathlib import Path


def test_a_wide_night_looks_twice_and_loses_no_row(tmp_path: Path) -> None:
    """Rows change their schema, and each is still counted in exactly one."""
    few = settings_for(tmp_path)
    names = (*FEATURES, *(f"feature_{i}" for i in range(28)))
    market = msgspec.structs.replace(few.markets[MARKET], features=names)
    settings = msgspec.structs.replace(few, markets={MARKET: market})
    rng = np.random.default_rng(0)
    centres = 0.9 * rng.normal(size=(10, 32))
    state = (centres[rng.integers(0, 10, 250)] + rng.normal(size=(250, 32))).astype(np.float32)
    following = np.minimum(np.arange(250) + 2, 249)
    rows = replace(rows_of(few, 1), state=state, next_state=state[following])
    night = sleep(settings, Memory.empty(MARKET), night_of(1, rows))
    metrics, known = night.report.metrics, night.memory.knowledge
    assert (night.state, metrics["rows_consolidated"]) == ("committed", 250)
    assert metrics["rows_reassigned"] > 0
    assert known is not None
    assert sum(known.bank.num_points) == 250
