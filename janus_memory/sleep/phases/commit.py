"""Phase 5: what the market knows now, and the report on how it came to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.policy.factory import policy_name
from janus_memory.sleep.memory import Knowledge, Memory
from janus_memory.sleep.phases.freeze import id_digests

if TYPE_CHECKING:
    from janus_memory.sleep.memory import MapDrawing
    from janus_memory.sleep.night import Night
    from janus_memory.sleep.phases.consolidate import Consolidated
    from janus_memory.sleep.phases.freeze import Frozen, Ground, Pool
    from janus_memory.sleep.phases.publish import Published
    from janus_memory.sleep.phases.replay import Replayed

__all__ = ["committed_memory", "skipped_memory"]


def skipped_memory(before: Memory, frozen: Frozen) -> Memory:
    """The memory as it was, with all new rows waiting."""
    return replace(
        before,
        sessions=(*before.sessions, frozen.session_id),
        closed_at=frozen.closed_at,
        accepted=frozen.accepted,
        waiting=frozen.carried,
    )


def committed_memory(  # noqa: PLR0917  (the results of all phases, in their order)
    night: Night,
    frozen: Frozen,
    pool: Pool,
    ground: Ground,
    replayed: Replayed,
    done: Consolidated,
    drawing: MapDrawing,
    published: Published,
) -> Memory:
    """The memory after a night: buffer, flags and consolidated ids brought up to date."""
    before = night.memory
    consolidated = pool.metadata.consolidated.copy()
    taken = pool.open[done.passed]
    consolidated[taken] = True
    new_ids = id_digests(pool.rows.transition_id[taken])
    return Memory(
        market=before.market,
        nights=before.nights + 1,
        sessions=(*before.sessions, frozen.session_id),
        closed_at=frozen.closed_at,
        accepted=frozen.accepted,
        known=np.sort(np.concatenate([before.known, new_ids])),
        rows=pool.rows.take(pool.buffer),
        metadata=replace(replayed.metadata, consolidated=consolidated[pool.buffer]),
        waiting=frozen.carried,
        knowledge=Knowledge(
            scale=ground.scale,
            background=ground.background,
            bank=published.bank,
            separation=done.separation,
            recall_gate=done.recall_gate,
            policy=policy_name(night.settings.policy),
            fast=replayed.fast,
            slow=done.slow,
            announced=published.announced,
            history=published.history,
            drawing=drawing,
            anomaly=published.anomaly,
            calibration=published.calibration,
            density=published.density,
        ),
    )
