"""Schema shards on real Ray: any number of them gives the labels and the bank of the walk alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import ray

from actors.cluster import LocalCluster, environment
from actors.schema_shard import SchemaShard, ask_shards
from actors.workers import connect
from janus_memory.config import RaySettings
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.consolidation import consolidate
from janus_memory.neocortex.merging import merge_night
from janus_memory.store.arrays import array_digest
from tests.unit.schema_rows import ROBUST, fitted, night, planted, times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from janus_memory.neocortex.assignment import BankView, BlockScores

pytestmark = pytest.mark.integration

N, D = 1_200, 10


@pytest.fixture(scope="module")
def eight_shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """Eight actors on a head of their own."""
    settings, data_dir = RaySettings(dashboard_port=0, dashboard=False), tmp_path_factory.mktemp("head")
    cluster = LocalCluster.start(settings, data_dir)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(settings, data_dir).items():
            patch.setenv(name, value)
        connect(cluster.address, "fx", "shards")
        yield [ray.remote(num_cpus=0)(SchemaShard).remote() for _ in range(8)]
        ray.shutdown()
    cluster.stop()


def test_any_number_of_shards_gives_the_same_labels_and_the_same_bank(eight_shards: list[Any]) -> None:
    """1, 2, 4 and 8 of them, over several rounds with new schemas in between, and after merging."""
    x, _ = planted(N, D, 8, run=3)
    alone, background = fitted(x)
    wanted = night(alone, background, x)
    merge_night(alone, background, ROBUST)
    for n_shards in (1, 2, 4, 8):
        shards = eight_shards[:n_shards]

        def score(view: BankView, blocks: list[NDArray[np.float64]]) -> list[BlockScores]:
            return ask_shards(shards, ray.put(view), blocks, ray.get)  # noqa: B023  (called within this turn)

        bank = SchemaBank.empty(D)
        arguments = (x, np.ones(N), times(N), np.ones(N, np.bool_), ROBUST, score, "2024-01-02", "test")
        found = consolidate(bank, background, *arguments, n_blocks=8, block_rows=25)
        merge_night(bank, background, ROBUST)
        pids = set(ray.get([shard.pid.remote() for shard in shards]))
        assert len(pids) == n_shards
        np.testing.assert_array_equal(found.labels, wanted.labels)
        assert array_digest(bank.snapshot()) == array_digest(alone.snapshot())
