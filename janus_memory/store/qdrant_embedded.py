"""The Qdrant engine in process (qdrant-edge): one writer, readers on the last snapshot.

    <path>/live/<collection>              written by `sync`; the engine locks it while it is open
    <path>/snapshots/<cycle>/<collection> copies made after each sync, complete once the name is there

A reader copies the newest snapshot aside before it opens it, because opening locks and may write.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import qdrant_edge as edge

from janus_memory.errors import VectorStoreError
from janus_memory.store.qdrant import KINDS, Hit, SyncCount, batches, collection_for, is_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.store.qdrant import Kind, VectorPoint

__all__ = ["QdrantEmbedded"]

_SCROLL = 1000


class QdrantEmbedded:
    """A folder with the two collections. Single writer: the sleeper."""

    def __init__(self, path: Path) -> None:
        self._live = path / "live"
        self._snapshots = path / "snapshots"

    def sync(
        self, market: str, schemas: Sequence[VectorPoint], episodes: Sequence[VectorPoint], cycle_id: str
    ) -> SyncCount:
        """See `VectorStore.sync`."""
        upserted = removed = 0
        for kind, points in zip(KINDS, (schemas, episodes), strict=True):
            target = self._prepare(kind, points)
            for name in self._names(kind):
                wanted = points if name == target else ()
                with _shard(self._live / name) as shard:
                    removed += _replace(shard, market, wanted)
                upserted += len(wanted)
        self.snapshot(cycle_id)
        return SyncCount(upserted, removed)

    def schemas(self, market: str) -> list[dict[str, Any]]:
        """See `VectorStore.schemas`; reads the last snapshot."""
        found: list[dict[str, Any]] = []
        with self._reading() as folder:
            for name in _names(folder, "schemas"):
                with _shard(folder / name) as shard:
                    found += [record.payload or {} for record in _scroll(shard, market, with_payload=True)]
        return sorted(found, key=lambda payload: str(payload["schema_id"]))

    def search(self, kind: Kind, vector: NDArray[np.float64], k: int, market: str) -> list[Hit]:
        """See `VectorStore.search`; reads the last snapshot."""
        request = edge.QueryRequest(
            query=edge.Query.Nearest([float(v) for v in vector]),
            limit=k,
            with_payload=True,
            filter=_of(market),
        )
        with self._reading() as folder:
            sizes = {name: _size(folder / name) for name in _names(folder, kind)}
            name = collection_for(kind, len(vector), sizes)
            if name not in sizes:
                return []
            with _shard(folder / name) as shard:
                return [Hit(hit.score, hit.payload or {}) for hit in shard.query(request)]

    def snapshot(self, cycle_id: str) -> list[str]:
        """See `VectorStore.snapshot`; older ones than the last two are removed."""
        base = quote(cycle_id, safe="")
        with _translated(f"snapshot of {cycle_id} in {self._snapshots}"):
            self._snapshots.mkdir(parents=True, exist_ok=True)
            # A cycle that is synced again gets a new name: a reader may be copying the old one.
            name = next(n for n in _numbered(base) if not (self._snapshots / n).exists())
            scratch = self._snapshots / f".{base}"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            if self._live.exists():
                _copy(self._live, scratch)
            scratch.rename(self._snapshots / name)
            latest, pointer = self._snapshots / "latest", self._snapshots / ".latest"
            kept = {name, latest.read_text() if latest.exists() else name}
            pointer.write_text(name)
            pointer.replace(latest)
            for old in self._complete():
                if old.name not in kept:
                    shutil.rmtree(old)
        return [str(self._snapshots / name)]

    def _prepare(self, kind: Kind, points: Sequence[VectorPoint]) -> str | None:
        """The collection that takes these points, made if needed; None without points."""
        if not points:
            return None
        size = len(points[0].vector)
        name = collection_for(kind, size, {n: _size(self._live / n) for n in self._names(kind)})
        folder = self._live / name
        if not folder.exists():
            with _translated(f"create {folder}"):
                scratch = folder.with_name(f".{name}")
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir(parents=True)
                vectors = edge.EdgeVectorParams(size=size, distance=edge.Distance.Cosine)
                edge.EdgeShard.create(str(scratch), edge.EdgeConfig(vectors=vectors)).close()
                scratch.rename(folder)
        return name

    def _names(self, kind: Kind) -> list[str]:
        return _names(self._live, kind)

    def _complete(self) -> list[Path]:
        """Snapshots whose copy was finished."""
        return [p for p in self._snapshots.iterdir() if p.is_dir() and not p.name.startswith(".")]

    @contextmanager
    def _reading(self) -> Iterator[Path]:
        """A private copy of the last snapshot; an empty folder if there is none."""
        with tempfile.TemporaryDirectory(prefix="janus-qdrant-") as scratch, _translated("read snapshot"):
            latest = self._snapshots / "latest"
            if latest.exists():
                _copy(self._snapshots / latest.read_text(), Path(scratch))
            yield Path(scratch)


def _numbered(base: str) -> Iterator[str]:
    yield base
    yield from (f"{base}~{number}" for number in itertools.count(2))


def _names(folder: Path, kind: Kind) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if is_kind(p.name, kind)) if folder.exists() else []


def _size(folder: Path) -> int:
    """Vector size of a collection, from the engine's own configuration file."""
    with _translated(str(folder)):
        config = msgspec.json.decode((folder / "edge_config.json").read_bytes())
        return int(config["vectors"][""]["size"])


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn whatever the engine or the disk raises into a VectorStoreError."""
    try:
        yield
    except VectorStoreError:
        raise
    except Exception as error:  # the engine raises plain Exception and nothing narrower
        raise VectorStoreError(
            f"embedded vector store: {what} failed: {error}; the memory is unharmed and the sync will be "
            "retried; if another process holds the folder, stop it; a damaged folder can be deleted"
        ) from error


@contextmanager
def _shard(folder: Path) -> Iterator[edge.EdgeShard]:
    """An open shard; flushed and closed on the way out."""
    with _translated(str(folder)):
        shard = edge.EdgeShard.load(str(folder))
        try:
            yield shard
            shard.flush()
        finally:
            shard.close()


def _of(market: str) -> edge.Filter:
    return edge.Filter(must=[edge.FieldCondition(key="market", match=edge.MatchValue(value=market))])


def _scroll(shard: edge.EdgeShard, market: str, *, with_payload: bool) -> list[edge.Record]:
    found: list[edge.Record] = []
    offset: Any = None
    while True:
        page, offset = shard.scroll(
            edge.ScrollRequest(
                offset=offset,
                limit=_SCROLL,
                filter=_of(market),
                with_payload=with_payload,
                with_vector=False,
            )
        )
        found += page
        if offset is None:
            return found


def _replace(shard: edge.EdgeShard, market: str, points: Sequence[VectorPoint]) -> int:
    """Upsert the points and delete the market's others; returns how many were deleted."""
    wanted = {point.id for point in points}
    gone: list[int | UUID | str] = [
        str(r.id) for r in _scroll(shard, market, with_payload=False) if str(r.id) not in wanted
    ]
    for batch in batches(points):
        shard.update(
            edge.UpdateOperation.upsert_points(
                [edge.Point(p.id, [float(v) for v in p.vector], p.payload) for p in batch]
            )
        )
    if gone:
        shard.update(edge.UpdateOperation.delete_points(gone))
    return len(gone)


def _copy(source: Path, target: Path) -> None:
    """Copy a tree; the engine's files are sparse (130 MB in name, 1 MB on disk) and stay so."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            _copy_sparse(path, copy)


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy the extents that hold data; the holes between them stay holes."""
    with source.open("rb") as reader, target.open("wb") as writer:
        size, end = source.stat().st_size, 0
        while end < size:
            try:
                start = os.lseek(reader.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # only a hole is left
            end = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            reader.seek(start)
            writer.seek(start)
            writer.write(reader.read(end - start))
        writer.truncate(size)
