"""Everything a market knows after a night: what the next night starts from, and what a rebuild restores.

`Memory` is immutable; a night reads one and makes the next. `Knowledge` is the part that exists only once a
night has been committed: before that a market has rows and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from janus_memory.hippocampus.metadata import Metadata
from janus_memory.hippocampus.separation import Separation
from janus_memory.neocortex.background import Background
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.density import Density
from janus_memory.neocortex.gates import RecallGate
from janus_memory.neocortex.lineage import LifeEvent
from janus_memory.scale import Scale
from janus_memory.store.arrays import array_digest, subtree
from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays

__all__ = ["Announced", "Knowledge", "MapDrawing", "Memory", "ModelFile", "note", "prefixed"]


class ModelFile(msgspec.Struct, frozen=True):
    """A file of weights: where it is (relative to the data folder, if inside it) and what it must hash to."""

    location: str
    sha256: str


@dataclass(frozen=True, slots=True)
class MapDrawing:
    """The last map.

    Attributes:
        ids: bytes [n], of what was drawn: schema ids or transition ids.
        coordinates: float64 [n, 3], map units.
        clusters: int64 [n], -1 where a point belongs to none.
        of_schemas: True where schemas were drawn, False for a sample of states.
    """

    ids: NDArray[np.bytes_]
    coordinates: NDArray[np.float64]
    clusters: NDArray[np.int64]
    of_schemas: bool

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {
            "ids": self.ids,
            "coordinates": self.coordinates,
            "clusters": self.clusters,
            "of_schemas": np.array(self.of_schemas),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> MapDrawing:
        """The inverse of `snapshot`."""
        return cls(
            cast("NDArray[np.bytes_]", arrays["ids"]),
            cast("NDArray[np.float64]", arrays["coordinates"]),
            cast("NDArray[np.int64]", arrays["clusters"]),
            bool(arrays["of_schemas"]),
        )


class Announced(msgspec.Struct, frozen=True):
    """What was said of a schema last, so that the vector store says the same."""

    cycle_id: str
    bank_version: int
    profile: str


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What sleep has made of the rows.

    Attributes:
        scale, background: fitted once, on the first real night.
        bank: the schemas.
        separation, recall_gate: of the last night.
        policy: who has learned: `built-in`, or the factory of a user's own (`policy.factory`).
        fast: what the fast learner knows: weights, target, optimiser and generator, or the user's file.
        slow: what is published: weights, or the user's file.
        announced: by schema id.
        history: what the nights did to schemas, in order (`lineage_of`).
        drawing: the last map.
        anomaly: the model by which live states are flagged; None while there is no schema.
        calibration: float64 [n], distances of states that were new when they were measured; the model's threshold.
        density: the weights by which the schemas describe a new state.
    """

    scale: Scale
    background: Background
    bank: SchemaBank
    separation: Separation
    recall_gate: RecallGate
    policy: str
    fast: Arrays
    slow: Arrays
    announced: dict[str, Announced]
    history: tuple[LifeEvent, ...]
    drawing: MapDrawing
    anomaly: ModelFile | None
    calibration: NDArray[np.float64]
    density: Density

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {
            **self.digested(),
            **prefixed("scale/", self.scale.snapshot()),
            **prefixed("background/", self.background.snapshot()),
            **prefixed("drawing/", self.drawing.snapshot()),
            "policy": note(self.policy),
            "announced": note(self.announced),
            "history": note(self.history),
            "anomaly": note(self.anomaly),
            "calibration": self.calibration,
            **prefixed("density/", self.density.snapshot()),
        }

    def digested(self) -> Arrays:
        """The part that a digest covers."""
        return {
            **prefixed("bank/", self.bank.snapshot()),
            **prefixed("separation/", self.separation.snapshot()),
            **prefixed("recall/", self.recall_gate.snapshot()),
            **prefixed("learner/", self.fast),
            **prefixed("slow/", self.slow),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Knowledge:
        """The inverse of `snapshot`."""
        return cls(
            scale=Scale.restore(subtree(arrays, "scale/")),
            background=Background.restore(subtree(arrays, "background/")),
            bank=SchemaBank.restore(subtree(arrays, "bank/")),
            separation=Separation.restore(subtree(arrays, "separation/")),
            recall_gate=RecallGate.restore(subtree(arrays, "recall/")),
            policy=msgspec.json.decode(arrays["policy"].tobytes(), type=str),
            fast=subtree(arrays, "learner/"),
            slow=subtree(arrays, "slow/"),
            announced=msgspec.json.decode(arrays["announced"].tobytes(), type=dict[str, Announced]),
            history=msgspec.json.decode(arrays["history"].tobytes(), type=tuple[LifeEvent, ...]),
            drawing=MapDrawing.restore(subtree(arrays, "drawing/")),
            anomaly=msgspec.json.decode(arrays["anomaly"].tobytes(), type=ModelFile | None),
            calibration=cast("NDArray[np.float64]", arrays["calibration"]),
            density=Density.restore(subtree(arrays, "density/")),
        )


class _Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers and names of a memory."""

    market: str
    nights: int
    sessions: list[str]
    closed_at: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Memory:
    """A market's memory between two nights.

    Attributes:
        market: whose it is.
        nights: committed nights so far.
        sessions: ids of all sessions so far, committed or skipped, in order.
        closed_at: close of the last one, UTC nanoseconds; 0 before the first.
        accepted: accepted rows so far, waiting ones included.
        known: bytes S32 [n], sorted: digests of the ids of all consolidated rows (`id_digests`).
        rows: the replay buffer in the total order; None before the first committed night.
        metadata: what is known of each row of the buffer (E1).
        waiting: rows carried to the next night; None if there are none.
        knowledge: None before the first committed night.
    """

    market: str
    nights: int
    sessions: tuple[str, ...]
    closed_at: int
    accepted: int
    known: NDArray[np.bytes_]
    rows: Transitions | None
    metadata: Metadata
    waiting: Transitions | None
    knowledge: Knowledge | None

    @classmethod
    def empty(cls, market: str) -> Memory:
        """A market that has not slept yet."""
        return cls(
            market=market,
            nights=0,
            sessions=(),
            closed_at=0,
            accepted=0,
            known=np.zeros(0, "S32"),
            rows=None,
            metadata=Metadata.empty(),
            waiting=None,
            knowledge=None,
        )

    def digest(self) -> str:
        """SHA-256 over bank, aliases, archive, weights, gates, generators and consolidated ids (SPEC, Digest)."""
        return array_digest({"known": self.known, **(self.knowledge.digested() if self.knowledge else {})})

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        facts = _Facts(
            market=self.market,
            nights=self.nights,
            sessions=list(self.sessions),
            closed_at=self.closed_at,
            accepted=self.accepted,
        )
        arrays: Arrays = {
            "facts": note(facts),
            "known": self.known,
            **self.metadata.arrays("metadata/"),
        }
        if self.rows is not None:
            arrays |= self.rows.arrays("rows/")
        if self.waiting is not None:
            arrays |= self.waiting.arrays("waiting/")
        if self.knowledge is not None:
            arrays |= prefixed("knowledge/", self.knowledge.snapshot())
        return arrays

    @classmethod
    def restore(cls, arrays: Arrays) -> Memory:
        """The inverse of `snapshot`."""
        facts = msgspec.json.decode(arrays["facts"].tobytes(), type=_Facts)
        knowledge = subtree(arrays, "knowledge/")
        return cls(
            market=facts.market,
            nights=facts.nights,
            sessions=tuple(facts.sessions),
            closed_at=facts.closed_at,
            accepted=facts.accepted,
            known=cast("NDArray[np.bytes_]", arrays["known"]),
            rows=_rows(arrays, "rows/"),
            metadata=Metadata.from_arrays(arrays, "metadata/"),
            waiting=_rows(arrays, "waiting/"),
            knowledge=Knowledge.restore(knowledge) if knowledge else None,
        )


def prefixed(prefix: str, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """The arrays with a prefix before each name; the inverse of `subtree`."""
    return {prefix + name: value for name, value in arrays.items()}


def note(value: object) -> NDArray[np.uint8]:
    """A JSON-encodable value as bytes in an array."""
    return np.frombuffer(msgspec.json.encode(value), np.uint8)


def _rows(arrays: Arrays, prefix: str) -> Transitions | None:
    return Transitions.from_arrays(arrays, prefix) if prefix + "timestamp" in arrays else None
