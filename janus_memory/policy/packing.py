"""A policy as bytes, whatever it is written in: what its own `save` writes and its own `load` reads."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.policy.protocol import Policy

__all__ = ["pack_policy", "unpack_policy"]

# `numpy.savez` puts this suffix behind a name that lacks it, and the file would not be where it was asked for.
_NAME = "policy.npz"


def pack_policy(policy: Policy) -> NDArray[np.uint8]:
    """The file that `policy.save` writes, as bytes.

    Raises:
        CheckpointError: `save` returned and there is no such file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, _NAME)
        policy.save(path)
        try:
            return np.frombuffer(path.read_bytes(), np.uint8)
        except OSError as error:
            raise CheckpointError(
                f"{type(policy).__name__}.save wrote no file at the path it was given ({error}); no snapshot was "
                "taken; write exactly that file"
            ) from error


def unpack_policy(policy: Policy, data: NDArray[np.generic]) -> None:
    """Let the policy load what `pack_policy` returned."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, _NAME)
        path.write_bytes(data.tobytes())
        policy.load(path)
