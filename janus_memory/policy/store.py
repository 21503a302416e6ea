"""Weights in a safetensors file: names, dtypes and shapes in its header, its SHA-256 in the event that names it.

Equal weights and notes give equal bytes, whatever the process: the note is one canonical JSON string,
because safetensors writes several metadata keys in no fixed order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from janus_memory.errors import CheckpointError
from janus_memory.store.arrays import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays

__all__ = ["load_note", "load_weights", "save_weights"]

_NOTE = "janus"


def save_weights(path: Path, arrays: Mapping[str, NDArray[np.generic]], meta: Mapping[str, Any]) -> str:
    """Write weights and a JSON-encodable note atomically; the SHA-256 of the file, in hex."""
    note = msgspec.json.encode(dict(meta), order="sorted").decode()
    data = save({name: np.ascontiguousarray(value) for name, value in arrays.items()}, {_NOTE: note})
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def load_weights(path: Path, sha256: str) -> Arrays:
    """Read what `save_weights` wrote.

    Args:
        path: the file.
        sha256: what `save_weights` returned.

    Raises:
        CheckpointError: the file is missing, differs from what was announced, or is not such a file.
    """
    data = _read(path, sha256)
    try:
        return dict(load(data))
    except SafetensorError as error:
        raise _unreadable(path, str(error)) from error


def load_note(path: Path, sha256: str) -> dict[str, Any]:
    """The note that `save_weights` put beside the weights.

    Raises:
        CheckpointError: as `load_weights`.
    """
    data = _read(path, sha256)
    try:
        header = msgspec.json.decode(data[8 : 8 + int.from_bytes(data[:8], "little")])
        note: dict[str, Any] = msgspec.json.decode(header["__metadata__"][_NOTE])
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise _unreadable(path, str(error)) from error
    return note


def _read(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise _unreadable(path, f"its SHA-256 is {found}, expected {sha256}")
    return data


def _unreadable(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"cannot use the weights in {path}: {reason}; nothing was changed; restore the file, or publish the "
        "market's last night again"
    )
