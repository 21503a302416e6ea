"""Relaxed consolidation: each shard forms schemas of its own run of rows, and the night's merging joins them.

The whole rule runs in every shard, from an empty bank and the shared S0 and background; nobody waits for anybody. Labels and
bank depend on the number of shards, so it runs only where the settings name it (`neocortex.assignment = "relaxed"`).
The archive is not asked, and a row's schema is the best of its shard alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import SchemaUpdateError
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.consolidation import ConsolidationResult, checked_rows, consolidate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from janus_memory.config import NeocortexSettings
    from janus_memory.neocortex.background import Background
    from janus_memory.neocortex.consolidation import Rows
    from janus_memory.store.arrays import Arrays

__all__ = ["Formed", "consolidate_relaxed", "form_schemas"]


@dataclass(frozen=True, slots=True)
class Formed:
    """What a shard made of its rows.

    Attributes:
        bank: snapshot of the shard's schemas.
        labels: intp [n], rows of that bank; -1 where it has none.
    """

    bank: Arrays
    labels: NDArray[np.intp]


def form_schemas(background: Background, rows: Rows, settings: NeocortexSettings) -> Formed:
    """Run the rule over one shard's rows, from an empty bank; a pure function."""
    bank = SchemaBank.empty(rows.x.shape[1])
    result = consolidate(bank, background, rows, settings, None, "", "")
    return Formed(bank.snapshot(), result.labels)


def consolidate_relaxed(  # noqa: PLR0917  (what `consolidate` takes, in its order)
    bank: SchemaBank,
    background: Background,
    rows: Rows,
    settings: NeocortexSettings,
    form: Callable[[Background, Sequence[Rows]], list[Formed]],
    session_id: str,
    market: str,
) -> ConsolidationResult:
    """Consolidate rows in total order over `relaxed_shards` shards; the bank changes in place, or not at all.

    Arguments and errors are those of `consolidate`, but for `form`, which runs `form_schemas` for each shard's rows. The
    shards' schemas are new ones in the bank until `merge_night` joins them with each other and with the old.
    """
    if settings.mode == "spec":
        raise SchemaUpdateError(
            "relaxed shards in mode spec, which merges nothing, would leave every schema several times; the schema bank is "
            "unchanged; choose mode robust or assignment exact"
        )
    rows = checked_rows(bank, rows)
    cuts = np.linspace(0, len(rows.x), settings.relaxed_shards + 1).astype(int).tolist()
    parts = [rows.take(slice(a, b)) for a, b in itertools.pairwise(cuts)]
    formed = form(background, parts)
    labels = []
    n_before = bank.size
    for one in formed:
        labels.append(np.where(one.labels >= 0, one.labels + bank.size, -1))
        bank.adopt(SchemaBank.restore(one.bank), market, session_id)
    n_created = bank.size - n_before
    return ConsolidationResult(
        labels=np.concatenate(labels).astype(np.intp),
        ids=bank.row_ids(),
        n_created=n_created,
        n_revived=0,
        n_updated=int(rows.passed.sum()) - n_created,
        n_gated=int((~rows.passed).sum()),
    )
