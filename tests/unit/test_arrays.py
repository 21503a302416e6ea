"""Array files: round trip, atomic replacement, and refusal of anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_memory.errors import CheckpointError
from janus_memory.store.arrays import array_digest, read_arrays, subtree, write_arrays


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Every dtype we keep comes back with its bits, and so does the note."""
    arrays = {
        "x/f": np.linspace(0, 1, 7),
        "x/i": np.arange(3, dtype=np.int64),
        "ids": np.array([b"a", b"bc"], "S64"),
        "none": np.zeros((0, 4), np.float32),
        "single": np.array(3, np.uint32),
        "flags": np.array([True, False]),
        "turned": np.arange(6.0).reshape(2, 3).T,
        "part": np.arange(10)[::3],
    }
    write_arrays(tmp_path / "a.npz", arrays, {"phase": 1, "name": "n"})
    found, meta = read_arrays(tmp_path / "a.npz")
    assert meta == {"phase": 1, "name": "n"}
    assert array_digest(found) == array_digest(arrays)
    assert all(array.flags.writeable and array.flags.aligned for array in found.values())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as numpy:
        assert array_digest({name: numpy[name] for name in arrays}) == array_digest(arrays)
    assert set(subtree(found, "x/")) == {"f", "i"}


def test_replacing_leaves_no_other_file(tmp_path: Path) -> None:
    """The second write replaces the first and leaves no temporary behind."""
    for value in (1.0, 2.0):
        write_arrays(tmp_path / "a.npz", {"v": np.array([value])}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert read_arrays(tmp_path / "a.npz")[0]["v"].tolist() == [2.0]


def _flip(path: Path, where: bytes) -> None:
    """Change the last byte of the first occurrence of `where`."""
    data = bytearray(path.read_bytes())
    data[data.index(where) + len(where) - 1] ^= 2
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("cut", "zip"),
        ("missing", "No such file"),
        ("text", "zip"),
        ("flipped", "v.npy is damaged"),
        ("header", "correct keys"),
        ("shape", "another size"),
        ("version", "version"),
        ("compressed", "v.npy is compressed"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str, reason: str) -> None:
    """A short, changed, absent or foreign file is an error that names it and says why."""
    path = tmp_path / "a.npz"
    write_arrays(path, {"v": np.arange(100)}, {})
    places = {
        "flipped": np.int64(99).tobytes(),
        "header": b"fortran_order",
        "shape": b"(1",
        "version": b"\x93NUMPY\x01",
    }
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "text":
        path.write_text("not an array file")
    elif damage in places:
        _flip(path, places[damage])
    elif damage == "compressed":
        np.savez_compressed(path, v=np.arange(100), __meta__=np.frombuffer(b"{}", np.uint8))
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match=rf"a\.npz: .*{reason}"):
        read_arrays(path)


def test_an_object_array_is_never_written_or_read(tmp_path: Path) -> None:
    """Pickle has no way in, from either side."""
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(tmp_path / "a.npz", {"v": np.array([{}], object)}, {})
    np.savez(tmp_path / "b.npz", v=np.array([{}], object))
    with pytest.raises(CheckpointError, match="pickle"):
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
