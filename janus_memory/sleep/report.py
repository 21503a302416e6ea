"""Phase 5's report: what a night did, in numbers and a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from janus_memory.events import SleepReport, encode, event_id
from janus_memory.sleep.outbox import OutboxRecord
from janus_memory.topics import SLEEP_REPORTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from janus_memory.sleep.memory import Memory
    from janus_memory.transition import Transitions

__all__ = ["memory_metrics", "report_of", "report_record", "row_metrics"]


def row_metrics(new: Transitions) -> dict[str, float]:
    """Transitions of the night beside the distinct market states in them (many agents trade one bar)."""
    return {
        "transitions": float(len(new)),
        "distinct_states": float(len(np.unique(new.state, axis=0))),
        "distinct_timestamps": float(len(np.unique(new.timestamp))),
        "episodes": float(len({*zip(new.instrument, new.agent_id, new.episode_id, strict=True)})),
    }


def memory_metrics(memory: Memory) -> dict[str, float]:
    """What the market knows after the night."""
    known = memory.knowledge
    if known is None or memory.rows is None:
        return {"accepted": float(memory.accepted)}
    sizes = known.bank.num_points
    clusters = known.drawing.clusters
    return {
        "accepted": float(memory.accepted),
        "schemas": float(len(sizes)),
        "schema_size_mean": float(sizes.mean()) if len(sizes) else 0.0,
        "schemas_archived_total": float(len(known.bank.archived_ids)),
        "clusters": float(clusters.max() + 1) if len(clusters) else 0.0,
        "buffer_rows": float(len(memory.rows)),
        "buffer_unconsolidated": float((~memory.metadata.consolidated).sum()),
        "consolidated_total": float(len(memory.known)),
    }


def report_of(
    memory: Memory,
    cycle_id: str,
    state: Literal["committed", "skipped"],
    *,
    reason: str = "",
    metrics: Mapping[str, float],
    phase_seconds: Mapping[str, float],
    notes: list[str],
    strategy: str = "",
    policy: str = "",
) -> SleepReport:
    """The report of the memory's last session; wall times stand only in `phase_seconds`."""
    return SleepReport(
        event_id=event_id("report", memory.market, cycle_id, state),
        market=memory.market,
        as_of=memory.closed_at,
        cycle_id=cycle_id,
        session_id=memory.sessions[-1],
        state=state,
        reason=reason,
        digest=memory.digest(),
        metrics=dict(sorted(metrics.items())),
        phase_seconds=dict(phase_seconds),
        notes=notes,
        strategy=strategy,
        domains=_domains(memory) if strategy else {},
        policy=policy,
    )


def report_record(report: SleepReport) -> OutboxRecord:
    """The report as the last record of an outbox."""
    return OutboxRecord(SLEEP_REPORTS, report.market, encode(report))


def _domains(memory: Memory) -> dict[str, int]:
    """Rows of the replay buffer by domain, in the order of their names."""
    if memory.rows is None:
        return {}
    names, counts = np.unique(memory.rows.domain, return_counts=True)
    return {name.decode(): count for name, count in zip(names.tolist(), counts.tolist(), strict=True)}
