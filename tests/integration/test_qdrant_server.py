"""The vector store on a Qdrant server: the one at QDRANT_URL, or a container where a Docker engine answers.

A server comes only as a container or a download, so this is skipped where neither can exist; the same contract is
held on the embedded engine by tests/unit/test_qdrant.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest

from janus_memory.store.qdrant import SyncCount, VectorPoint, point_id
from janus_memory.store.qdrant_server import QdrantServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[QdrantServer]:
    """A store on a real server."""
    url = os.environ.get("QDRANT_URL")
    if url:
        yield QdrantServer(url, os.environ.get("QDRANT_API_KEY", ""))
        return
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "info"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no Qdrant server can exist here: QDRANT_URL is not set and no Docker engine answers")
    from testcontainers.qdrant import QdrantContainer  # noqa: PLC0415  (needs a Docker engine to be of use)

    with QdrantContainer("qdrant/qdrant:v1.17.0") as container:
        yield QdrantServer(f"http://{container.rest_host_address}")


def test_a_server_keeps_what_is_synced(server: QdrantServer) -> None:
    """Payloads come back exactly, twice is once, what is gone is removed, and the nearest is found first."""
    market = f"m{uuid.uuid4().hex[:10]}"
    rng = np.random.default_rng(0)
    given = [
        VectorPoint(
            point_id(market, f"s{k}"),
            rng.normal(size=4),
            {
                "market": market,
                "schema_id": f"s{k}",
                "avg_reward": 0.25 * k,
                "created_at": 1_700_000_000_000_000_001,
            },
        )
        for k in range(5)
    ]
    assert server.sync(market, given, [], "night-1") == SyncCount(5, 0)
    assert server.sync(market, given, [], "night-1") == SyncCount(5, 0)
    assert server.schemas(market) == [p.payload for p in given]
    assert server.search("schemas", given[3].vector, 2, market)[0].payload == given[3].payload
    assert server.sync(market, [], [], "night-2") == SyncCount(0, 5)
    assert server.schemas(market) == []
