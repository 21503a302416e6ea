"""Phase 4: tidy the bank, write the models, and lay down what is to be announced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import msgspec
import numpy as np

from janus_memory.atlas.anomaly import AnomalyModel
from janus_memory.events import PolicyUpdate, encode, event_id
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.density import Density
from janus_memory.neocortex.lineage import LifeEvent
from janus_memory.neocortex.profile import Typical
from janus_memory.policy.factory import policy_name
from janus_memory.sleep.announce import facts_of, net_changes, schema_event
from janus_memory.sleep.memory import Announced, ModelFile, note, prefixed
from janus_memory.sleep.outbox import OutboxRecord, pack_outbox, unpack_outbox
from janus_memory.sleep.phases.consolidate import bank_before
from janus_memory.sleep.phases.tidy import held_out_states, tidy
from janus_memory.store.arrays import subtree
from janus_memory.topics import POLICY_UPDATES, SCHEMA_UPDATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from janus_memory.events import SchemaUpdate
    from janus_memory.sleep.announce import Change
    from janus_memory.sleep.learning import Learning
    from janus_memory.sleep.night import Night
    from janus_memory.sleep.phases.consolidate import Consolidated
    from janus_memory.sleep.phases.freeze import Ground, Pool
    from janus_memory.store.arrays import Arrays

__all__ = ["Published", "publish"]


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome of phase 4.

    Attributes:
        bank: the schemas, merged and pruned.
        announced: which night told of each live schema last.
        history: what the nights up to this one did to schemas.
        anomaly: where the anomaly model is; None without schemas.
        calibration: float64 [n], the distances that its threshold comes from.
        density: the weights of the model average, after tonight's states were judged by what was known before.
        records: schema updates by id, then the policy update.
        metrics: numbers for the report.
    """

    bank: SchemaBank
    announced: dict[str, Announced]
    history: tuple[LifeEvent, ...]
    anomaly: ModelFile | None
    calibration: NDArray[np.float64]
    density: Density
    records: tuple[OutboxRecord, ...]
    metrics: dict[str, float]

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {
            **prefixed("bank/", self.bank.snapshot()),
            "announced": note(self.announced),
            "history": note(self.history),
            "anomaly": note(self.anomaly),
            "calibration": self.calibration,
            **prefixed("density/", self.density.snapshot()),
            "records": pack_outbox(self.records),
            "metrics": note(self.metrics),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Published:
        """The inverse of `snapshot`."""
        return cls(
            SchemaBank.restore(subtree(arrays, "bank/")),
            msgspec.json.decode(arrays["announced"].tobytes(), type=dict[str, Announced]),
            msgspec.json.decode(arrays["history"].tobytes(), type=tuple[LifeEvent, ...]),
            msgspec.json.decode(arrays["anomaly"].tobytes(), type=ModelFile | None),
            cast("NDArray[np.float64]", arrays["calibration"]),
            Density.restore(subtree(arrays, "density/")),
            unpack_outbox(cast("NDArray[np.uint8]", arrays["records"])),
            msgspec.json.decode(arrays["metrics"].tobytes(), type=dict[str, float]),
        )


def publish(  # noqa: PLR0917  (the results of the phases before, and who writes the policy)
    night: Night,
    pool: Pool,
    done: Consolidated,
    ground: Ground,
    told: dict[str, float],
    learning: Learning,
) -> Published:
    """Phase 4. `told` are the numbers that go with the policy update."""
    before = bank_before(night)
    bank = SchemaBank.restore(done.bank.snapshot())
    tidy(night, bank, ground.background, pool)
    changes = net_changes(before, bank)
    typical = Typical.of(bank.num_points, bank.means, bank.covariances)
    events = [schema_event(night, change, ground.scale, typical, bank.version) for change in changes]
    policy = _write_policy(night, done, learning)
    calibration, density = _calibration(night, pool, done, ground)
    anomaly = _write_anomalies(night, ground, bank, calibration)
    update = PolicyUpdate(
        event_id=event_id("policy", night.spec.name, night.cycle_id),
        market=night.spec.name,
        as_of=night.closed_at,
        cycle_id=night.cycle_id,
        policy=policy_name(night.settings.policy),
        policy_version=night.memory.nights + 1,
        location=policy.location,
        sha256=policy.sha256,
        anomaly_location=anomaly.location if anomaly else "",
        anomaly_sha256=anomaly.sha256 if anomaly else "",
        metrics=told,
    )
    records = [OutboxRecord(SCHEMA_UPDATES, f"{e.market}/{e.schema_id}", encode(e)) for e in events]
    records.append(OutboxRecord(POLICY_UPDATES, night.spec.name, encode(update)))
    return Published(
        bank,
        _announced(night, bank, events),
        _history(night, events),
        anomaly,
        calibration,
        density,
        tuple(records),
        _counts(changes),
    )


def _announced(night: Night, bank: SchemaBank, events: Sequence[SchemaUpdate]) -> dict[str, Announced]:
    """Tonight's words for what changed tonight, else those said before."""
    known = night.memory.knowledge
    earlier = known.announced if known else {}
    tonight = {e.schema_id: Announced(e.cycle_id, e.bank_version, e.profile) for e in events}
    return {name: tonight.get(name) or earlier[name] for name in facts_of(bank)}


def _history(night: Night, events: Sequence[SchemaUpdate]) -> tuple[LifeEvent, ...]:
    """What was known before, and tonight's events but for mere updates."""
    known = night.memory.knowledge
    tonight = tuple(
        LifeEvent(
            schema_id=e.schema_id,
            kind=e.kind,
            merged_into=e.merged_into,
            session_id=night.session_id,
            at=e.as_of,
            num_points=e.num_points,
            profile=e.profile,
        )
        for e in events
        if e.kind != "updated"
    )
    return (*(known.history if known else ()), *tonight)


def _counts(changes: Sequence[Change]) -> dict[str, float]:
    kinds = ("created", "updated", "merged", "archived", "revived", "pruned")
    return {f"schemas_{kind}": float(sum(c.kind == kind for c in changes)) for kind in kinds}


def _write_policy(night: Night, done: Consolidated, learning: Learning) -> ModelFile:
    night.models.mkdir(parents=True, exist_ok=True)
    path, sha256 = learning.write(done.slow, night.models / f"policy-{quote(night.session_id, safe='')}")
    return ModelFile(night.located(path), sha256)


def _calibration(
    night: Night, pool: Pool, done: Consolidated, ground: Ground
) -> tuple[NDArray[np.float64], Density]:
    """Distances of states that were new when they were measured, the last nights' and tonight's; and the density.

    Tonight's states were measured by the model of the night before, which is what the live path does to them, and are
    judged by its schemas. Where there was no model yet, some of tonight's states are held out.
    """
    known = night.memory.knowledge
    earlier = known.calibration if known else np.zeros(0)
    density = known.density if known else Density.uniform()
    if known is None or known.anomaly is None:
        bank, new = held_out_states(night, ground, pool, done.passed)
        tonight = bank.distances(new) if len(bank.ids) else np.zeros(0)
    else:
        bank, new = known.bank, ground.scale.standardise(pool.rows.state[pool.new])
        tonight = done.distances
    distances = np.concatenate([earlier, tonight])[-night.settings.atlas.calibration_rows :]
    return distances, density.learn(bank, ground.background, new, night.settings.neocortex.neighbour_gap)


def _write_anomalies(
    night: Night, ground: Ground, bank: SchemaBank, calibration: NDArray[np.float64]
) -> ModelFile | None:
    """The anomaly model's file; without schemas, or with too few rows to hold some out, the last one stays."""
    known = night.memory.knowledge
    if not len(bank.ids) or not len(calibration):
        return known.anomaly if known else None
    path = night.models / f"anomaly-{quote(night.session_id, safe='')}.safetensors"
    rate = night.settings.atlas.anomaly_rate
    model = AnomalyModel.fit(bank, ground.scale, calibration, rate, night.cycle_id)
    return ModelFile(night.located(path), model.save(path))
