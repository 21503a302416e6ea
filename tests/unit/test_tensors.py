"""Arrays in a safetensors file: the same values come back, and a damaged file is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

from janus_memory.errors import CheckpointError
from janus_memory.store.arrays import array_digest
from janus_memory.store.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from janus_memory.store.arrays import Arrays


def example() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "state": rng.standard_normal((5, 3)).astype(np.float32),
        "every other": rng.standard_normal((6, 2))[::2],
        "priority": rng.random(5),
        "slot": np.arange(5, dtype=np.int32),
        "generation": np.arange(5, dtype=np.uint32),
        "judged": np.array([True, False]),
        "counter": np.array(7, np.int64),
        "id": np.array([b"a", b"", b"of eight"], "S8"),
        "ids of two axes": np.array([[b"a", b"b"], [b"c", b"dd"]], "S2"),
        "nothing": np.zeros((0, 4)),
        "no ids": np.zeros(0, "S64"),
    }


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Names, dtypes, shapes and bytes, also of empty arrays, scalars, strided arrays and text."""
    write_tensors(tmp_path / "a.safetensors", example())
    found = read_tensors(tmp_path / "a.safetensors")
    assert {n: (v.dtype, v.shape) for n, v in found.items()} == {
        n: (v.dtype, v.shape) for n, v in example().items()
    }
    assert array_digest(found) == array_digest(example())


def large() -> Arrays:
    """Arrays of several pieces, of part of one, and small ones between them; widths 8, 4 and 1."""
    rng = np.random.default_rng(1)
    return {
        "wide": rng.standard_normal((3_001, 53)),
        "turned": rng.standard_normal((50, 2_000)).T,
        "priority": rng.random(700),
        "state": rng.standard_normal((9_000, 33)).astype(np.float32),
        "action": np.arange(2_001, dtype=np.int32),
        "bytes": rng.integers(0, 256, 1_200_003, np.uint8),
        "done": rng.random(13) < 0.5,
    }


def test_large_arrays_are_read_as_written(tmp_path: Path) -> None:
    """By this reader and by others."""
    write_tensors(tmp_path / "a.safetensors", large())
    assert array_digest(read_tensors(tmp_path / "a.safetensors")) == array_digest(large())
    assert array_digest(load_file(tmp_path / "a.safetensors")) == array_digest(large())


@pytest.mark.parametrize("part", range(24))
def test_a_damaged_byte_of_a_large_array_is_refused(tmp_path: Path, part: int) -> None:
    """Wherever it lies, at the ends of pieces too."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, large())
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + (len(data) - start - 1) * part // 23] ^= 128
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"[0,24]", b"[8,24]", "'a' does not begin where"),
        (b"[24,28]", b"[16,28]", "'b' does not begin where"),
        (b"[24,28]", b"[24,20]", "'b' does not begin where"),
        (b"[24,28]", b"[24,32]", "take 32 bytes and it has 28"),
    ],
)
def test_arrays_that_do_not_fill_the_file_are_refused(
    tmp_path: Path, old: bytes, new: bytes, why: str
) -> None:
    """Before anything of them is read: gaps, overlaps, an end before the beginning, more than there is."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": np.arange(3.0), "b": np.ones(1, np.float32)})
    data = path.read_bytes()
    changed = data.replace(old, new, 1)
    # The header keeps its length: it ends in spaces.
    changed = changed if len(changed) == len(data) else changed.replace(b"}}  ", b"}} ", 1)
    path.write_bytes(changed)
    with pytest.raises(CheckpointError, match=why):
        read_tensors(path)


def test_other_readers_of_safetensors_can_open_it(tmp_path: Path) -> None:
    """Names, dtypes, shapes and values of the numbers; text comes as its bytes."""
    write_tensors(tmp_path / "a.safetensors", example())
    found = load_file(tmp_path / "a.safetensors")
    plain = {name: value for name, value in example().items() if value.dtype.kind != "S"}
    assert array_digest({name: found.pop(name) for name in plain}) == array_digest(plain)
    assert found["id"].tobytes() == example()["id"].tobytes()


@pytest.mark.parametrize("where", ["header", "first page", "last page", "tail"])
def test_a_damaged_byte_is_refused(tmp_path: Path, where: str) -> None:
    """Wherever it lies: in a name, in whole pages, in what is left behind them."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"state": np.arange(3_000.0), "tail": np.arange(9, dtype=np.uint8)})
    data = bytearray(path.read_bytes())
    at = {
        "header": data.index(b"tail"),
        "first page": len(data) - 9 - 24_000,
        "last page": len(data) - 9 - 24_000 + 20_479,
        "tail": len(data) - 1,
    }[where]
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"a\.safetensors.*damaged"):
        read_tensors(path)


def test_what_has_no_place_in_the_file_is_refused(tmp_path: Path) -> None:
    """The array is named; nothing is written."""
    with pytest.raises(TypeError, match="'when' holds datetime64"):
        write_tensors(tmp_path / "a.safetensors", {"when": np.zeros(2, "M8[s]")})
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """Missing, cut short, or of another kind: the message names the file."""
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        read_tensors(path)
    write_tensors(path, example())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        read_tensors(path)
    path.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        read_tensors(path)
