"""What a market remembers after its last committed night, read from its state folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from janus_memory.errors import SessionError

if TYPE_CHECKING:
    from pathlib import Path

    from janus_memory.hippocampus.metadata import Metadata
    from janus_memory.sleep.memory import Memory
    from janus_memory.transition import Transitions

__all__ = ["committed_buffer", "committed_memory"]


def committed_memory(folder: Path, market: str) -> Memory:
    """What the market knows after its last committed night.

    Args:
        folder: the market's state folder.
        market: its name.

    Raises:
        SessionError: there has been no night, or the folder is another market's.
        CheckpointError: its memory is unreadable.
    """
    from janus_memory.sleep.cycle import read_commit
    from janus_memory.sleep.sessions import memory_files

    files = memory_files(folder)
    memory = read_commit(files[-1]).memory if files else None
    if memory is None or memory.rows is None:
        raise SessionError(
            f"market {market} has no committed night in {folder}, so there is nothing to read yet; nothing was done; "
            f"close a session (`janus close {market}`) and look at `janus status`"
        )
    if memory.market != market:
        raise SessionError(
            f"{folder} holds the memory of market {memory.market}, not of {market}; nothing was done"
        )
    return memory


def committed_buffer(folder: Path, market: str) -> tuple[Transitions, Metadata]:
    """The replay buffer after the last committed night, in the total order, and what is known of its rows.

    Raises:
        SessionError, CheckpointError: as `committed_memory`.
    """
    memory = committed_memory(folder, market)
    assert memory.rows is not None  # noqa: S101  (a committed night has rows; the type cannot say so)
    return memory.rows, memory.metadata
