"""What a night announces: records with deterministic ids, published after its commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["OutboxRecord", "pack_outbox", "unpack_outbox"]


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """One record for Kafka. The publisher's cursor is a position in the night's tuple of them.

    Attributes:
        topic: the topic's name.
        key: the record's key: the market, or market/schema id on the schema topic.
        value: the JSON bytes of the event.
    """

    topic: str
    key: str
    value: bytes


def pack_outbox(records: Sequence[OutboxRecord]) -> NDArray[np.uint8]:
    """The records as one uint8 array for a checkpoint."""
    return np.frombuffer(msgspec.msgpack.encode([(r.topic, r.key, r.value) for r in records]), np.uint8)


def unpack_outbox(packed: NDArray[np.uint8]) -> tuple[OutboxRecord, ...]:
    """The inverse of `pack_outbox`."""
    rows = msgspec.msgpack.decode(packed.tobytes(), type=list[tuple[str, str, bytes]])
    return tuple(OutboxRecord(*row) for row in rows)
