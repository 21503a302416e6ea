"""Named arrays in one safetensors file with a checksum: quick to write and to read, for what is saved often.

safetensors has no text: a column of bytes of width w travels as uint8 [n, w], and the header says which ones are such.
The header's metadata also hold the checksum: the CRC-32 of the sums of each page of 512 words (all 64 bits of them), of
what is left of a page at a stretch's end, and of the header with zeros where the checksum stands. A stretch is a large
array, or all small ones between two large ones: of these the calls would cost more than the sums. It costs a fifth of
a CRC-32 over everything, and does not see words that have changed places within a page. Any reader of safetensors can
open the file; only this one checks it.

A piece is summed and written, or read and summed, while the processor's cache holds it: each byte is fetched once.
"""

from __future__ import annotations

import itertools
import os
import zlib
from typing import IO, TYPE_CHECKING

import msgspec
import numpy as np

from janus_memory.errors import CheckpointError
from janus_memory.store.arrays import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from io import FileIO
    from pathlib import Path

    from numpy.typing import NDArray

    from janus_memory.store.arrays import Arrays

    Bytes = NDArray[np.uint8]

__all__ = ["put_tensors", "read_tensors", "write_tensors"]

_DTYPES = {
    "BOOL": np.dtype("?"),
    **{f"U{8 * n}": np.dtype(f"<u{n}") for n in (1, 2, 4, 8)},
    **{f"I{8 * n}": np.dtype(f"<i{n}") for n in (1, 2, 4, 8)},
    **{f"F{8 * n}": np.dtype(f"<f{n}") for n in (2, 4, 8)},
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_PAGE = 4096
# Bytes of a piece, and of an array that is a stretch by itself. Part of the format: pages begin with a stretch.
_PIECE = 128 * _PAGE
_LARGE = 64 * _PAGE
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
    with replacing(path) as file:
        put_tensors(file, arrays)


def put_tensors(file: IO[bytes], arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays into a file that is open at its beginning; none is copied that is large and contiguous.

    Raises:
        TypeError: an array that is neither of numbers nor of bytes; nothing was written.
    """
    texts = {name: value.dtype.itemsize for name, value in arrays.items() if value.dtype.kind == "S"}
    plain = {name: _numbers(value) if name in texts else value for name, value in arrays.items()}
    # The widest first, so that every array begins at a multiple of its numbers' width.
    names = sorted(plain, key=lambda name: (-plain[name].dtype.itemsize, -plain[name].nbytes, name))
    values = [plain[name] for name in names]
    header = _header(dict(zip(names, values, strict=True)), texts)
    file.write(len(header).to_bytes(8, "little"))
    file.write(header)
    checksum = 0
    for stretch in _stretches([value.nbytes for value in values]):
        for piece in _pieces(_joined(values[stretch])):
            checksum = _summed(piece, checksum)
            file.write(piece.data)
    file.seek(8 + header.index(_NO_CHECKSUM))
    file.write(b"%08x" % zlib.crc32(header, checksum))


def read_tensors(path: Path) -> Arrays:
    """Read what `write_tensors` wrote; the arrays share one block of memory.

    Raises:
        CheckpointError: the file is missing, cut short, damaged or not such a file.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return _read(file)
    except (OSError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}; nothing was changed; restore the file or remove it to start afresh"
        ) from error


def _read(file: FileIO) -> Arrays:
    size = os.fstat(file.fileno()).st_size - 8
    length = int.from_bytes(file.read(8), "little")
    if length > size:
        raise ValueError(f"of {size} bytes {length} would be header: it is cut short or no safetensors file")
    header = file.read(length)
    entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
    metadata = msgspec.json.decode(entries.pop("__metadata__"), type=_Metadata)
    texts = msgspec.json.decode(metadata.texts, type=dict[str, int])
    tensors = {name: msgspec.json.decode(entry, type=_Tensor) for name, entry in entries.items()}
    ends = _ends(tensors, size - length)
    data, checksum = _filled(file, ends)
    _check(header, checksum, metadata.checksum)
    arrays: Arrays = {
        name: data[start:stop].view(_DTYPES[tensor.dtype]).reshape(tensor.shape)
        for (name, tensor), (start, stop) in zip(tensors.items(), itertools.pairwise(ends), strict=True)
    }
    return arrays | {name: arrays[name].view(f"S{width}")[..., 0] for name, width in texts.items()}


def _ends(tensors: Mapping[str, _Tensor], size: int) -> list[int]:
    """Where the arrays end, after a 0; refuses such as do not follow one another to the end of the file."""
    ends = [0]
    for name, tensor in tensors.items():
        start, stop = tensor.data_offsets
        if start != ends[-1] or stop < start:
            raise ValueError(f"array {name!r} does not begin where the one before it ends")
        ends.append(stop)
    if ends[-1] != size:
        raise ValueError(f"its arrays take {ends[-1]} bytes and it has {size}: it is cut short")
    return ends


def _filled(file: FileIO, ends: Sequence[int]) -> tuple[Bytes, int]:
    """The data and the checksum of them alone."""
    data, checksum = np.empty(ends[-1], np.uint8), 0
    for stretch in _stretches([stop - start for start, stop in itertools.pairwise(ends)]):
        for piece in _pieces(data[ends[stretch.start] : ends[stretch.stop]]):
            if file.readinto(piece.data) != len(piece):
                raise ValueError("it was cut short while it was read")
            checksum = _summed(piece, checksum)
    return data, checksum


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


def _check(header: bytes, checksum: int, wanted: str) -> None:
    found = f"{zlib.crc32(header.replace(wanted.encode(), _NO_CHECKSUM, 1), checksum):08x}"
    if found != wanted:
        raise ValueError(f"its checksum is {found} and should be {wanted}: it is damaged")


def _stretches(sizes: Sequence[int]) -> Iterator[slice]:
    """Which arrays of these bytes are summed as one."""
    alone = [i if size >= _LARGE else -1 for i, size in enumerate(sizes)]
    for _, run in itertools.groupby(range(len(sizes)), alone.__getitem__):
        members = list(run)
        yield slice(members[0], members[-1] + 1)


def _joined(values: Sequence[NDArray[np.generic]]) -> Bytes:
    """The bytes of arrays, one behind another."""
    if len(values) == 1:
        return np.ascontiguousarray(values[0]).reshape(-1).view(np.uint8)
    joined, start = np.empty(sum(value.nbytes for value in values), np.uint8), 0
    for value in values:
        joined[start : start + value.nbytes].view(value.dtype).reshape(value.shape)[...] = value
        start += value.nbytes
    return joined


def _pieces(data: Bytes) -> Iterator[Bytes]:
    return (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))


def _summed(piece: Bytes, checksum: int) -> int:
    """The checksum so far, and of a piece that begins with a page."""
    whole = len(piece) - len(piece) % _PAGE
    sums = piece[:whole].view(np.uint64).reshape(-1, _PAGE // 8).sum(axis=1)
    return zlib.crc32(piece[whole:].data, zlib.crc32(sums.data, checksum))


def _numbers(texts: NDArray[np.generic]) -> Bytes:
    """Bytes of width w as uint8, one axis more, of length w."""
    return np.ascontiguousarray(texts)[..., None].view(np.uint8)
