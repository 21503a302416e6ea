"""Named arrays in one safetensors file with a checksum: quick to write and to read, for what is saved often.

safetensors has no text: a column of bytes of width w travels as uint8 [n, w], and the header says which ones are such.
The header's metadata also hold the checksum: the CRC-32 of the sums of each page of 512 words (all 64 bits of them), of
what is left of a page at an array's end, and of the header with zeros where the checksum stands. It costs a fifth of a
CRC-32 over everything, and does not see words that have changed places within a page. Any reader of safetensors can
open the file; only this one checks it.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from janus_memory.errors import CheckpointError
from janus_memory.store.arrays import write_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays

    Bytes = NDArray[np.uint8]

__all__ = ["read_tensors", "write_tensors"]

_DTYPES = {
    "BOOL": np.dtype("?"),
    **{f"U{8 * n}": np.dtype(f"<u{n}") for n in (1, 2, 4, 8)},
    **{f"I{8 * n}": np.dtype(f"<i{n}") for n in (1, 2, 4, 8)},
    **{f"F{8 * n}": np.dtype(f"<f{n}") for n in (2, 4, 8)},
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_PAGE = 4096
# Numbers lie where vectors want them.
_ALIGNMENT = 64
_NO_CHECKSUM = b"00000000"


class _Metadata(msgspec.Struct):
    """Strings, since safetensors allows no more: the checksum as eight hexadecimal digits, widths of text columns as JSON."""

    checksum: str
    texts: str


class _Tensor(msgspec.Struct):
    """Where an array lies behind the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def write_tensors(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays of numbers, or of bytes of one width, atomically and synced.

    Raises:
        TypeError: an array of something else; nothing was written.
    """
    texts = {name: value.dtype.itemsize for name, value in arrays.items() if value.dtype.kind == "S"}
    plain = {name: _numbers(value) if name in texts else value for name, value in arrays.items()}
    # The widest first, so that every array begins at a multiple of its numbers' width.
    names = sorted(plain, key=lambda name: (-plain[name].dtype.itemsize, name))
    parts = [np.ascontiguousarray(plain[name]).reshape(-1).view(np.uint8) for name in names]
    header = _header({name: plain[name] for name in names}, texts)
    checksum = b"%08x" % _checksum(parts, header)
    filled = header.replace(_NO_CHECKSUM, checksum, 1)
    write_parts(path, [len(filled).to_bytes(8, "little"), filled, *(part.data for part in parts)])


def read_tensors(path: Path) -> Arrays:
    """Read what `write_tensors` wrote; the arrays share one block of memory.

    Raises:
        CheckpointError: the file is missing, cut short, damaged or not such a file.
    """
    try:
        header, data = _read(path)
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(entries.pop("__metadata__"), type=_Metadata)
        texts = msgspec.json.decode(metadata.texts, type=dict[str, int])
        parts, arrays = [], {}
        for name, entry in entries.items():
            tensor = msgspec.json.decode(entry, type=_Tensor)
            start, stop = tensor.data_offsets
            parts.append(data[start:stop])
            arrays[name] = parts[-1].view(_DTYPES[tensor.dtype]).reshape(tensor.shape)
        _check(parts, header, metadata.checksum)
        return arrays | {name: arrays[name].view(f"S{width}")[..., 0] for name, width in texts.items()}
    except (OSError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}; nothing was changed; restore the file or remove it to start afresh"
        ) from error


def _read(path: Path) -> tuple[bytes, Bytes]:
    """The header and what lies behind it."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise ValueError(
                f"of {size} bytes {length} would be header: it is cut short or no safetensors file"
            )
        header = file.read(length)
        data = np.empty(size - 8 - length, np.uint8)
        if len(data) and file.readinto(data.data) != len(data):
            raise ValueError("it was cut short while it was read")
    return header, data


def _header(plain: Mapping[str, NDArray[np.generic]], texts: Mapping[str, int]) -> bytes:
    """The header, padded so that the data begin aligned; zeros stand where the checksum will."""
    metadata = _Metadata(_NO_CHECKSUM.decode(), msgspec.json.encode(texts).decode())
    entries: dict[str, _Metadata | _Tensor] = {"__metadata__": metadata}
    start = 0
    for name, value in plain.items():
        if value.dtype not in _NAMES:
            raise TypeError(f"array {name!r} holds {value.dtype}; nothing was written; give numbers or bytes")
        entries[name] = _Tensor(_NAMES[value.dtype], value.shape, (start, start + value.nbytes))
        start += value.nbytes
    header = msgspec.json.encode(entries)
    return header + b" " * (-(8 + len(header)) % _ALIGNMENT)


def _check(parts: Iterable[Bytes], header: bytes, checksum: str) -> None:
    found = f"{_checksum(parts, header.replace(checksum.encode(), _NO_CHECKSUM, 1)):08x}"
    if found != checksum:
        raise ValueError(f"its checksum is {found} and should be {checksum}: it is damaged")


def _checksum(parts: Iterable[Bytes], header: bytes) -> int:
    checksum = 0
    for part in parts:
        whole = len(part) - len(part) % _PAGE
        sums = part[:whole].view(np.uint64).reshape(-1, _PAGE // 8).sum(axis=1)
        checksum = zlib.crc32(part[whole:].data, zlib.crc32(sums.data, checksum))
    return zlib.crc32(header, checksum)


def _numbers(texts: NDArray[np.generic]) -> Bytes:
    """Bytes of width w as uint8, one axis more, of length w."""
    return np.ascontiguousarray(texts)[..., None].view(np.uint8)
