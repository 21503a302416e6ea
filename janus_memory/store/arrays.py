"""Named arrays and a JSON note in one file, written atomically and read without pickle.

The format is numpy's own `.npz` (uncompressed). The note travels in it as bytes under `__meta__`. Files are read
by the same format's rules without `np.load`: each array straight into its memory, in half the time.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.lib import format as npy

from janus_memory.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Arrays", "array_digest", "read_arrays", "subtree", "write_arrays", "write_bytes"]

Arrays = dict[str, "NDArray[np.generic]"]

# Of the zip format: where an entry's local header says how long its name and extra field are.
_NAME_LENGTHS = 26
# Of the npy format, version 1.0: six bytes of magic, two of version, two that say how long the header is.
_NPY_START = 10


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves either the old one or the new one, synced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]], meta: Mapping[str, Any]) -> None:
    """Write arrays and a JSON-encodable note, atomically and synced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    note = np.frombuffer(msgspec.json.encode(dict(meta)), np.uint8)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, __meta__=note, **arrays)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def read_arrays(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write_arrays` wrote.

    Raises:
        CheckpointError: the file is missing, cut short or not such a file.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            arrays = {entry.filename.removesuffix(".npy"): _read(file, entry) for entry in archive.infolist()}
        meta = msgspec.json.decode(arrays.pop("__meta__").tobytes())
    except (OSError, ValueError, KeyError, struct.error, zipfile.BadZipFile, msgspec.DecodeError) as error:
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


def _read(file: io.BufferedReader, entry: zipfile.ZipInfo) -> NDArray[np.generic]:
    """One array of the archive in memory of its own, its checksum verified."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed")
    file.seek(entry.header_offset + _NAME_LENGTHS)
    file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
    start = file.read(_NPY_START)
    header = start + file.read(int.from_bytes(start[-2:], "little"))
    shape, fortran_order, dtype = _parsed(header)
    if len(header) + math.prod(shape) * dtype.itemsize != entry.file_size:
        raise ValueError(f"{entry.filename} has another size than its shape")
    array = np.empty(shape, dtype, order="F" if fortran_order else "C")
    memory = array.ravel(order="K").view(np.uint8).data if array.nbytes else memoryview(bytearray())
    if file.readinto(memory) != memory.nbytes or zlib.crc32(memory, zlib.crc32(header)) != entry.CRC:
        raise ValueError(f"{entry.filename} is damaged")
    return array


@functools.lru_cache(1024)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and dtype by an array's header; the same few come again and again."""
    stream = io.BytesIO(header)
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("an array's header is not of version 1.0")
    shape, fortran_order, dtype = npy.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects would need pickle")
    return shape, fortran_order, dtype


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
