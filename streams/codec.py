"""Bytes on a transitions topic to columns and back (docs/wire-format.md).

One Kafka record is one frame: a msgpack map with one little-endian column per field. A record whose
content type is JSON holds one transition. Reading checks what concerns the record as a whole (version,
market, feature set, the length of every column); the values of rows are judged by `streams.validation`.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import numpy as np

from janus_memory.errors import WireError
from janus_memory.transition import ID_BYTES, UNKNOWN_ACTION, MarketSpec, Transitions, feature_set_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "ID_COLUMNS",
    "WIRE_VERSION",
    "Frame",
    "Ids",
    "decode_frame",
    "decode_json",
    "encode_frame",
    "read_frame",
    "read_json",
]

WIRE_VERSION = 1
ID_COLUMNS = ("transition_id", "instrument", "agent_id", "episode_id", "domain")

_ID = np.dtype(f"S{ID_BYTES}")
_INT64, _INT32, _FLOAT32, _UINT8 = np.dtype("<i8"), np.dtype("<i4"), np.dtype("<f4"), np.dtype("|u1")
_INT64_MAX = 2**63 - 1
_INT32_MAX = 2**31 - 1
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)


class Ids(msgspec.Struct, frozen=True):
    """A column of ids: `b` holds rows of `w` bytes, padded with NUL, or one row that stands for all."""

    w: int
    b: bytes


class _FrameMap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The msgpack map; unknown keys are passed over."""

    v: int
    market: str
    feature_set_id: str
    n: int
    transition_id: Ids
    instrument: Ids
    agent_id: Ids
    episode_id: Ids
    domain: Ids | None = None
    timestamp: bytes
    state: bytes
    action: bytes
    reward: bytes
    next_state: bytes
    next_action: bytes | None = None
    done: bytes


class _Single(msgspec.Struct, frozen=True, kw_only=True):
    """One transition as a JSON object."""

    v: int
    market: str
    feature_set_id: str
    transition_id: str
    instrument: str
    agent_id: str
    episode_id: str
    domain: str | None = None
    state: list[float]
    action: int | list[float]
    reward: float
    next_state: list[float]
    next_action: int | list[float] | None = None
    done: bool
    timestamp: int


class _Head(msgspec.Struct, frozen=True):
    """Only the version, to tell a frame of another version from damaged bytes."""

    v: int


_feature_set_id = lru_cache(maxsize=64)(feature_set_id)
_frame_encoder = msgspec.msgpack.Encoder()
_frame_decoder = msgspec.msgpack.Decoder(_FrameMap)
_single_decoder = msgspec.json.Decoder(_Single)


@dataclass(frozen=True, slots=True)
class Frame:
    """A record's columns, before its rows are judged. Arrays are read-only views of the decoded bytes.

    Attributes:
        n: number of rows, at least 1.
        ids: name -> column of n rows or of one; ids may be of any width.
        timestamp, state, action, reward, next_state, done: as in `Transitions`.
        next_action: as in `Transitions`, or None where the record carries none.
    """

    n: int
    ids: Mapping[str, Ids]
    timestamp: NDArray[np.int64]
    state: NDArray[np.float32]
    action: NDArray[Any]
    reward: NDArray[np.float32]
    next_state: NDArray[np.float32]
    next_action: NDArray[Any] | None
    done: NDArray[np.uint8]

    def rows(self) -> Transitions:
        """The rows as they are; ids longer than 64 bytes are cut, so judge them first."""
        next_action = self.next_action
        if next_action is None:
            next_action = np.full_like(self.action, UNKNOWN_ACTION if self.action.ndim == 1 else np.nan)
        return Transitions(
            **{name: _id_column(column, self.n) for name, column in self.ids.items()},
            timestamp=self.timestamp,
            state=self.state,
            action=self.action,
            reward=self.reward,
            next_state=self.next_state,
            next_action=next_action,
            done=self.done,
        )


def encode_frame(rows: Transitions, spec: MarketSpec) -> bytes:
    """One frame holding `rows` (at least one).

    Ids that are the same in every row, unknown next actions and a domain that equals the instrument are
    written once or left out.

    Raises:
        WireError: no rows, or columns that are not shaped for this market.
    """
    n = len(rows)
    if n == 0:
        raise WireError(f"market {spec.name}: a frame needs at least one row; nothing was encoded")
    _check_shapes(rows, spec)
    same_domain = np.array_equal(rows.domain, rows.instrument)
    unknown = rows.next_action == UNKNOWN_ACTION if rows.action.ndim == 1 else np.isnan(rows.next_action)
    frame = _FrameMap(
        v=WIRE_VERSION,
        market=spec.name,
        feature_set_id=spec.feature_set_id,
        n=n,
        transition_id=_pack_ids(rows.transition_id, once=False),
        instrument=_pack_ids(rows.instrument),
        agent_id=_pack_ids(rows.agent_id),
        episode_id=_pack_ids(rows.episode_id),
        domain=None if same_domain else _pack_ids(rows.domain),
        timestamp=_pack(rows.timestamp),
        state=_pack(rows.state),
        action=_pack(rows.action),
        reward=_pack(rows.reward),
        next_state=_pack(rows.next_state),
        next_action=None if unknown.all() else _pack(rows.next_action),
        done=_pack(rows.done),
    )
    return _frame_encoder.encode(frame)


def read_frame(value: bytes, spec: MarketSpec) -> Frame:
    """The columns of a frame.

    Raises:
        WireError: the bytes are not a frame of this version, market, feature set and shape.
    """
    try:
        frame = _frame_decoder.decode(value)
    except _UNREADABLE as error:
        _refuse_version(value, "msgpack")
        raise WireError(f"undecodable frame: {error}") from error
    _check_head(frame, spec)
    if not 1 <= frame.n <= len(value):
        raise WireError(f"a frame of {frame.n} rows in {len(value)} bytes")
    n = frame.n
    states = (n, spec.state_size)
    actions = (n,) if spec.action_kind == "discrete" else (n, spec.action_size)
    action_type = _INT32 if spec.action_kind == "discrete" else _FLOAT32
    next_action = frame.next_action
    return Frame(
        n=n,
        ids=_checked_ids(frame),
        timestamp=_unpack("timestamp", frame.timestamp, _INT64, (n,)),
        state=_unpack("state", frame.state, _FLOAT32, states),
        action=_unpack("action", frame.action, action_type, actions),
        reward=_unpack("reward", frame.reward, _FLOAT32, (n,)),
        next_state=_unpack("next_state", frame.next_state, _FLOAT32, states),
        next_action=None
        if next_action is None
        else _unpack("next_action", next_action, action_type, actions),
        done=_unpack("done", frame.done, _UINT8, (n,)),
    )


def read_json(value: bytes, spec: MarketSpec) -> Frame:
    """A single JSON transition as a frame of one row.

    Raises:
        WireError: the bytes are not a transition of this version, market, feature set and shape.
    """
    try:
        single = _single_decoder.decode(value)
    except _UNREADABLE as error:
        _refuse_version(value, "json")
        raise WireError(f"undecodable JSON transition: {error}") from error
    _check_head(single, spec)
    if abs(single.timestamp) > _INT64_MAX:
        raise WireError("timestamp does not fit into 64 bits")
    d = spec.state_size
    next_action = single.next_action
    texts = {name: getattr(single, name) for name in ID_COLUMNS}
    texts["domain"] = single.instrument if single.domain is None else single.domain
    return Frame(
        n=1,
        ids={name: _json_id(name, text) for name, text in texts.items()},
        timestamp=np.array([single.timestamp], np.int64),
        state=_json_floats("state", single.state, d),
        action=_json_action("action", single.action, spec),
        reward=_json_floats("reward", [single.reward], 1)[0],
        next_state=_json_floats("next_state", single.next_state, d),
        next_action=None if next_action is None else _json_action("next_action", next_action, spec),
        done=np.array([single.done], np.uint8),
    )


def decode_frame(value: bytes, spec: MarketSpec) -> Transitions:
    """All rows of a frame, good or bad.

    Raises:
        WireError: see `read_frame`.
    """
    return read_frame(value, spec).rows()


def decode_json(value: bytes, spec: MarketSpec) -> Transitions:
    """The row of a JSON transition, good or bad.

    Raises:
        WireError: see `read_json`.
    """
    return read_json(value, spec).rows()


def _check_head(head: _FrameMap | _Single, spec: MarketSpec) -> None:
    if head.v != WIRE_VERSION:
        raise WireError(f"unknown schema version {head.v}, this program reads {WIRE_VERSION}")
    if head.market != spec.name:
        raise WireError(f"market {head.market[:ID_BYTES]!r} on the topic of market {spec.name!r}")
    expected = _feature_set_id(spec.features)
    if head.feature_set_id != expected:
        raise WireError(
            f"feature set {head.feature_set_id[:ID_BYTES]!r} is not the market's {expected!r}; "
            "names or their order differ"
        )


def _refuse_version(value: bytes, form: str) -> None:
    """Say "unknown version" rather than "undecodable" where the bytes name another version."""
    try:
        head = (msgspec.msgpack if form == "msgpack" else msgspec.json).decode(value, type=_Head)
    except _UNREADABLE:
        return
    if head.v != WIRE_VERSION:
        raise WireError(f"unknown schema version {head.v}, this program reads {WIRE_VERSION}")


def _check_shapes(rows: Transitions, spec: MarketSpec) -> None:
    for name, like in Transitions.empty(spec).arrays().items():
        column = getattr(rows, name)
        if column.shape != (len(rows), *like.shape[1:]) or column.dtype.kind != like.dtype.kind:
            raise WireError(
                f"market {spec.name}: column {name} is {column.dtype} {column.shape}, "
                f"not {like.dtype} {(len(rows), *like.shape[1:])}; nothing was encoded"
            )


def _pack(column: NDArray[Any]) -> bytes:
    wire_type = {"i4": "<i4", "i8": "<i8", "f4": "<f4", "u1": "|u1"}[column.dtype.str[1:]]
    return column.astype(wire_type, order="C", copy=False).tobytes()


def _pack_ids(column: NDArray[np.bytes_], *, once: bool = True) -> Ids:
    if once and (column == column[0]).all():
        column = column[:1]
    width = max(1, int(np.strings.str_len(column).max()))
    return Ids(w=width, b=column.astype(f"S{width}").tobytes())


def _unpack(name: str, data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise WireError(
            f"wrong dimension: {name} has {len(data)} bytes, {expected} expected for shape {shape} of {dtype.str}"
        )
    column = np.frombuffer(data, dtype).reshape(shape)
    return column if sys.byteorder == "little" else column.astype(dtype.newbyteorder("="))


def _checked_ids(frame: _FrameMap) -> dict[str, Ids]:
    ids = {
        "transition_id": frame.transition_id,
        "instrument": frame.instrument,
        "agent_id": frame.agent_id,
        "episode_id": frame.episode_id,
        "domain": frame.instrument if frame.domain is None else frame.domain,
    }
    for name, column in ids.items():
        size, every_row = len(column.b), frame.n * column.w
        if column.w < 1 or (size != every_row and (size != column.w or name == "transition_id")):
            raise WireError(f"{name} has {size} bytes for {frame.n} rows of width {column.w}")
    return ids


def _id_column(column: Ids, n: int) -> NDArray[np.bytes_]:
    """Bytes S64 [n]; one value for all rows takes the room of one."""
    if len(column.b) == column.w:
        return np.ndarray((n,), _ID, column.b[:ID_BYTES].ljust(ID_BYTES, b"\0"), strides=(0,))
    return np.frombuffer(column.b, f"S{column.w}").astype(_ID)


def _json_id(name: str, text: str) -> Ids:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise WireError(f"{name} is not UTF-8: {error}") from error
    if data.endswith(b"\0"):
        raise WireError(f"{name} contains NUL")
    return Ids(w=max(1, len(data)), b=data or b"\0")


def _json_floats(name: str, values: list[float], size: int) -> NDArray[np.float32]:
    if len(values) != size:
        raise WireError(f"wrong dimension: {name} has {len(values)} values, {size} expected")
    with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which the row check names
        return np.array(values, np.float64).astype(np.float32).reshape(1, size)


def _json_action(name: str, action: float | list[float], spec: MarketSpec) -> NDArray[Any]:
    if spec.action_kind == "vector":
        if not isinstance(action, list):
            _refuse_action(name, spec)
        return _json_floats(name, action, spec.action_size)
    if isinstance(action, list):
        _refuse_action(name, spec)
    return np.array([min(max(int(action), -_INT32_MAX), _INT32_MAX)], np.int32)


def _refuse_action(name: str, spec: MarketSpec) -> NoReturn:
    wanted = "an index" if spec.action_kind == "discrete" else f"a list of {spec.action_size} numbers"
    raise WireError(f"wrong dimension: {name} of market {spec.name} is {wanted}")
