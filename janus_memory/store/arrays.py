"""Named arrays and a JSON note in one file, written atomically and read without pickle.

The format is numpy's own `.npz` (uncompressed). The note travels in it as bytes under `__meta__`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from typing import IO, TYPE_CHECKING, Any

import msgspec
import numpy as np

from janus_memory.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Arrays", "array_digest", "read_arrays", "replacing", "subtree", "write_arrays", "write_bytes"]

Arrays = dict[str, "NDArray[np.generic]"]


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves either the old one or the new one, synced."""
    with replacing(path) as file:
        file.write(data)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]], meta: Mapping[str, Any]) -> None:
    """Write arrays and a JSON-encodable note, atomically and synced."""
    note = np.frombuffer(msgspec.json.encode(dict(meta)), np.uint8)
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, __meta__=note, **arrays)


def read_arrays(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write_arrays` wrote.

    Raises:
        CheckpointError: the file is missing, cut short or not such a file.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays: Arrays = {name: file[name] for name in file.files}
        meta = msgspec.json.decode(arrays.pop("__meta__").tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, msgspec.DecodeError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}; nothing was changed; restore the file or remove it to start afresh"
        ) from error
    return arrays, meta


def subtree(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> Arrays:
    """The arrays whose names start with `prefix`, with it taken off."""
    return {name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)}


def array_digest(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """SHA-256 over names, dtypes, shapes and little-endian bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        value = value.astype(value.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}|{value.dtype.str}|{value.shape}|".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of another once it is whole and synced; where that fails nothing is left of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
