"""The vector store on the real embedded engine: exact payloads, idempotent sync, readers beside a writer."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import numpy as np
import pytest
import qdrant_edge as edge

from janus_memory.config import QdrantSettings
from janus_memory.errors import VectorStoreError
from janus_memory.store.qdrant import (
    SyncCount,
    VectorPoint,
    collection_for,
    json_number,
    open_store,
    point_id,
)
from janus_memory.store.qdrant_embedded import QdrantEmbedded
from janus_memory.store.qdrant_server import QdrantServer

if TYPE_CHECKING:
    from pathlib import Path


def points(market: str, n: int, d: int = 4, seed: int = 0) -> list[VectorPoint]:
    rng = np.random.default_rng(seed)
    return [
        VectorPoint(
            point_id(market, f"s{k}"),
            rng.normal(size=d),
            {
                "market": market,
                "schema_id": f"s{k}",
                "avg_reward": json_number(float(rng.normal() * 10.0 ** rng.integers(-25, 25))),
                "created_at": 1_700_000_000_000_000_001 + k,
                "mean": {"shape": [d], "data": "AAAA"},
            },
        )
        for k in range(n)
    ]


def payloads(given: list[VectorPoint]) -> list[dict[str, object]]:
    return sorted((p.payload for p in given), key=lambda payload: str(payload["schema_id"]))


def test_a_json_number_is_near_what_it_stands_for() -> None:
    for value in (0.0, 90535586.66731177, -1.0 / 3.0, 1e300, -7.123456789012345e-9):
        assert json_number(value) == pytest.approx(value, rel=1e-11)


def test_a_sync_stores_payloads_exactly(tmp_path: Path) -> None:
    """Floats and 64-bit times come back bit for bit, over more points than one batch or page holds."""
    store = QdrantEmbedded(tmp_path)
    given = points("fx", 1100)
    assert store.sync("fx", given, [], "night-1") == SyncCount(1100, 0)
    assert store.schemas("fx") == payloads(given)


def test_twice_is_once_and_what_is_gone_is_removed(tmp_path: Path) -> None:
    store = QdrantEmbedded(tmp_path)
    given = points("fx", 7)
    store.sync("fx", given, [], "night-1")
    assert store.sync("fx", given, [], "night-1") == SyncCount(7, 0)
    assert store.schemas("fx") == payloads(given)
    assert store.sync("fx", given[:3], [], "night-2") == SyncCount(3, 4)
    assert store.schemas("fx") == payloads(given[:3])
    assert store.sync("fx", [], [], "night-3") == SyncCount(0, 3)
    assert store.schemas("fx") == []


def test_markets_of_one_and_of_different_sizes_do_not_touch_each_other(tmp_path: Path) -> None:
    store = QdrantEmbedded(tmp_path)
    fx, index, wide = points("fx", 5), points("index", 4, seed=1), points("wide", 3, d=9)
    for market, given in (("fx", fx), ("index", index), ("wide", wide)):
        store.sync(market, given, [], f"{market}-1")
    store.sync("index", index[:1], [], "index-2")
    assert store.schemas("fx") == payloads(fx)
    assert store.schemas("index") == payloads(index[:1])
    assert store.schemas("wide") == payloads(wide)
    assert [h.payload for h in store.search("schemas", wide[2].vector, 1, "wide")] == [wide[2].payload]


def test_a_machines_clock_that_is_set_back_costs_no_snapshot(tmp_path: Path) -> None:
    """The last two stay, whatever the times of their folders say; what `latest` names is there."""
    store = QdrantEmbedded(tmp_path)
    for night in range(3):
        for made in (tmp_path / "snapshots").glob("night-*"):
            os.utime(made, (2**33, 2**33))
        store.sync("fx", points("fx", night + 1), [], f"night-{night}")
    assert sorted(p.name for p in (tmp_path / "snapshots").glob("night-*")) == ["night-1", "night-2"]
    assert len(store.schemas("fx")) == 3


def test_search_ranks_by_cosine(tmp_path: Path) -> None:
    """The ranking equals numpy's own over the episodes of the asked market."""
    store = QdrantEmbedded(tmp_path)
    given = points("fx", 50)
    store.sync("fx", [], given, "night-1")
    query = np.array([1.0, -2.0, 0.5, 0.25])
    cosine = [float(p.vector @ query / np.linalg.norm(p.vector) / np.linalg.norm(query)) for p in given]
    best = np.argsort(cosine)[::-1][:5]
    hits = store.search("episodes", query, 5, "fx")
    assert [h.payload for h in hits] == [given[i].payload for i in best]
    np.testing.assert_allclose([h.score for h in hits], [cosine[i] for i in best], rtol=1e-5)
    assert store.search("schemas", query, 5, "fx") == []
    assert store.search("episodes", query, 5, "unknown") == []


def test_readers_see_the_last_snapshot_while_a_writer_holds_the_folder(tmp_path: Path) -> None:
    """An open, half-written live collection neither blocks a reader nor shows in what it reads."""
    store = QdrantEmbedded(tmp_path)
    given = points("fx", 6)
    store.sync("fx", given, [], "night-1")
    writer = edge.EdgeShard.load(str(tmp_path / "live" / "schemas"))
    writer.update(edge.UpdateOperation.delete_points([given[0].id]))
    assert QdrantEmbedded(tmp_path).schemas("fx") == payloads(given)
    with pytest.raises(VectorStoreError, match="another process"):
        store.sync("fx", given, [], "night-2")
    writer.close()
    store.sync("fx", given, [], "night-2")
    assert store.schemas("fx") == payloads(given)


def test_snapshots_are_named_by_the_cycle_and_only_the_last_two_stay(tmp_path: Path) -> None:
    store = QdrantEmbedded(tmp_path)
    for night in range(4):
        store.sync("fx", points("fx", night + 1), [], f"fx/{night}")
    kept = [p.name for p in (tmp_path / "snapshots").iterdir() if p.is_dir()]
    assert sorted(kept) == ["fx%2F2", "fx%2F3"]
    store.sync("fx", points("fx", 2), [], "fx/3")
    kept = [p.name for p in (tmp_path / "snapshots").iterdir() if p.is_dir()]
    assert sorted(kept) == ["fx%2F3", "fx%2F3~2"]
    assert len(store.schemas("fx")) == 2
    used = sum(f.stat().st_blocks * 512 for f in tmp_path.rglob("*") if f.is_file())
    assert used < 20_000_000


def test_an_empty_store_has_nothing_and_says_so_plainly(tmp_path: Path) -> None:
    store = QdrantEmbedded(tmp_path / "absent")
    assert store.schemas("fx") == []
    assert store.search("schemas", np.ones(4), 3, "fx") == []


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    store = QdrantEmbedded(tmp_path)
    store.sync("fx", points("fx", 2), [], "night-1")
    (tmp_path / "live" / "schemas" / "edge_config.json").write_text("{")
    with pytest.raises(VectorStoreError, match="memory is unharmed"):
        store.sync("fx", points("fx", 2), [], "night-2")


def test_a_server_that_is_away_raises_a_vector_store_error() -> None:
    """Nobody listens on the port; the message names the URL and never the API key."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        store = QdrantServer(url, "sesame", timeout_s=1.0)
        with pytest.raises(VectorStoreError, match="will be retried") as caught:
            store.sync("fx", points("fx", 1), [], "night-1")
        assert url in str(caught.value)
        assert "sesame" not in str(caught.value)


def test_settings_choose_the_store(tmp_path: Path) -> None:
    assert isinstance(open_store(QdrantSettings(), tmp_path), QdrantEmbedded)
    assert isinstance(open_store(QdrantSettings(url="http://127.0.0.1:9"), tmp_path), QdrantServer)
    store = open_store(QdrantSettings(path=str(tmp_path / "own")), tmp_path / "default")
    store.sync("fx", points("fx", 1), [], "night-1")
    assert (tmp_path / "own" / "live" / "schemas").exists()


def test_a_collection_is_chosen_by_the_size_of_its_vectors() -> None:
    assert collection_for("schemas", 4, {}) == "schemas"
    assert collection_for("schemas", 4, {"schemas": 4}) == "schemas"
    assert collection_for("schemas", 9, {"schemas": 4}) == "schemas-d9"
