"""Who may write a market's state: one process holds a lock, and a growing epoch fences off the earlier ones.

The lock is the kernel's (`flock`), so it is gone with its holder however that one died. A night runs in a
process of its own that does not hold the lock; it carries the epoch, and `check_epoch` refuses its writes as
soon as a later owner has taken over.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from janus_memory.errors import CheckpointError, SessionError
from janus_memory.store.arrays import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Ownership", "check_epoch", "holder", "read_epoch"]


class Ownership:
    """The exclusive right to write below one folder; held until `release` or the end of the process.

    Attributes:
        folder: the market's state folder.
        epoch: 1 for the first owner ever, one more for each later one.
    """

    def __init__(self, folder: Path, handle: int, epoch: int) -> None:
        self.folder = folder
        self.epoch = epoch
        self._handle = handle

    @classmethod
    def acquire(cls, folder: Path) -> Ownership:
        """Take the lock and open a new epoch.

        Raises:
            SessionError: another process holds the lock; its pid is named.
        """
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise SessionError(
                f"{folder} is held by process {holder(folder) or 'unknown'}; nothing was changed; "
                "stop that sleeper first, or let this one wait for it"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        epoch = read_epoch(folder) + 1
        write_bytes(folder / "epoch", f"{epoch}\n".encode())
        return cls(folder, handle, epoch)

    def release(self) -> None:
        """Let another process take over; the epoch stays used up."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def check(self) -> None:
        """Raise SessionError if a later owner has taken over (or this one has released)."""
        if self._handle < 0:
            raise SessionError(f"{self.folder} was released by this process; nothing was written")
        check_epoch(self.folder, self.epoch)


def holder(folder: Path) -> int | None:
    """The pid last written into the lock file, or None where there is none."""
    try:
        return int((folder / "lock").read_text())
    except (OSError, ValueError):
        return None


def read_epoch(folder: Path) -> int:
    """The newest epoch; 0 before the first owner.

    Raises:
        CheckpointError: the file does not hold a number.
    """
    path = folder / "epoch"
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}; nothing was changed; write a number into it that is larger than "
            "any epoch in sessions/*/session.json"
        ) from error


def check_epoch(folder: Path, epoch: int) -> None:
    """Raise SessionError if `epoch` is not the newest one.

    A night calls this before each checkpoint write: one that outlived its sleeper stops here.
    """
    newest = read_epoch(folder)
    if newest != epoch:
        raise SessionError(
            f"epoch {epoch} of {folder} is over, process {holder(folder)} works in epoch {newest}; "
            "nothing was written; this process must end"
        )
