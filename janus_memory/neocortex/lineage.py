"""The life of a schema: when it was born, what it took in, when it slept in the archive and woke.

A night appends what it did to schemas, but for mere updates; the whole is kept with the memory and asked by id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from janus_memory.neocortex.bank import SchemaBank

__all__ = ["LifeEvent", "Lineage", "lineage_of"]


class LifeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a night did to a schema.

    Attributes:
        schema_id, kind: what happened to whom.
        merged_into: the schema that took it in, of a `merged` one.
        session_id, at: the night, and its close in UTC nanoseconds.
        num_points, profile: what the schema was then.
    """

    schema_id: str
    kind: Literal["created", "merged", "archived", "revived", "pruned"]
    merged_into: str | None = None
    session_id: str
    at: int
    num_points: int
    profile: str


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one schema.

    Attributes:
        schema_id: the one asked for.
        lives_as: the id under which it lives on, itself where it was never merged; None once that is pruned.
        state: whether `lives_as` is living or in the archive; `pruned` where it is None.
        merged_from: ids that it took in itself, in the order of their nights.
        events: its own, in order.
    """

    schema_id: str
    lives_as: str | None
    state: Literal["living", "archived", "pruned"]
    merged_from: tuple[str, ...]
    events: tuple[LifeEvent, ...]


def lineage_of(history: Sequence[LifeEvent], bank: SchemaBank, schema_id: str) -> Lineage | None:
    """The life of a schema; None where neither a night nor the bank has heard of it.

    Args:
        history: of all schemas of the market, in the order of the nights.
        bank: as the last night left it; its aliases know also of what one night has both woken and merged.
        schema_id: the id asked for, which may have been merged away.
    """
    own = tuple(event for event in history if event.schema_id == schema_id)
    lives_as = bank.resolve(schema_id)
    if not own and lives_as is None:
        return None
    state: Literal["living", "archived", "pruned"] = "pruned"
    if lives_as is not None:
        state = "archived" if lives_as.encode() in bank.archived_ids else "living"
    return Lineage(
        schema_id=schema_id,
        lives_as=lives_as,
        state=state,
        merged_from=tuple(event.schema_id for event in history if event.merged_into == schema_id),
        events=own,
    )
