"""Arrays in a safetensors file: the same values come back, and a damaged file is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

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
