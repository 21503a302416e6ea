"""Phase 4, first half: merge, prune, and states held out from a second consolidation (E32, E34)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from janus_memory.neocortex.consolidation import Rows
from janus_memory.neocortex.consolidation import consolidate as walk
from janus_memory.neocortex.merging import merge_night
from janus_memory.neocortex.pruning import prune_night
from janus_memory.neocortex.reassignment import reassign_night
from janus_memory.sleep.phases.consolidate import bank_before

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.bank import SchemaBank
    from janus_memory.sleep.night import Night
    from janus_memory.sleep.phases.freeze import Ground, Pool

__all__ = ["held_out", "held_out_states", "tidy"]

SMALL_NIGHT = 100
_HELD_OUT_BLOCKS = 25
_HELD_OUT_EVERY = 5


def tidy(night: Night, bank: SchemaBank, background: Background, pool: Pool) -> None:
    """Merge and prune the bank in place; a night that brought fewer than 100 states is a small one."""
    settings = night.settings.neocortex
    merge_night(bank, background, settings)
    prune_night(bank, night.closed_at, small_night=int(pool.new.sum()) < SMALL_NIGHT, settings=settings)


def held_out(timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Every fifth of 25 runs of distinct timestamps; bool [n], none below five rows.

    Rows of one timestamp stay together: many agents on one bar are near-copies, and a copy of a state that
    was fitted is not held out. With fewer than five distinct timestamps it is every fifth row.
    """
    moments, index = np.unique(timestamps, return_inverse=True)
    if len(moments) < _HELD_OUT_EVERY:
        moments, index = timestamps, np.arange(len(timestamps))
    block = index * min(_HELD_OUT_BLOCKS, len(moments)) // max(len(moments), 1)
    return np.asarray(block % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1)


def held_out_states(
    night: Night, ground: Ground, pool: Pool, passed: NDArray[np.bool_]
) -> tuple[SchemaBank, NDArray[np.float64]]:
    """A bank, and standardised states [n, d] that it has not learned; no states where none can be held out.

    For the first night, which no earlier model has seen coming: a second consolidation leaves out the rows of
    `held_out`. The states that formed the schemas lie nearer to them than new ones do: a quantile taken on them leaks
    3.4 % where 1 % was meant (SPEC section 7).
    """
    rows = pool.rows.take(pool.open)
    x, out = ground.scale.standardise(rows.state), held_out(rows.timestamp)
    shadow = bank_before(night)
    whole = Rows(x, rows.reward.astype(np.float64), rows.timestamp, passed)
    learned, settings = whole.take(~out), night.settings.neocortex
    result = walk(
        shadow,
        ground.background,
        learned,
        settings,
        night.workers.score,
        night.session_id,
        night.spec.name,
    )
    reassign_night(shadow, ground.background, learned, result.labels, settings)
    tidy(night, shadow, ground.background, pool)
    return shadow, x[out]
