"""Relaxed shards: each forms schemas alone, merging joins them, and only their number decides what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from janus_memory.config import NeocortexSettings
from janus_memory.errors import SchemaUpdateError
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.consolidation import Rows
from janus_memory.neocortex.merging import merge_night
from janus_memory.neocortex.relaxed import Formed, consolidate_relaxed, form_schemas
from janus_memory.store.arrays import array_digest
from tests.unit.schema_rows import fitted, night, planted, times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.consolidation import ConsolidationResult


def _relaxed(
    bank: SchemaBank, background: Background, x: NDArray[np.float64], settings: NeocortexSettings
) -> ConsolidationResult:
    def form(background: Background, parts: Sequence[Rows]) -> list[Formed]:
        return [form_schemas(background, part, settings) for part in parts]

    n = len(x)
    rows = Rows(x, np.ones(n), times(n), np.arange(n) % 9 != 0)
    return consolidate_relaxed(bank, background, rows, settings, form, "2024-01-02", "test")


def test_one_shard_alone_is_the_walk() -> None:
    """With a single shard and an empty bank, labels, bank and ids are those of the exact rule."""
    x, _ = planted(600, 6, 4)
    exact, background = fitted(x)
    wanted = night(exact, background, x, passed=np.arange(600) % 9 != 0)
    bank = SchemaBank.empty(6)
    found = _relaxed(bank, background, x, NeocortexSettings(assignment="relaxed", relaxed_shards=1))
    np.testing.assert_array_equal(found.labels, wanted.labels)
    assert array_digest(bank.snapshot()) == array_digest(exact.snapshot())
    assert (found.n_created, found.n_updated, found.n_gated) == (
        wanted.n_created,
        wanted.n_updated,
        wanted.n_gated,
    )


def test_shards_are_joined_by_the_merging() -> None:
    """Four shards know the planted regimes four times; after merging once, points kept, ids led on by aliases."""
    x, which = planted(2400, 16, 4, run=3)
    settings = NeocortexSettings(assignment="relaxed")
    bank, background = fitted(x)
    result = _relaxed(bank, background, x, settings)
    assert len(bank.ids) >= 16
    assert merge_night(bank, background, settings) > 0
    assert bank.num_points.sum() == (np.arange(2400) % 9 != 0).sum()
    names = np.array([bank.resolve(i.decode()) for i in result.ids])
    assert adjusted_rand_score(which, names[result.labels]) >= 0.95


def test_what_cannot_be_joined_is_refused() -> None:
    """The literal rule merges nothing: its bank stays as it is."""
    x, _ = planted(100, 3, 2)
    bank, background = fitted(x)
    night(bank, background, x)
    before = array_digest(bank.snapshot())
    with pytest.raises(SchemaUpdateError, match="mode spec"):
        _relaxed(bank, background, x, NeocortexSettings(mode="spec", assignment="relaxed"))
    assert array_digest(bank.snapshot()) == before
