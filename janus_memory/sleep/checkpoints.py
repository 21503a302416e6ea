"""The checkpoint files of one night: written atomically, read only by the night that they belong to."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from janus_memory.errors import CheckpointError
from janus_memory.policy.factory import policy_name
from janus_memory.store.arrays import read_arrays, write_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.config import Settings
    from janus_memory.sleep.memory import Memory
    from janus_memory.store.arrays import Arrays

__all__ = ["Checkpoints", "header_of"]


def header_of(settings: Settings, memory: Memory) -> dict[str, Any]:
    """What must be equal for a checkpoint to be continued: the settings, code and memory it was made with."""
    return {
        "market": memory.market,
        "policy": policy_name(settings.policy),
        "settings": settings.memory_version(memory.market),
        "seed": settings.seed,
        "compute threads": settings.sleep.compute_threads or f"all of {os.cpu_count()}",
        "package": version("janus-memory"),
        "memory before the night": f"{len(memory.sessions)} sessions, {memory.accepted} rows, {memory.digest()}",
    }


class Checkpoints:
    """Files `<name>.npz` in one folder. Single writer: the night's process, while `guard` lets it."""

    def __init__(self, folder: Path, header: Mapping[str, Any], guard: Callable[[], None]) -> None:
        self._folder = folder
        self._header = dict(header)
        self._guard = guard

    def save(self, name: str, arrays: Mapping[str, NDArray[np.generic]], meta: Mapping[str, Any]) -> None:
        """Write one; the guard raises first if another process owns the market now."""
        self._guard()
        write_arrays(self._folder / f"{name}.npz", arrays, {"header": self._header, **meta})

    def load(self, name: str) -> tuple[Arrays, dict[str, Any]] | None:
        """Read one, or None if it was not written yet.

        Raises:
            CheckpointError: unreadable, or made under other settings, code or memory.
        """
        path = self._folder / f"{name}.npz"
        if not path.exists():
            return None
        arrays, meta = read_arrays(path)
        found = meta.pop("header", {})
        different = [
            f"{key}: {found.get(key)} there, {value} now"
            for key, value in self._header.items()
            if found.get(key) != value
        ]
        if different:
            raise CheckpointError(
                f"{path} cannot be continued: {'; '.join(different)}; nothing was changed; go back to what it "
                "was made with, or remove the folder's checkpoints to run the night afresh"
            )
        return arrays, meta

    def remove(self, name: str) -> None:
        """Remove one that is no longer needed."""
        (self._folder / f"{name}.npz").unlink(missing_ok=True)
