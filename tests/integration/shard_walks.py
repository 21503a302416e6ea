"""A process that walks the same rows with 1, 2, 4 and 8 schema shards, and prints a digest of labels and bank for each.

Run as `python -m tests.integration.shard_walks ADDRESS` in the environment of the Ray head there: Ray reads its token mode
when it is imported.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.neocortex.consolidation import Rows, consolidate
from janus_memory.neocortex.merging import merge_night
from janus_memory.store.arrays import array_digest
from tests.unit.schema_rows import ROBUST, fitted, planted, times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.neocortex.assignment import BankView, BlockScores
    from janus_memory.neocortex.consolidation import Score

__all__ = ["digest_of_a_walk"]

N, D = 1_200, 10


def digest_of_a_walk(score: Score | None) -> str:
    """Labels, ids and the merged bank of fixed rows, in rounds of 200."""
    x, _ = planted(N, D, 8, run=3)
    bank, background = fitted(x)
    rows = Rows(x, np.ones(N), times(N), np.ones(N, np.bool_))
    found = consolidate(
        bank, background, rows, ROBUST, score, "2024-01-02", "test", n_blocks=8, block_rows=25
    )
    merge_night(bank, background, ROBUST)
    return array_digest({**bank.snapshot(), "labels": found.labels, "found": found.ids})


def main(address: str) -> None:
    """Connect, and walk with 1, 2, 4 and 8 of eight actors."""
    import ray  # noqa: PLC0415  (read with the environment that the parent has set)

    from actors.schema_shard import SchemaShard, ask_shards  # noqa: PLC0415
    from actors.workers import connect  # noqa: PLC0415

    connect(address, "fx", "shards")
    actors = [ray.remote(num_cpus=0)(SchemaShard).remote() for _ in range(8)]
    digests = {}
    for n_shards in (1, 2, 4, 8):
        shards = actors[:n_shards]

        def score(view: BankView, blocks: list[NDArray[np.float64]]) -> list[BlockScores]:
            return ask_shards(shards, ray.put(view), blocks, ray.get)  # noqa: B023  (called within this turn)

        digests[n_shards] = digest_of_a_walk(score)
    sys.stdout.write(json.dumps(digests))


if __name__ == "__main__":
    main(sys.argv[1])
