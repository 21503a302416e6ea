"""Pruning and archiving, night by night."""

from __future__ import annotations

import numpy as np
import pytest

from janus_memory.config import NeocortexSettings
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.pruning import prune_night
from tests.unit.schema_rows import DAY, fitted, planted


def _bank(n: list[int], seen: list[int]) -> SchemaBank:
    """Schemas of so many points, last seen on such days."""
    x, _ = planted(50, 2, 2)
    bank, background = fitted(x)
    bank.reserve(len(n))
    c = bank.columns
    c.n[: len(n)] = n
    c.seen[: len(n)] = np.array(seen) * DAY
    c.factor[:] = background.s0_factor
    bank.name_new(len(n), "m", "s")
    return bank


def _nights(bank: SchemaBank, small: list[bool], settings: NeocortexSettings) -> int:
    """In which night (1 is that of creation) the bank becomes empty; 0 for never."""
    for number, is_small in enumerate(small, start=1):
        prune_night(bank, 0, small_night=is_small, settings=settings)
        if not len(bank.ids):
            return number
    return 0


@pytest.mark.parametrize(
    ("small", "grace", "when"),
    [
        ([False] * 3, None, 2),
        ([True] * 20, None, 13),
        ([True] * 6 + [False] * 3, None, 8),
        ([False] * 9, 3, 4),
        ([True] * 9, 3, 4),
        ([False] * 3, 0, 1),
    ],
)
def test_few_points_are_pruned_after_their_grace(small: list[bool], grace: int | None, when: int) -> None:
    """One night after that of creation, 12 small ones, or as set."""
    settings = NeocortexSettings(prune_grace=grace)
    assert _nights(_bank([9], [0]), small, settings) == when
    assert _nights(_bank([10], [0]), small, settings) == 0


def test_what_was_not_seen_for_90_days_is_archived_not_deleted() -> None:
    """By the day last seen; exactly 90 days is not yet older."""
    bank = _bank([500, 500, 500], [9, 10, 100])
    ids = bank.ids.tolist()
    assert prune_night(bank, 100 * DAY, small_night=False, settings=NeocortexSettings()) == (0, 1)
    assert bank.ids.tolist() == ids[1:]
    assert bank.archived_ids.tolist() == ids[:1]
    assert bank.version == 1


def test_the_archive_is_not_pruned() -> None:
    """A rare regime with few points stays in the archive for ever."""
    bank = _bank([3], [0])
    settings = NeocortexSettings(prune_grace=1)
    assert prune_night(bank, 100 * DAY, small_night=False, settings=settings) == (0, 1)
    for _ in range(5):
        assert prune_night(bank, 500 * DAY, small_night=False, settings=settings) == (0, 0)
    assert len(bank.archived_ids) == 1


def test_an_empty_bank_has_nothing_to_prune() -> None:
    """And still counts the night."""
    bank = SchemaBank.empty(2)
    assert prune_night(bank, DAY, small_night=True, settings=NeocortexSettings()) == (0, 0)
    assert bank.version == 1
