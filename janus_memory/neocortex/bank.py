"""The schema bank: all schemas of one market as stacked arrays (E13-E15). Single writer.

Archived schemas stay in the same columns with a mark: a revived one is the same row again. What readers
see (`ids`, `means`, ...) are the living ones, in the order of creation.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

import numpy as np

from janus_memory.neocortex.kernels import Columns, squared_distances, whitener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays

__all__ = ["SchemaBank", "schema_id"]

_ID = "S32"
_MATRICES = ("covariance", "factor")
_INTEGERS = ("made", "seen", "stale", "large_nights", "small_nights")


def schema_id(market: str, session: str, ordinal: int) -> bytes:
    """Id of the `ordinal`-th schema a market ever made: 16 hex digits."""
    return hashlib.sha256("\x1f".join((market, session, str(ordinal))).encode()).hexdigest()[:16].encode()


class SchemaBank:
    """The schemas of one market.

    Attributes:
        d: size of a state.
        columns: the arrays; only their first `size` rows are in use. Kernels write into them.
        size: number of schemas, archived ones among them.
        aliases: id of a schema that was merged away -> id of the one that took it in.
        n_made: schemas ever made; the ordinal of the next id.
        version: nights the bank has been tidied; raised by `prune_night`.
    """

    def __init__(self, d: int) -> None:
        self.d = d
        self.size = 0
        self.columns = _columns(d, 0)
        self.aliases: dict[str, str] = {}
        self.n_made = 0
        self.version = 0
        self._ids: NDArray[np.bytes_] = np.zeros(0, _ID)

    @classmethod
    def empty(cls, d: int) -> SchemaBank:
        """A bank without schemas for states of size d."""
        return cls(d)

    @property
    def living(self) -> NDArray[np.intp]:
        """Rows of the columns that are not archived; intp [K]."""
        return np.flatnonzero(self.columns.archived[: self.size] == 0)

    @property
    def ids(self) -> NDArray[np.bytes_]:
        """Ids of the living schemas; S32 [K]."""
        return self._ids[self.living]

    @property
    def archived_ids(self) -> NDArray[np.bytes_]:
        """Ids of the archived schemas; S32."""
        return self._ids[np.flatnonzero(self.columns.archived[: self.size])]

    @property
    def num_points(self) -> NDArray[np.int64]:
        """Points of each living schema; int64 [K]."""
        return self.columns.n[self.living].astype(np.int64)

    @property
    def means(self) -> NDArray[np.float64]:
        """Means of the living schemas, standardised; float64 [K, d]."""
        return self.columns.mean[self.living]

    @property
    def covariances(self) -> NDArray[np.float64]:
        """Covariances of the living schemas, standardised; float64 [K, d, d]."""
        return self.columns.covariance[self.living]

    @property
    def avg_rewards(self) -> NDArray[np.float64]:
        """Mean reward of each living schema, in the user's own units; float64 [K]."""
        return self.columns.reward_sum[self.living] / self.columns.n[self.living]

    @property
    def created_at(self) -> NDArray[np.int64]:
        """Market time of each living schema's first point, UTC nanoseconds; int64 [K]."""
        return self.columns.made[self.living]

    @property
    def last_updated(self) -> NDArray[np.int64]:
        """Market time of each living schema's latest point, UTC nanoseconds; int64 [K]."""
        return self.columns.seen[self.living]

    def whiteners(self) -> NDArray[np.float64]:
        """Lower matrices W_k with |W_k e|^2 = e^T (f Sigma_k)^-1 e for the living schemas; float64 [K, d, d].

        They are for readers without kernels; nothing in the bank is computed from them.
        """
        rows = self.living
        out = np.zeros((len(rows), self.d, self.d))
        for position, k in enumerate(rows):
            whitener(self.columns.factor[k], out[position])
            out[position] /= np.sqrt(self._inflation(int(k)))
        return out

    def distances(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """sqrt((x - mu)^T (f Sigma)^-1 (x - mu) / d) of the nearest living schema, by the fixed kernels.

        Args:
            x: float64 [n, d], standardised.

        Returns:
            float64 [n]; inf without schemas.
        """
        c, rows = self.columns, np.ascontiguousarray(x, np.float64)
        smallest = np.full(len(rows), np.inf)
        for k in self.living:
            squared = squared_distances(c.factor[k], c.mean[k], rows) / self._inflation(int(k))
            smallest = np.minimum(smallest, squared)
        return cast("NDArray[np.float64]", np.sqrt(smallest / self.d))

    def _inflation(self, k: int) -> float:
        """F of row k: 1 + 1/n_eff, and 1 in the spec mode."""
        nu = float(self.columns.nu[k])
        return float(self.columns.spread[k]) / nu if np.isfinite(nu) else 1.0

    def resolve(self, name: str) -> str | None:
        """The id under which a schema lives on, through all merges; None where it is pruned or unknown."""
        while name in self.aliases:
            name = self.aliases[name]
        return name if name.encode() in self._ids else None

    def row_ids(self) -> NDArray[np.bytes_]:
        """Ids of all rows of the columns, archived ones among them; S32 [size], a copy."""
        return self._ids.copy()

    def reserve(self, capacity: int) -> None:
        """Make room for `capacity` schemas."""
        if capacity > len(self.columns.n):
            grown = _columns(self.d, capacity)
            for name, old in self.columns._asdict().items():
                getattr(grown, name)[: self.size] = old[: self.size]
            self.columns = grown

    def name_new(self, size: int, market: str, session: str) -> None:
        """Give ids to the rows that a walk has appended, up to `size`."""
        fresh = [schema_id(market, session, self.n_made + i) for i in range(size - self.size)]
        self._ids = np.concatenate([self._ids, np.array(fresh, _ID)])
        self.n_made += len(fresh)
        self.size = size

    def adopt(self, other: SchemaBank, market: str, session: str) -> None:
        """Append another bank's rows as new schemas of this one, under ids of its own."""
        size = self.size + other.size
        self.reserve(size)
        for name, column in other.columns._asdict().items():
            getattr(self.columns, name)[self.size : size] = column[: other.size]
        self.name_new(size, market, session)

    def remove(self, rows: Sequence[int]) -> None:
        """Drop rows; the others keep their order. Aliases that lead to nothing go with them."""
        if not len(rows):
            return
        keep = np.setdiff1d(np.arange(self.size), np.asarray(rows, np.intp))
        self._ids = self._ids[keep]
        kept = {name: column[keep] for name, column in self.columns._asdict().items()}
        self.columns = Columns(**kept)
        self.size = len(keep)
        self.aliases = {old: new for old, new in self.aliases.items() if self.resolve(old) is not None}

    def alias(self, old: int, new: int) -> None:
        """Note that the schema of row `old` lives on in row `new`."""
        self.aliases[self._ids[old].decode()] = self._ids[new].decode()

    def snapshot(self) -> Arrays:
        """Everything, as arrays; equal banks give equal bytes."""
        columns = {name: column[: self.size].copy() for name, column in self.columns._asdict().items()}
        aliases = sorted(self.aliases.items())
        return {
            **cast("Arrays", columns),
            "id": self._ids.copy(),
            "alias_from": np.array([old for old, _ in aliases], _ID),
            "alias_to": np.array([new for _, new in aliases], _ID),
            "counters": np.array([self.d, self.n_made, self.version], np.int64),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[np.generic]]) -> SchemaBank:
        """The inverse of `snapshot`."""
        d, n_made, version = (int(v) for v in arrays["counters"].tolist())
        bank = cls(d)
        bank.load(arrays)
        bank.n_made, bank.version = n_made, version
        return bank

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Become what `snapshot` has returned, in place: the way back from an update that failed."""
        _, self.n_made, self.version = (int(v) for v in arrays["counters"].tolist())
        self._ids = cast("NDArray[np.bytes_]", arrays["id"].astype(_ID))
        self.size = len(self._ids)
        self.columns = Columns(*(np.array(arrays[name], order="C") for name in Columns._fields))
        pairs = zip(arrays["alias_from"].tolist(), arrays["alias_to"].tolist(), strict=True)
        self.aliases = {old.decode(): new.decode() for old, new in pairs}


def _columns(d: int, capacity: int) -> Columns:
    def zeros(name: str) -> NDArray[np.generic]:
        shape: tuple[int, ...] = (capacity,)
        if name == "mean":
            shape = (capacity, d)
        elif name in _MATRICES:
            shape = (capacity, d, d)
        kind = np.uint8 if name == "archived" else np.int64 if name in _INTEGERS else np.float64
        return np.zeros(shape, kind)

    return Columns(**{name: zeros(name) for name in Columns._fields})  # type: ignore[arg-type]  # each column has its own dtype
