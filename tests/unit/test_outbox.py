"""The outbox keeps its records, and an announcement is the difference of two nights."""

from __future__ import annotations

import dataclasses

import numpy as np

from janus_memory.sleep.announce import Change, SchemaFacts, net_changes_of
from janus_memory.sleep.outbox import OutboxRecord, pack_outbox, unpack_outbox


def facts(name: str, n: int = 20) -> SchemaFacts:
    return SchemaFacts(name, n, 0.5, 10, 20, np.ones(2), np.eye(2))


def test_an_outbox_survives_packing() -> None:
    """Any bytes come back, none of it as an empty tuple."""
    records = (OutboxRecord("t", "k", b"\x00\xff"), OutboxRecord("", "é", b""))
    assert unpack_outbox(pack_outbox(records)) == records
    assert unpack_outbox(pack_outbox(())) == ()


def test_net_changes_tell_each_schema_once_in_the_order_of_the_ids() -> None:
    """What stayed equal is not told; what was born and merged in one night neither."""
    stays, grows, leaves, ages, dies = (facts(c) for c in "abcde")
    born, back = facts("f"), facts("g")
    told = net_changes_of(
        {f.schema_id: f for f in (stays, grows, leaves, ages, dies)},
        {f.schema_id: f for f in (stays, dataclasses.replace(grows, num_points=21), born, back)},
        aliases={"c": "b", "x": "b"},
        archived_before=frozenset({"g"}),
        archived_after=frozenset({"d"}),
    )
    assert [(c.kind, c.facts.schema_id, c.merged_into) for c in told] == [
        ("updated", "b", None),
        ("merged", "c", "b"),
        ("archived", "d", None),
        ("pruned", "e", None),
        ("created", "f", None),
        ("revived", "g", None),
    ]
    assert told[0].facts.num_points == 21


def test_a_last_bit_of_a_covariance_is_a_change() -> None:
    other = dataclasses.replace(facts("a"), covariance=np.nextafter(np.eye(2), 2.0))
    assert [c.kind for c in _told(facts("a"), other)] == ["updated"]
    assert _told(facts("a"), facts("a")) == []


def _told(before: SchemaFacts, after: SchemaFacts) -> list[Change]:
    return net_changes_of({"a": before}, {"a": after}, {}, frozenset(), frozenset())
