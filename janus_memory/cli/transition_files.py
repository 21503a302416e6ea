"""Transitions from a file: JSON lines, a frame (docs/wire-format.md), or a table in CSV or Parquet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from janus_memory.errors import ConfigError, WireError
from janus_memory.transition import Transitions

if TYPE_CHECKING:
    from pathlib import Path

    from janus_memory.transition import MarketSpec
    from streams.codec import Frame

__all__ = ["read_transitions"]

_PARQUET = b"PAR1"
# The first byte of a msgpack map: of up to 15 entries, of 16 bits, of 32 bits.
_MSGPACK_MAP = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
_LATEST_MS = 2**53
_BYTE = re.compile(r"\(byte (\d+)\)")


def read_transitions(path: Path, spec: MarketSpec) -> Transitions:
    """The rows of a file in the total order; what it is, is seen from its first bytes.

    Raises:
        ConfigError: the file cannot be read or holds nothing.
        WireError: a line, row or column is not what it should be; the message names it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; nothing was judged") from error
    start = data.lstrip()[:4]
    if not start:
        raise ConfigError(f"{path} is empty; nothing was judged; docs/rules.md says what it may hold")
    if start.startswith(b"{"):
        rows = _json_lines(path, data, spec)
    elif data[0] in _MSGPACK_MAP:
        rows = _frame(path, data, spec)
    else:
        from janus_memory.cli.transition_tables import read_table

        rows = read_table(path, spec, parquet=start == _PARQUET)
    return rows.sorted()


def _json_lines(path: Path, data: bytes, spec: MarketSpec) -> Transitions:
    from streams.codec import read_json

    parts: list[Transitions] = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            frame = read_json(line, spec)
        except WireError as error:
            at = _BYTE.search(str(error))
            _refuse(where + (f", column {int(at[1]) + 1}" if at else ""), str(error))
        fault = _fault(frame, spec)
        if fault:
            _refuse(where, fault[1])
        parts.append(frame.rows())
    return Transitions.concatenate(parts)


def _frame(path: Path, data: bytes, spec: MarketSpec) -> Transitions:
    from streams.codec import read_frame

    try:
        frame = read_frame(data, spec)
    except WireError as error:
        _refuse(str(path), str(error))
    fault = _fault(frame, spec)
    if fault:
        _refuse(f"{path}, row {fault[0] + 1}", fault[1])
    return frame.rows()


def _fault(frame: Frame, spec: MarketSpec) -> tuple[int, str] | None:
    """The first row that ingest would reject whenever it came, and why."""
    from streams.validation import judge

    verdict = judge(frame, spec, record_ms=_LATEST_MS, max_skew_s=0.0)
    if not verdict.rejected:
        return None
    row, reason = verdict.rejected[0], verdict.reasons[0]
    for name in ("state", "next_state"):
        bad = ~np.isfinite(getattr(frame, name)[row])
        if bad.any() and reason.startswith(f"{name} "):
            return row, f"{reason} at feature {spec.features[int(np.argmax(bad))]!r}"
    return row, reason


def _refuse(where: str, what: str) -> NoReturn:
    raise WireError(f"{where}: {what}; nothing was judged; docs/wire-format.md describes a transition")
