"""Phase 2: the gated transfer of the open rows into schemas and slow weights (E2-E6, E16-E22)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from janus_memory.atlas.anomaly import AnomalyModel
from janus_memory.hippocampus.separation import Separation
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.consolidation import Rows
from janus_memory.neocortex.consolidation import consolidate as walk
from janus_memory.neocortex.gates import RecallGate, episode_index, logic_gate, pass_rates, passes
from janus_memory.neocortex.reassignment import reassign_night
from janus_memory.neocortex.relaxed import consolidate_relaxed
from janus_memory.sleep.memory import note, prefixed
from janus_memory.sleep.phases.replay import problem_of
from janus_memory.store.arrays import subtree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.sleep.learning import Learning
    from janus_memory.sleep.night import Night
    from janus_memory.sleep.phases.freeze import Ground, Pool
    from janus_memory.sleep.phases.replay import Replayed
    from janus_memory.store.arrays import Arrays

__all__ = ["Consolidated", "bank_before", "consolidate"]


@dataclass(frozen=True, slots=True)
class Consolidated:
    """The outcome of phase 2.

    Attributes:
        bank: the schemas, before merging and pruning.
        separation, recall_gate: trained tonight.
        slow: what the slow learner knows after its pass (E19).
        passed: bool [n_open], which open rows both gates let through (E20).
        distances: float64 [n_new], of the new rows to what the night before knew; empty before there is a model.
        metrics: numbers for the report.
    """

    bank: SchemaBank
    separation: Separation
    recall_gate: RecallGate
    slow: Arrays
    passed: NDArray[np.bool_]
    distances: NDArray[np.float64]
    metrics: dict[str, float]

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {
            **prefixed("bank/", self.bank.snapshot()),
            **prefixed("separation/", self.separation.snapshot()),
            **prefixed("recall/", self.recall_gate.snapshot()),
            **prefixed("slow/", self.slow),
            "passed": self.passed,
            "distances": self.distances,
            "metrics": note(self.metrics),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Consolidated:
        """The inverse of `snapshot`."""
        return cls(
            SchemaBank.restore(subtree(arrays, "bank/")),
            Separation.restore(subtree(arrays, "separation/")),
            RecallGate.restore(subtree(arrays, "recall/")),
            subtree(arrays, "slow/"),
            cast("NDArray[np.bool_]", arrays["passed"]),
            cast("NDArray[np.float64]", arrays["distances"]),
            msgspec.json.decode(arrays["metrics"].tobytes(), type=dict[str, float]),
        )


def bank_before(night: Night) -> SchemaBank:
    """A copy of the bank as the last night left it; an empty one before the first."""
    known = night.memory.knowledge
    return SchemaBank.restore(known.bank.snapshot()) if known else SchemaBank.empty(night.spec.state_size)


def consolidate(
    night: Night, pool: Pool, replayed: Replayed, ground: Ground, learning: Learning
) -> Consolidated:
    """Train separation and recall gate, judge every open row, move schemas and slow weights by those that pass."""
    settings, scale = night.settings, ground.scale
    separation, metrics = _separation(night, scale.standardise(pool.rows.take(pool.buffer).state))
    rows = pool.rows.take(pool.open)
    x = scale.standardise(rows.state)
    gate, fit = RecallGate.fit(
        scale.standardise(pool.rows.take(pool.buffer).state),
        separation.code,
        settings.neocortex,
        night.seed("recall"),
    )
    recall = gate.gate(separation.code(x))
    logic = _logic(night, pool)[pool.open]
    passed = passes(recall, logic, settings.neocortex)
    bank = bank_before(night)
    given = Rows(x, rows.reward.astype(np.float64), rows.timestamp, passed)
    taking_in = (bank, ground.background, given, settings.neocortex)
    origin = (night.session_id, night.spec.name)
    if settings.neocortex.assignment == "relaxed":
        result = consolidate_relaxed(*taking_in, night.workers.form_schemas, *origin)
    else:
        result = walk(*taking_in, night.workers.score, *origin)
    labels = reassign_night(bank, ground.background, given, result.labels, settings.neocortex)
    taken = rows.take(passed)
    gates = (recall * logic)[passed].astype(np.float32)
    slow = learning.consolidate(replayed.slow, replayed.fast, problem_of(night, taken, scale), gates)
    rates = pass_rates(recall, logic, settings.neocortex)
    distances, flags = _strangeness(night, pool)
    return Consolidated(
        bank=bank,
        separation=separation,
        recall_gate=gate,
        slow=slow,
        passed=passed,
        distances=distances,
        metrics={
            **metrics,
            **{f"pass_rate_{name}": rate for name, rate in rates.items()},
            **_rates_by_schema(result.ids, labels, passed),
            **flags,
            **({"recall_gate_accuracy": fit.accuracy} if fit.n_rows else {}),
            "rows_open": float(len(rows)),
            "rows_reassigned": float((labels != result.labels).sum()),
            "rows_consolidated": float(passed.sum()),
            "rows_rejected": float((~passed).sum()),
        },
    )


def _separation(night: Night, x: NDArray[np.float64]) -> tuple[Separation, dict[str, float]]:
    """The encoder of the night before (or a new one), trained on the buffer (E2-E4)."""
    known, settings = night.memory.knowledge, night.settings.hippocampus
    start = (
        known.separation
        if known
        else Separation.init(night.spec.state_size, settings, night.seed("separation init"))
    )
    trained, report = start.train(x, settings, night.seed("separation"))
    return trained, {
        "code_overlap_before": report.overlap_before,
        "code_overlap_after": report.overlap_after,
        "code_orthogonality_before": report.orthogonality_before,
        "code_orthogonality_after": report.orthogonality_after,
    }


def _logic(night: Night, pool: Pool) -> NDArray[np.float64]:
    """g_logic of every row of the pool, over the rows of its episode that the pool holds (E18)."""
    truths = night.workers.truths(night.rules, pool.rows)
    return logic_gate(episode_index(pool.rows), truths, night.rules.weights, night.rules.quantifiers)


def _rates_by_schema(
    ids: NDArray[np.bytes_], labels: NDArray[np.intp], passed: NDArray[np.bool_]
) -> dict[str, float]:
    """Pass rate of the rows of each schema by its id before the night's merging: a gate can starve a regime."""
    rates = {
        f"pass_rate_schema_{ids[label].decode()}": float(passed[labels == label].mean())
        for label in np.unique(labels[labels >= 0])
    }
    return {
        **rates,
        "pass_rate_schema_min": min(rates.values(), default=1.0),
        "pass_rate_schema_max": max(rates.values(), default=1.0),
    }


def _strangeness(night: Night, pool: Pool) -> tuple[NDArray[np.float64], dict[str, float]]:
    """How far the new rows lie from what the night before knew, and how many are anomalies by its model.

    Nothing is measured before there is a model.
    """
    known = night.memory.knowledge
    if known is None or known.anomaly is None:
        return np.zeros(0), {"anomalies": 0.0}
    model = AnomalyModel.load(night.path_of(known.anomaly), known.anomaly.sha256)
    distance, _ = model.distances(pool.rows.state[pool.new])
    return distance, {"anomalies": float((distance > model.threshold).sum())}
