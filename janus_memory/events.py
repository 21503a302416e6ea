"""The events that cross topics, as JSON. docs/wire-format.md describes them for other languages.

Every event has an id, a version, a market and an as-of time (market time, UTC nanoseconds). Ids
are derived from what the event says, so that a replayed event has the same id.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
import numpy as np

from janus_memory.errors import WireError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Anomaly",
    "Barrier",
    "Cut",
    "DeadLetter",
    "MarketEvent",
    "PackedArray",
    "PolicyUpdate",
    "Risk",
    "SchemaUpdate",
    "SleepReport",
    "decode",
    "encode",
    "event_id",
    "is_session_id",
]

VERSION = 1


def event_id(*parts: str | int) -> str:
    """32 hex digits of SHA-256 over the parts; equal parts give equal ids."""
    return hashlib.sha256("\x1f".join(str(p) for p in parts).encode()).hexdigest()[:32]


def is_session_id(text: str) -> bool:
    """Whether a session may have this name: 1 to 64 letters, digits and `. _ : + -`, a letter or digit first."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}", text) is not None


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every event carries.

    Attributes:
        event_id: deterministic id.
        version: version of the event's format.
        market: the market it belongs to; the record's key on shared topics.
        as_of: market time in UTC nanoseconds.
    """

    event_id: str
    version: int = VERSION
    market: str
    as_of: int


class PackedArray(msgspec.Struct, frozen=True):
    """A float64 array as base64 of its little-endian bytes, with its shape."""

    shape: list[int]
    data: str

    @classmethod
    def pack(cls, array: NDArray[np.float64]) -> PackedArray:
        """Encode an array of any shape; the value round-trips bit for bit."""
        values = np.ascontiguousarray(array, dtype="<f8")
        return cls(shape=list(values.shape), data=base64.b64encode(values.tobytes()).decode("ascii"))

    def unpack(self) -> NDArray[np.float64]:
        """Decode to a float64 array of `shape`."""
        return np.frombuffer(base64.b64decode(self.data), "<f8").reshape(self.shape).astype(np.float64)


class MarketEvent(Event, frozen=True, kw_only=True):
    """A market opened or closed. A close starts the night of `session_id`."""

    kind: Literal["open", "close"]
    session_id: str


class Barrier(Event, frozen=True, kw_only=True):
    """Written into every partition of a market's transitions topic when the market closes."""

    kind: Literal["barrier"] = "barrier"
    session_id: str


class Cut(Event, frozen=True, kw_only=True):
    """The input of a night from one partition: records with from_offset <= offset < to_offset.

    Attributes:
        partition: the partition.
        from_offset: first offset after the previous consumed barrier (or the log's beginning).
        to_offset: the offset of the barrier itself; not part of the interval.
        rows: accepted rows in the interval.
        early: accepted rows stamped after the close but written before the barrier.
        late: accepted rows of the interval stamped before the previous close.
        sha256: over the raw values of all records in the interval, in offset order.
        settings_version: hash of the settings that decide a verdict.
    """

    session_id: str
    partition: int
    from_offset: int
    to_offset: int
    rows: int
    early: int
    late: int
    sha256: str
    settings_version: str

    @property
    def key(self) -> str:
        """Key on the compacted cuts topic."""
        return f"{self.market}/{self.session_id}/{self.partition}"


SchemaEventKind = Literal["created", "updated", "merged", "archived", "revived", "pruned"]


class SchemaUpdate(Event, frozen=True, kw_only=True):
    """One schema changed in one sleep cycle. as_of is the close of the session.

    `mean` and `covariance` are in standardised units: x = (state - feature_mean) / feature_deviation.
    `profile` and `avg_reward` are in the user's own units and words.
    """

    kind: SchemaEventKind
    cycle_id: str
    bank_version: int
    schema_id: str
    merged_into: str | None = None
    num_points: int
    avg_reward: float
    created_at: int
    last_updated: int
    profile: str
    mean: PackedArray
    covariance: PackedArray
    feature_mean: PackedArray
    feature_deviation: PackedArray


class PolicyUpdate(Event, frozen=True, kw_only=True):
    """New slow weights, and the model by which ingest flags anomalies.

    Attributes:
        policy: who has learned: `built-in`, whose file is in safetensors, or the factory of a user's own policy
            (`package.module:function`), whose file is what its `save` writes and its `load` reads.
    """

    cycle_id: str
    policy_version: int
    location: str
    sha256: str
    anomaly_location: str
    anomaly_sha256: str
    metrics: dict[str, float]
    policy: str = "built-in"


class SleepReport(Event, frozen=True, kw_only=True):
    """What a night did: the metrics of SPEC section 9, phase 5.

    Attributes:
        strategy: by which rows were drawn for replay; empty where nothing was replayed.
        domains: rows of the replay buffer by domain.
        policy: who has learned (see `PolicyUpdate`); empty where nothing was replayed.
    """

    cycle_id: str
    session_id: str
    state: Literal["committed", "skipped", "failed"]
    reason: str
    digest: str
    metrics: dict[str, float]
    phase_seconds: dict[str, float]
    notes: list[str]
    strategy: str = ""
    domains: dict[str, int] = {}
    policy: str = ""


class Anomaly(Event, frozen=True, kw_only=True):
    """A live state unlike anything known, with its full context (E32)."""

    cycle_id: str
    transition_id: str
    instrument: str
    agent_id: str
    episode_id: str
    partition: int
    offset: int
    distance: float
    threshold: float
    nearest_schema: str
    state: list[float]
    action: int | list[float]
    reward: float


class Risk(Event, frozen=True, kw_only=True):
    """The risk threshold is raised until `until` (market time); alert if anomalies persist."""

    cycle_id: str
    instrument: str
    agent_id: str
    until: int
    alert: bool
    anomalous: int
    window: int


class DeadLetter(Event, frozen=True, kw_only=True):
    """A record, or rows of it, that could not be used; as_of is the record's Kafka timestamp in ns."""

    topic: str
    partition: int
    offset: int
    reason: str
    rows: list[int]
    row_reasons: list[str]
    content_type: str
    key: str | None
    original: str


E_ = TypeVar("E_", bound=Event)


def encode(event: Event) -> bytes:
    """JSON bytes of an event; fields in the order of their definition."""
    return msgspec.json.encode(event)


def decode(kind: type[E_], data: bytes) -> E_:
    """The event of the given type.

    Raises:
        WireError: the bytes are not such an event.
    """
    try:
        event = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a {kind.__name__}: {error}; the record was left as it is") from error
    if event.version != VERSION:
        raise WireError(
            f"{kind.__name__} has version {event.version}, this program reads {VERSION}; update it"
        )
    return event
