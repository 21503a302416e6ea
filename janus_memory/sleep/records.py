"""What is on disk about a market's sessions, and how to read it without owning the market.

```
<data dir>/state/<market>/
  lock  epoch                      who may write (janus_memory.sleep.ownership)
  sessions/<session>/session.json  a SessionRecord
  sessions/<session>/plan.json     the frozen set of cuts of its night
  sessions/<session>/outcome.json  how its night ended, written by the night itself
  sessions/<session>/*.npz         checkpoints of the phases
  memory/<NNNNNN>-<session>.npz    what the market knew after the night: the renamed last checkpoint
  publishers/<name>.json           how far a publisher has come
  requests/<session>.json          retry or skip, asked for while a sleeper holds the lock
```
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from janus_memory.errors import CheckpointError, SessionError
from janus_memory.events import Cut  # noqa: TC001  (msgspec resolves the field's type)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "COMMIT_FILE",
    "FINISHED",
    "Cursor",
    "NightPlan",
    "Outcome",
    "Request",
    "SessionRecord",
    "SessionState",
    "memory_files",
    "plan_file",
    "read_cursor",
    "read_json",
    "read_plan",
    "read_record",
    "read_records",
    "session_folder",
    "state_folder",
]

COMMIT_FILE = "5-commit.npz"
SessionState = Literal["pending", "running", "committed", "skipped", "failed"]
FINISHED: tuple[SessionState, ...] = ("committed", "skipped")


Kind_ = TypeVar("Kind_")


class NightPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a night reads: frozen when it first starts.

    Attributes:
        cuts: by partition, then by offset; a partition may have several after nights without it.
        after: for each partition the last cut that was consumed before; a partition's first cut has none.
        missing: partitions whose cut did not arrive before the deadline.
        consumed: for each partition the first offset that a later night may read; filled in by `begin`.
    """

    market: str
    session_id: str
    closed_at: int
    cuts: tuple[Cut, ...]
    after: dict[int, Cut] = {}
    missing: tuple[int, ...] = ()
    consumed: dict[int, int] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a night ended, in its own words."""

    state: Literal["committed", "skipped"]
    reason: str = ""
    digest: str = ""
    phase_seconds: dict[str, float] = {}
    metrics: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    policy: str = ""


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One session as `janus status` shows it.

    Attributes:
        ordinal: 1, 2, ... in the order of the nights; 0 while pending.
        closed_at: market time of the close, UTC nanoseconds.
        attempts: how many driver processes of it have ended unexpectedly since the last retry.
        consumed: as in the plan; empty while pending.
        reported: whether a failure has been announced.
        policy: who has learned: `built-in`, or the factory of a user's own; empty before the night has ended.
    """

    session_id: str
    closed_at: int
    ordinal: int = 0
    state: SessionState = "pending"
    reason: str = ""
    attempts: int = 0
    epoch: int = 0
    digest: str = ""
    missing: tuple[int, ...] = ()
    consumed: dict[int, int] = {}
    reported: bool = False
    phase_seconds: dict[str, float] = {}
    metrics: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    policy: str = ""


class Cursor(msgspec.Struct, frozen=True):
    """A publisher is done with everything before record `position` of the outbox of night `ordinal`."""

    ordinal: int = 1
    position: int = 0


class Request(msgspec.Struct, frozen=True):
    """What a person asks of a failed session."""

    session_id: str
    action: Literal["retry", "skip"]


def state_folder(data_dir: Path, market: str) -> Path:
    """The folder of one market's state."""
    return data_dir / "state" / market


def session_folder(folder: Path, session_id: str) -> Path:
    """The folder of one session in a market's state folder.

    Raises:
        SessionError: the id cannot be a folder's name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}", session_id):
        raise SessionError(
            f"session id {session_id!r} cannot be used: 1 to 64 letters, digits and . _ : + -, "
            "such as 2024-01-05.1; nothing was changed; send the close with another id"
        )
    return folder / "sessions" / session_id


def read_records(folder: Path) -> list[SessionRecord]:
    """All sessions of a market's state folder, without the lock; for `janus status`."""
    found = [read_json(path, SessionRecord) for path in (folder / "sessions").glob("*/session.json")]
    return sorted(found, key=lambda r: (r.ordinal == 0, r.ordinal, r.closed_at, r.session_id))


def plan_file(folder: Path, session_id: str) -> Path:
    """Where the frozen plan of a session is, if it has begun."""
    return session_folder(folder, session_id) / "plan.json"


def read_plan(folder: Path, session_id: str) -> NightPlan:
    """The frozen plan of a session that has begun.

    Raises:
        CheckpointError: it has none, or it is unreadable.
    """
    return read_json(plan_file(folder, session_id), NightPlan)


def memory_files(folder: Path) -> list[Path]:
    """The committed memories, oldest first; the last one is what the market knows."""
    return sorted((folder / "memory").glob("[0-9]*.npz"))


def read_cursor(folder: Path, publisher: str) -> Cursor:
    """How far a publisher has come; at the beginning if it has never stored it."""
    path = folder / "publishers" / f"{publisher}.json"
    return read_json(path, Cursor) if path.exists() else Cursor()


def read_record(folder: Path, session_id: str) -> SessionRecord:
    """One session.

    Raises:
        SessionError: it is not known.
    """
    path = session_folder(folder, session_id) / "session.json"
    if not path.exists():
        known = ", ".join(r.session_id for r in read_records(folder)) or "none"
        raise SessionError(f"market {folder.name} has no session {session_id}; known: {known}")
    return read_json(path, SessionRecord)


def read_json(path: Path, kind: type[Kind_]) -> Kind_:
    """A record in its file.

    Raises:
        CheckpointError: it is missing or unreadable.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {error}; nothing was changed; restore it") from error
