"""Weights in files: the bytes are a function of the weights, and a wrong file is refused."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from janus_memory.errors import CheckpointError
from janus_memory.policy.store import load_note, load_weights, save_weights

if TYPE_CHECKING:
    from pathlib import Path

_WEIGHTS = {"w0": np.arange(6, dtype=np.float32).reshape(2, 3), "b0": np.zeros(3, np.float32)}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Values, dtypes, shapes and the note come back, also from an array that is not contiguous."""
    path = tmp_path / "deep" / "w.safetensors"
    sha256 = save_weights(path, _WEIGHTS | {"t": _WEIGHTS["w0"].T}, {"cycle": "c1", "shape": [2, 3]})
    found = load_weights(path, sha256)
    assert set(found) == {"w0", "b0", "t"}
    for name, value in (_WEIGHTS | {"t": _WEIGHTS["w0"].T}).items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], value)
    assert load_note(path, sha256) == {"cycle": "c1", "shape": [2, 3]}


def test_bytes_do_not_depend_on_the_order_of_names_or_notes(tmp_path: Path) -> None:
    """Equal weights and notes give an equal SHA-256, however their mappings were built."""
    one = save_weights(tmp_path / "1", _WEIGHTS, {"a": 1, "b": 2})
    other = save_weights(tmp_path / "2", dict(reversed(_WEIGHTS.items())), {"b": 2, "a": 1})
    assert one == other
    assert save_weights(tmp_path / "3", _WEIGHTS, {"a": 1, "b": 3}) != one


def test_a_changed_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    """Each refusal names the file and says that nothing was changed."""
    path = tmp_path / "w"
    sha256 = save_weights(path, _WEIGHTS, {})
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_weights(path, sha256)
    with pytest.raises(CheckpointError, match="nothing was changed"):
        load_weights(tmp_path / "absent", sha256)
    path.write_bytes(b"not safetensors at all")
    foreign = "de07f2f40ba6a2b5ae7ae6cf0a9d0a5a" * 2
    with pytest.raises(CheckpointError, match=foreign):
        load_weights(path, foreign)
    with pytest.raises(CheckpointError, match="cannot use"):
        load_weights(path, _sha256(path))
    with pytest.raises(CheckpointError, match="cannot use"):
        load_note(path, _sha256(path))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
