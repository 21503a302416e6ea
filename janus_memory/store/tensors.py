"""Named arrays in one safetensors file: quick to write and to read, for what is saved often (no checksum).

A checkpoint, which must tell that it was damaged, is a file of `store.arrays`. safetensors has no text: a column of
bytes of width w travels as uint8 [n, w], and the header says which ones are such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from janus_memory.errors import CheckpointError
from janus_memory.store.arrays import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays

__all__ = ["read_tensors", "write_tensors"]

_TEXTS = "texts"


def write_tensors(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays of numbers, or of bytes of one width, atomically and synced."""
    texts = {name: value.dtype.itemsize for name, value in arrays.items() if value.dtype.kind == "S"}
    plain = {
        name: _numbers(value) if name in texts else np.asarray(value, order="C")
        for name, value in arrays.items()
    }
    write_bytes(path, save(plain, {_TEXTS: msgspec.json.encode(texts).decode()}))


def read_tensors(path: Path) -> Arrays:
    """Read what `write_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, cut short or not such a file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            texts = msgspec.json.decode(file.metadata()[_TEXTS], type=dict[str, int])
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        return arrays | {name: arrays[name].view(f"S{width}")[..., 0] for name, width in texts.items()}
    except (OSError, SafetensorError, TypeError, KeyError, ValueError, msgspec.DecodeError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}; nothing was changed; restore the file or remove it to start afresh"
        ) from error


def _numbers(texts: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Bytes of width w as uint8, one axis more, of length w."""
    return np.ascontiguousarray(texts)[..., None].view(np.uint8)
