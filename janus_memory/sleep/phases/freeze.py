"""Phase 0: freeze the input. Afterwards the topic is not read again.

The pool of a night is the last committed replay buffer and the rows that are new: those of the cuts and those
that waited. A row that the market already knows, or that stands in two partitions, is dropped; one stamped
after the close waits for the next night. Everything from here on is in the total order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from janus_memory.errors import InsufficientData, SessionError
from janus_memory.hippocampus.metadata import Metadata
from janus_memory.neocortex.background import Background
from janus_memory.scale import Scale
from janus_memory.sleep.memory import note, prefixed
from janus_memory.store.arrays import subtree
from janus_memory.transition import Transitions, fill_next_actions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from janus_memory.config import Settings
    from janus_memory.sleep.memory import Memory
    from janus_memory.sleep.night import NightInput
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import MarketSpec

__all__ = ["Frozen", "Ground", "Pool", "fit_ground", "freeze", "id_digests", "is_known"]


@dataclass(frozen=True, slots=True)
class Ground:
    """What every later number stands on: fitted once, on the first real night."""

    scale: Scale
    background: Background


@dataclass(frozen=True, slots=True)
class Pool:
    """The rows a night works on, in the total order.

    Attributes:
        rows: n transitions.
        metadata: of each row, as earlier nights left it (E1).
        new: bool [n], not in the buffer before.
        n_buffer: the last this many rows are the replay buffer; earlier ones are only consolidated.
    """

    rows: Transitions
    metadata: Metadata
    new: NDArray[np.bool_]
    n_buffer: int

    @property
    def buffer(self) -> slice:
        """The rows of the replay buffer."""
        return slice(len(self.rows) - self.n_buffer, len(self.rows))

    @property
    def open(self) -> NDArray[np.intp]:
        """The rows to be consolidated tonight, in the total order."""
        return np.flatnonzero(~self.metadata.consolidated)

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {
            **self.rows.arrays("rows/"),
            **self.metadata.arrays("metadata/"),
            "new": self.new,
            "n_buffer": np.array(self.n_buffer),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Pool:
        """The inverse of `snapshot`."""
        return cls(
            Transitions.from_arrays(arrays, "rows/"),
            Metadata.from_arrays(arrays, "metadata/"),
            cast("NDArray[np.bool_]", arrays["new"]),
            int(arrays["n_buffer"]),
        )


class _Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers and names of a frozen input."""

    session_id: str
    closed_at: int
    accepted: int
    reason: str
    missing: tuple[int, ...]
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Frozen:
    """The frozen input.

    Attributes:
        session_id, closed_at: whose night it is.
        accepted: rows this market has accepted so far.
        reason: why the night is skipped; empty if it is not.
        missing: partitions without a cut.
        counts: what was counted on the way, by ingest and here.
        carried: rows for the next night: the early ones; of a skipped night all.
        pool: None for a skipped night.
    """

    session_id: str
    closed_at: int
    accepted: int
    reason: str
    missing: tuple[int, ...]
    counts: dict[str, int]
    carried: Transitions | None
    pool: Pool | None

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        facts = _Facts(
            session_id=self.session_id,
            closed_at=self.closed_at,
            accepted=self.accepted,
            reason=self.reason,
            missing=self.missing,
            counts=self.counts,
        )
        return {
            "facts": note(facts),
            **(self.carried.arrays("carried/") if self.carried is not None else {}),
            **(prefixed("pool/", self.pool.snapshot()) if self.pool is not None else {}),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Frozen:
        """The inverse of `snapshot`."""
        facts = msgspec.json.decode(arrays["facts"].tobytes(), type=_Facts)
        pool = subtree(arrays, "pool/")
        return cls(
            facts.session_id,
            facts.closed_at,
            facts.accepted,
            facts.reason,
            facts.missing,
            facts.counts,
            Transitions.from_arrays(arrays, "carried/") if "carried/timestamp" in arrays else None,
            Pool.restore(pool) if pool else None,
        )


def freeze(given: NightInput, memory: Memory, settings: Settings, spec: MarketSpec) -> Frozen:
    """Merge what is new with what is known; decide whether there is a night at all.

    Raises:
        SessionError: the input is another market's, or of a session that the memory has already slept.
    """
    if given.market != memory.market or given.session_id in memory.sessions:
        raise SessionError(
            f"session {given.session_id} of {given.market} cannot be slept by the memory of {memory.market} after "
            f"{', '.join(memory.sessions[-3:]) or 'no session'}; nothing was changed; a session runs once and in order"
        )
    arrived = _unknown(given.rows, memory, memory.waiting)
    parts = [part for part in (memory.waiting, arrived) if part is not None]
    fresh = Transitions.concatenate(parts).sorted()
    is_early = fresh.timestamp > given.closed_at
    usable, early = fresh.take(~is_early), fresh.take(is_early)
    reason = _reason_to_skip(len(usable), memory, settings, spec.state_size)
    carried = fresh if reason else early
    return Frozen(
        session_id=given.session_id,
        closed_at=given.closed_at,
        accepted=memory.accepted + len(arrived),
        reason=reason,
        missing=given.missing,
        counts={
            **{f"ingest_{name}": count for name, count in given.counts.items()},
            "rows_new": len(usable),
            "rows_early": len(early),
            "rows_late": int((arrived.timestamp <= memory.closed_at).sum()),
            "rows_repeated": len(given.rows) - len(arrived),
        },
        carried=carried if len(carried) else None,
        pool=None if reason else _pool(usable, memory, settings),
    )


def fit_ground(pool: Pool, settings: Settings, spec: MarketSpec) -> Ground:
    """Scale and background, once, from the rows of the first real night.

    Raises:
        ConfigError: a feature has no variance.
    """
    rows = pool.rows
    scale = Scale.fit(rows, spec.features, max_rows=settings.neocortex.frozen_rows)
    return Ground(scale, Background.fit(scale.standardise(rows.state), rows.timestamp, settings.neocortex))


def id_digests(ids: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """A 16-byte BLAKE2b of each id, as 32 hex digits; bytes S32 [n]."""
    digests = [hashlib.blake2b(i, digest_size=16).hexdigest().encode() for i in ids.tolist()]
    return np.array(digests, "S32")


def is_known(ids: NDArray[np.bytes_], known: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """For each id whether its digest is among `known` (sorted)."""
    if not len(known):
        return np.zeros(len(ids), np.bool_)
    digests = id_digests(ids)
    place = np.minimum(np.searchsorted(known, digests), len(known) - 1)
    return np.asarray(known[place] == digests)


def _unknown(rows: Transitions, memory: Memory, waiting: Transitions | None) -> Transitions:
    """The rows whose ids are new: the first of each id, not waiting, not in the buffer, not consolidated."""
    _, first = np.unique(rows.transition_id, return_index=True)
    rows = rows.take(np.sort(first))
    held: Sequence[Transitions] = [r for r in (waiting, memory.rows) if r is not None]
    drop = is_known(rows.transition_id, memory.known)
    for other in held:
        drop |= np.isin(rows.transition_id, other.transition_id)
    return rows.take(~drop)


def _reason_to_skip(n: int, memory: Memory, settings: Settings, d: int) -> str:
    warmup = settings.sleep.warmup(d)
    if memory.knowledge is None and n < warmup:
        return f"warming up: {n} of {warmup} rows; they are kept for the next night"
    if n < settings.sleep.min_rows:
        shortage = InsufficientData(
            f"{n} new rows, {settings.sleep.min_rows} are needed; they are kept for the next night"
        )
        return f"{type(shortage).__name__}: {shortage}"
    return ""


def _pool(usable: Transitions, memory: Memory, settings: Settings) -> Pool:
    """Buffer and new rows in the total order; what neither the buffer nor the cut can hold is left out."""
    old = memory.rows if memory.rows is not None else usable.take(slice(0, 0))
    rows = Transitions.concatenate([old, usable])
    order = rows.order()
    pool = Pool(
        rows=fill_next_actions(rows.take(order)),
        metadata=Metadata.concatenate([memory.metadata, Metadata.empty(len(usable))]).take(order),
        new=np.concatenate([np.zeros(len(old), np.bool_), np.ones(len(usable), np.bool_)])[order],
        n_buffer=min(len(rows), settings.ingest.capacity),
    )
    keep = np.arange(len(rows)) >= len(rows) - pool.n_buffer
    if settings.neocortex.consolidate == "cut":
        keep |= pool.new
    return replace(
        pool,
        rows=pool.rows.take(keep),
        metadata=pool.metadata.take(keep),
        new=pool.new[keep],
    )
