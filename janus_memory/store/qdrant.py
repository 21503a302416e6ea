"""The vector store: what it holds and what can be asked of it (SPEC section 8).

Two kinds of collection: `schemas` (vector mu_k) and `episodes` (vector x / |x|), both cosine. Vectors of a
collection have one size; a market of another size gets `schemas-d<size>` and `episodes-d<size>` beside it.
A cosine collection normalises its vectors, so the payload is the truth and the vector only an index.
The store is a projection: it can be thrown away and synced again from the memory.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.config import QdrantSettings

__all__ = [
    "BATCH",
    "KINDS",
    "Hit",
    "Kind",
    "SyncCount",
    "VectorPoint",
    "VectorStore",
    "batches",
    "collection_for",
    "is_kind",
    "json_number",
    "open_store",
    "point_id",
]

Kind = Literal["schemas", "episodes"]
KINDS: tuple[Kind, ...] = ("schemas", "episodes")
BATCH = 256
_NAMESPACE = uuid.UUID("6f2f0c1e-5d0b-5c58-9d0f-2b8a3c1d7e90")


@dataclass(frozen=True, slots=True)
class VectorPoint:
    """One point: a UUID, float64 [d], and a JSON payload that names its market."""

    id: str
    vector: NDArray[np.float64]
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result: cosine similarity and the payload (E33)."""

    score: float
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SyncCount:
    """What a sync wrote and removed, over both kinds."""

    upserted: int
    removed: int


class VectorStore(Protocol):
    """A place for the two collections. Every method raises VectorStoreError if the store is away or refuses."""

    def sync(
        self, market: str, schemas: Sequence[VectorPoint], episodes: Sequence[VectorPoint], cycle_id: str
    ) -> SyncCount:
        """Make the market's points equal the given ones; twice is once. Ends with a snapshot named by the cycle."""

    def schemas(self, market: str) -> list[dict[str, Any]]:
        """The payloads of a market's schemas, ordered by schema id."""

    def search(self, kind: Kind, vector: NDArray[np.float64], k: int, market: str) -> list[Hit]:
        """The k nearest points of a market by cosine, best first."""

    def snapshot(self, cycle_id: str) -> list[str]:
        """Keep the present state under the cycle's name; returns where."""


def point_id(market: str, name: str) -> str:
    """The UUID of a schema or transition: equal names give equal ids."""
    return str(uuid.uuid5(_NAMESPACE, f"{market}\x1f{name}"))


def is_kind(name: str, kind: Kind) -> bool:
    """Whether a collection's name is one of a kind's."""
    return name == kind or name.startswith(f"{kind}-d")


def collection_for(kind: Kind, size: int, sizes: dict[str, int]) -> str:
    """The collection for vectors of a size, given the sizes of those that exist; it may not exist yet."""
    return kind if sizes.get(kind, size) == size else f"{kind}-d{size}"


def open_store(settings: QdrantSettings, default_path: Path) -> VectorStore:
    """The server where a URL is set, else the embedded engine under `path` (or `default_path`)."""
    if settings.url:
        from janus_memory.store.qdrant_server import QdrantServer  # noqa: PLC0415  (one adapter is loaded)

        return QdrantServer(settings.url, settings.api_key, settings.timeout_s)
    from janus_memory.store.qdrant_embedded import QdrantEmbedded  # noqa: PLC0415  (one adapter is loaded)

    return QdrantEmbedded(Path(settings.path) if settings.path else default_path)


def json_number(value: float) -> float:
    """The value to 12 significant digits and 22 decimals: a number that the store gives back bit for bit.

    The engine reads JSON numbers exactly only while their digits are an integer below 2^53 and their power of
    ten is within 22; others come back a unit in the last place away. What must be exact beyond that is packed.
    """
    return round(float(f"{value:.12g}"), 22)


def batches(points: Sequence[VectorPoint]) -> Iterable[Sequence[VectorPoint]]:
    """The points in runs of `BATCH`."""
    return (points[start : start + BATCH] for start in range(0, len(points), BATCH))
