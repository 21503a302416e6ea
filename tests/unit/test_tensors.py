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
