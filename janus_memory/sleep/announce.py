"""How schemas are told to others: as events on a topic and as points in the vector store, from one source.

Both are built from `SchemaFacts`, so that what Qdrant holds equals what was announced last, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from janus_memory.events import PackedArray, SchemaUpdate, event_id
from janus_memory.store.qdrant import VectorPoint, json_number, point_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.events import SchemaEventKind
    from janus_memory.neocortex.bank import SchemaBank
    from janus_memory.neocortex.profile import Typical
    from janus_memory.scale import Scale
    from janus_memory.sleep.memory import Knowledge, Memory
    from janus_memory.sleep.night import Night

__all__ = [
    "Change",
    "SchemaFacts",
    "facts_of",
    "net_changes",
    "net_changes_of",
    "schema_event",
    "vector_points",
]


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """What is told about one schema; times in UTC nanoseconds, mean and covariance standardised."""

    schema_id: str
    num_points: int
    avg_reward: float
    created_at: int
    last_updated: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def payload(self) -> dict[str, Any]:
        """The fields as JSON values; the arrays packed."""
        return {
            "schema_id": self.schema_id,
            "num_points": self.num_points,
            "avg_reward": self.avg_reward,
            "created_at": self.created_at,
            "last_updated": self.last_updated,
            "mean": msgspec.to_builtins(PackedArray.pack(self.mean)),
            "covariance": msgspec.to_builtins(PackedArray.pack(self.covariance)),
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What the night did to one schema, all in all."""

    kind: SchemaEventKind
    facts: SchemaFacts
    merged_into: str | None = None


def facts_of(bank: SchemaBank) -> dict[str, SchemaFacts]:
    """The living schemas of a bank by id; the mean reward as a number that the store holds exactly."""
    columns = zip(
        (name.decode() for name in bank.ids.tolist()),
        bank.num_points,
        bank.avg_rewards,
        bank.created_at,
        bank.last_updated,
        bank.means,
        bank.covariances,
        strict=True,
    )
    return {
        name: SchemaFacts(name, int(n), json_number(float(reward)), int(made), int(seen), mean, covariance)
        for name, n, reward, made, seen, mean, covariance in columns
    }


def net_changes(before: SchemaBank, after: SchemaBank) -> list[Change]:
    """What a night did to the bank, one change a schema, in the order of the ids."""
    return net_changes_of(
        facts_of(before),
        facts_of(after),
        {old: after.resolve(old) or new for old, new in after.aliases.items()},
        frozenset(i.decode() for i in before.archived_ids.tolist()),
        frozenset(i.decode() for i in after.archived_ids.tolist()),
    )


def net_changes_of(
    before: Mapping[str, SchemaFacts],
    after: Mapping[str, SchemaFacts],
    aliases: Mapping[str, str],
    archived_before: frozenset[str],
    archived_after: frozenset[str],
) -> list[Change]:
    """The difference of two tables of living schemas.

    A schema that was made and merged within the night is not in it: nobody has heard of it.
    """
    found: list[Change] = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            found.append(_gone(before[name], aliases, archived_after))
        elif name not in before:
            found.append(Change("revived" if name in archived_before else "created", after[name]))
        elif after[name].payload() != before[name].payload():
            found.append(Change("updated", after[name]))
    return found


def _gone(facts: SchemaFacts, aliases: Mapping[str, str], archived: frozenset[str]) -> Change:
    if facts.schema_id in archived:
        return Change("archived", facts)
    if facts.schema_id in aliases:
        return Change("merged", facts, aliases[facts.schema_id])
    return Change("pruned", facts)


def schema_event(
    night: Night, change: Change, scale: Scale, typical: Typical, bank_version: int
) -> SchemaUpdate:
    """The event of one change; its id says market, night, schema and kind."""
    facts = change.facts
    return SchemaUpdate(
        event_id=event_id("schema", night.spec.name, night.cycle_id, facts.schema_id, change.kind),
        market=night.spec.name,
        as_of=night.closed_at,
        kind=change.kind,
        cycle_id=night.cycle_id,
        bank_version=bank_version,
        schema_id=facts.schema_id,
        merged_into=change.merged_into,
        num_points=facts.num_points,
        avg_reward=facts.avg_reward,
        created_at=facts.created_at,
        last_updated=facts.last_updated,
        profile=typical.words(facts.mean, night.spec.features),
        mean=PackedArray.pack(facts.mean),
        covariance=PackedArray.pack(facts.covariance),
        feature_mean=PackedArray.pack(scale.mean),
        feature_deviation=PackedArray.pack(scale.deviation),
    )


def vector_points(memory: Memory) -> tuple[list[VectorPoint], list[VectorPoint]]:
    """What the vector store is to hold of a market: its schemas, and the episodes of its buffer."""
    known, rows = memory.knowledge, memory.rows
    if known is None or rows is None:
        return [], []
    return _schema_points(memory.market, known), _episode_points(memory, known)


def _schema_points(market: str, known: Knowledge) -> list[VectorPoint]:
    points = []
    for name, facts in facts_of(known.bank).items():
        told = known.announced[name]
        payload = {
            **facts.payload(),
            "profile": told.profile,
            "market": market,
            "cycle_id": told.cycle_id,
            "bank_version": told.bank_version,
        }
        points.append(VectorPoint(point_id(market, name), facts.mean, payload))
    return points


def _episode_points(memory: Memory, known: Knowledge) -> list[VectorPoint]:
    rows = memory.rows
    if rows is None:
        return []
    x = known.scale.standardise(rows.state)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    unit = x / np.where(length > 0, length, 1.0)
    return [
        VectorPoint(
            point_id(memory.market, transition_id),
            unit[i],
            {
                "market": memory.market,
                "transition_id": transition_id,
                "instrument": rows.instrument[i].decode(),
                "agent_id": rows.agent_id[i].decode(),
                "episode_id": rows.episode_id[i].decode(),
                "timestamp": int(rows.timestamp[i]),
                "reward": json_number(float(rows.reward[i])),
                "consolidated": bool(memory.metadata.consolidated[i]),
            },
        )
        for i, transition_id in enumerate(t.decode() for t in rows.transition_id)
    ]
