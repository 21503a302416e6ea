"""Array files: round trip, atomic replacement, and refusal of anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_memory.errors import CheckpointError
from janus_memory.store.arrays import (
    array_digest,
    read_arrays,
    replacing,
    subtree,
    write_arrays,
    write_bytes,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Every dtype we keep comes back with its bits, and so does the note."""
    arrays = {
        "x/f": np.linspace(0, 1, 7),
        "x/i": np.arange(3, dtype=np.int64),
        "ids": np.array([b"a", b"bc"], "S64"),
        "none": np.zeros((0, 4), np.float32),
    }
    write_arrays(tmp_path / "a.npz", arrays, {"phase": 1, "name": "n"})
    found, meta = read_arrays(tmp_path / "a.npz")
    assert meta == {"phase": 1, "name": "n"}
    assert array_digest(found) == array_digest(arrays)
    assert set(subtree(found, "x/")) == {"f", "i"}


def test_replacing_leaves_no_other_file(tmp_path: Path) -> None:
    """The second write replaces the first and leaves no temporary behind."""
    for value in (1.0, 2.0):
        write_arrays(tmp_path / "a.npz", {"v": np.array([value])}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert read_arrays(tmp_path / "a.npz")[0]["v"].tolist() == [2.0]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """As a full disk would: nothing of the new file is left."""
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(OSError, match="full"), replacing(tmp_path / "a") as file:  # noqa: PT012  (the body is what fails)
        file.write(b"half of the n")
        raise OSError("the disk is full")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("damage", ["cut", "missing", "text"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    """A short, absent or foreign file is an error that names it."""
    path = tmp_path / "a.npz"
    write_arrays(path, {"v": np.arange(100)}, {})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "text":
        path.write_text("not an array file")
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match=r"a\.npz"):
        read_arrays(path)


def test_an_object_array_is_never_written_or_read(tmp_path: Path) -> None:
    """Pickle has no way in, from either side."""
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(tmp_path / "a.npz", {"v": np.array([{}], object)}, {})
    np.savez(tmp_path / "b.npz", v=np.array([{}], object))
    with pytest.raises(CheckpointError):
        read_arrays(tmp_path / "b.npz")


def test_digest_sees_value_shape_type_and_name() -> None:
    """Any difference that matters changes the digest; the order of insertion does not."""
    base = {"a": np.arange(4), "b": np.zeros(2)}
    digests = {
        array_digest(base),
        array_digest({"a": np.arange(4).reshape(2, 2), "b": np.zeros(2)}),
        array_digest({"a": np.arange(4, dtype=np.int32), "b": np.zeros(2)}),
        array_digest({"c": np.arange(4), "b": np.zeros(2)}),
        array_digest({"a": np.arange(4), "b": np.array([0.0, -0.0])}),
    }
    assert len(digests) == 5
    assert array_digest(dict(reversed(base.items()))) == array_digest(base)
