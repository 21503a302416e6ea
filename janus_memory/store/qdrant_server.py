"""A Qdrant server by URL. Readers may read while a night writes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException

from janus_memory.errors import VectorStoreError
from janus_memory.store.qdrant import KINDS, Hit, SyncCount, batches, collection_for, is_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.store.qdrant import Kind, VectorPoint

__all__ = ["QdrantServer"]

_KEPT_SNAPSHOTS = 2
_SCROLL = 1000


class QdrantServer:
    """The two collections on a server. Writes wait until they are applied."""

    def __init__(self, url: str, api_key: str = "", timeout_s: float = 10.0) -> None:
        self._url = url
        with self._translated("connect"):
            self._client = QdrantClient(
                url=url,
                api_key=api_key or None,
                timeout=max(1, round(timeout_s)),
                check_compatibility=False,
            )

    def sync(
        self, market: str, schemas: Sequence[VectorPoint], episodes: Sequence[VectorPoint], cycle_id: str
    ) -> SyncCount:
        """See `VectorStore.sync`."""
        upserted = removed = 0
        with self._translated(f"sync of {market}"):
            for kind, points in zip(KINDS, (schemas, episodes), strict=True):
                target = self._prepare(kind, points)
                for name in self._sizes(kind):
                    wanted = points if name == target else ()
                    removed += self._replace(name, market, wanted)
                    upserted += len(wanted)
        self.snapshot(cycle_id)
        return SyncCount(upserted, removed)

    def schemas(self, market: str) -> list[dict[str, Any]]:
        """See `VectorStore.schemas`."""
        with self._translated(f"schemas of {market}"):
            found = [
                dict(record.payload or {})
                for name in self._sizes("schemas")
                for record in self._scroll(name, market, with_payload=True)
            ]
        return sorted(found, key=lambda payload: str(payload["schema_id"]))

    def search(self, kind: Kind, vector: NDArray[np.float64], k: int, market: str) -> list[Hit]:
        """See `VectorStore.search`."""
        with self._translated(f"search in {kind}"):
            sizes = self._sizes(kind)
            name = collection_for(kind, len(vector), sizes)
            if name not in sizes:
                return []
            answer = self._client.query_points(
                name,
                query=[float(v) for v in vector],
                limit=k,
                query_filter=_of(market),
                with_payload=True,
            )
        return [Hit(point.score, dict(point.payload or {})) for point in answer.points]

    def snapshot(self, cycle_id: str) -> list[str]:
        """See `VectorStore.snapshot`; the server names it itself and keeps the last two of a collection."""
        made: list[str] = []
        with self._translated(f"snapshot after {cycle_id}"):
            for kind in KINDS:
                for name in self._sizes(kind):
                    snapshot = self._client.create_snapshot(name, wait=True)
                    made += [f"{name}/{snapshot.name}"] if snapshot else []
                    older = sorted(self._client.list_snapshots(name), key=lambda s: str(s.creation_time))
                    for old in older[:-_KEPT_SNAPSHOTS]:
                        self._client.delete_snapshot(name, old.name, wait=True)
        return made

    def _sizes(self, kind: Kind) -> dict[str, int]:
        """The collections of a kind and the size of their vectors."""
        sizes: dict[str, int] = {}
        for found in self._client.get_collections().collections:
            if is_kind(found.name, kind):
                vectors = self._client.get_collection(found.name).config.params.vectors
                if not isinstance(vectors, models.VectorParams):
                    raise VectorStoreError(
                        f"collection {found.name} on {self._url} was not made by this program (it has named "
                        "vectors); nothing was written; use another server or rename that collection"
                    )
                sizes[found.name] = vectors.size
        return dict(sorted(sizes.items()))

    def _prepare(self, kind: Kind, points: Sequence[VectorPoint]) -> str | None:
        """The collection that takes these points, made if needed; None without points."""
        if not points:
            return None
        size = len(points[0].vector)
        sizes = self._sizes(kind)
        name = collection_for(kind, size, sizes)
        if name not in sizes:
            self._client.create_collection(
                name, vectors_config=models.VectorParams(size=size, distance=models.Distance.COSINE)
            )
            self._client.create_payload_index(name, "market", models.PayloadSchemaType.KEYWORD, wait=True)
        return name

    def _replace(self, name: str, market: str, points: Sequence[VectorPoint]) -> int:
        """Upsert the points and delete the market's others; returns how many were deleted."""
        wanted = {point.id for point in points}
        present = [str(record.id) for record in self._scroll(name, market, with_payload=False)]
        gone: list[models.ExtendedPointId] = [i for i in present if i not in wanted]
        for batch in batches(points):
            self._client.upsert(
                name,
                points=[
                    models.PointStruct(id=p.id, vector=[float(v) for v in p.vector], payload=p.payload)
                    for p in batch
                ],
                wait=True,
            )
        if gone:
            self._client.delete(name, points_selector=models.PointIdsList(points=gone), wait=True)
        return len(gone)

    def _scroll(self, name: str, market: str, *, with_payload: bool) -> list[models.Record]:
        found: list[models.Record] = []
        offset: Any = None
        while True:
            page, offset = self._client.scroll(
                name,
                scroll_filter=_of(market),
                limit=_SCROLL,
                offset=offset,
                with_payload=with_payload,
                with_vectors=False,
            )
            found += page
            if offset is None:
                return found

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Turn what the client raises into a VectorStoreError; the API key is never in the message."""
        try:
            yield
        except (ApiException, QdrantException, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise VectorStoreError(
                f"vector store at {self._url}: {what} failed: {error}; the memory is unharmed and the sync "
                "will be retried; check that the server runs, its URL and the API key"
            ) from error


def _of(market: str) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key="market", match=models.MatchValue(value=market))])
