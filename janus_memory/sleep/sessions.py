"""The sessions of one market: in order, each once, on disk (SPEC section 9).

A night is committed by one rename (last checkpoint -> `memory/`). The record follows; a crash between the two is
finished by the next owner. `running` means "has a frozen plan": a killed night is run again on the same plan.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Literal

import msgspec

from janus_memory.errors import CheckpointError, SessionError
from janus_memory.sleep.ownership import Ownership
from janus_memory.sleep.records import (
    COMMIT_FILE,
    FINISHED,
    Cursor,
    NightPlan,
    Outcome,
    Request,
    SessionRecord,
    SessionState,
    memory_files,
    plan_file,
    read_cursor,
    read_json,
    read_plan,
    read_record,
    read_records,
    session_folder,
    state_folder,
)
from janus_memory.store.arrays import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from janus_memory.events import Cut

__all__ = [
    "COMMIT_FILE",
    "FINISHED",
    "Cursor",
    "MarketState",
    "NightPlan",
    "Outcome",
    "SessionRecord",
    "memory_files",
    "read_cursor",
    "read_plan",
    "read_records",
    "request",
    "session_folder",
    "state_folder",
]

KEPT_MEMORIES = 3


class MarketState:
    """The one writer of a market's sessions; open it with `acquire`."""

    def __init__(self, market: str, ownership: Ownership) -> None:
        self.market = market
        self.folder = ownership.folder
        self._own = ownership

    @classmethod
    def acquire(cls, data_dir: Path, market: str) -> MarketState:
        """Lock the market, open a new epoch and finish a commit that a crash has interrupted.

        Raises:
            SessionError: another process holds the market.
            CheckpointError: a record is unreadable.
        """
        state = cls(market, Ownership.acquire(state_folder(data_dir, market)))
        try:
            for record in state.records():
                if record.state == "running" and state.memory_file(record).exists():
                    state._finish(record)
        except BaseException:
            state.release()
            raise
        return state

    @property
    def epoch(self) -> int:
        """The epoch of this owner."""
        return self._own.epoch

    def release(self) -> None:
        """Give the market to the next owner."""
        self._own.release()

    def check(self) -> None:
        """Raise SessionError unless this process still owns the market."""
        self._own.check()

    def records(self) -> list[SessionRecord]:
        """All sessions: those with a night in its order, then the pending ones by their close."""
        return read_records(self.folder)

    def record(self, session_id: str) -> SessionRecord:
        """One session.

        Raises:
            SessionError: it is not known.
        """
        return read_record(self.folder, session_id)

    def plan(self, session_id: str) -> NightPlan:
        """The frozen plan of a session that has begun.

        Raises:
            CheckpointError: it has none, or it is unreadable.
        """
        return read_plan(self.folder, session_id)

    def consumed(self) -> dict[int, int]:
        """For each partition the first offset that no finished session has consumed."""
        done = [r for r in self.records() if r.state in FINISHED]
        return dict(done[-1].consumed) if done else {}

    def plans(self, *states: SessionState) -> list[NightPlan]:
        """The frozen plans of the sessions in these states that have begun, in their order."""
        names = [r.session_id for r in self.records() if r.ordinal and r.state in states]
        return [self.plan(name) for name in names if plan_file(self.folder, name).exists()]

    def last_cuts(self) -> dict[int, Cut]:
        """For each partition the newest cut that a finished session has consumed."""
        plans = self.plans(*FINISHED)
        return {cut.partition: cut for plan in plans for cut in plan.cuts}

    def memory_file(self, record: SessionRecord) -> Path:
        """Where the memory after a session is, or will be."""
        return self.folder / "memory" / f"{record.ordinal:06d}-{record.session_id}.npz"

    def register(self, session_id: str, closed_at: int) -> SessionRecord:
        """Note a session of which at least one cut has been seen; known ones are returned as they are."""
        path = session_folder(self.folder, session_id) / "session.json"
        if path.exists():
            return read_json(path, SessionRecord)
        return self._write(SessionRecord(session_id=session_id, closed_at=closed_at))

    def begin(self, plan: NightPlan) -> SessionRecord:
        """Freeze the plan and give the session its place in the order: pending -> running.

        Raises:
            SessionError: a session has failed or is running, this one is not pending, or it closed before
                the one that ran last.
        """
        record = self.register(plan.session_id, plan.closed_at)
        begun = [r for r in self.records() if r.ordinal]
        self._refuse_to_begin(record, begun)
        earlier = self.consumed()
        plan = msgspec.structs.replace(
            plan, consumed={**earlier, **{cut.partition: cut.to_offset + 1 for cut in plan.cuts}}
        )
        self._own.check()
        write_bytes(plan_file(self.folder, plan.session_id), msgspec.json.encode(plan))
        return self._change(
            record,
            ordinal=len(begun) + 1,
            state="running",
            consumed=plan.consumed,
            missing=plan.missing,
        )

    def crashed(self, session_id: str, reason: str) -> SessionRecord:
        """Count an unexpected end of a running session's process; it stays running, to be tried again."""
        record = self._in_state(session_id, "running")
        return self._change(record, attempts=record.attempts + 1, reason=reason)

    def commit(self, session_id: str) -> SessionRecord:
        """Commit a night that left its last checkpoint and its outcome: running -> committed or skipped.

        Raises:
            SessionError: the session is not running, or this process no longer owns the market.
            CheckpointError: the last checkpoint or the outcome is missing.
        """
        record = self._in_state(session_id, "running")
        folder = session_folder(self.folder, session_id)
        read_json(folder / "outcome.json", Outcome)
        source, target = folder / COMMIT_FILE, self.memory_file(record)
        if not source.exists():
            raise CheckpointError(
                f"session {session_id}: {source} is missing; nothing was committed; it is run again"
            )
        self._own.check()
        target.parent.mkdir(exist_ok=True)
        source.replace(target)
        _sync(target.parent, folder)
        return self._finish(record)

    def fail(self, session_id: str, reason: str) -> SessionRecord:
        """Running or pending -> failed. It blocks later sessions until a person releases it."""
        record = self._in_state(session_id, "running", "pending")
        return self._change(record, state="failed", reason=reason, reported=False)

    def mark_reported(self, session_id: str) -> SessionRecord:
        """A session's failure has been announced."""
        return self._change(self.record(session_id), reported=True)

    def retry(self, session_id: str) -> SessionRecord:
        """Failed -> running on the same plan and checkpoints (pending, if it never began)."""
        record = self._in_state(session_id, "failed")
        return self._change(record, state="running" if record.ordinal else "pending", reason="", attempts=0)

    def skip(self, session_id: str) -> SessionRecord:
        """Failed -> skipped; the memory stays that of the night before.

        The rows of its cuts are given up. Of a session that had not begun they come with the next one.
        """
        record = self._in_state(session_id, "failed")
        rows = (
            "the rows of its cuts are given up" if record.ordinal else "its rows come with the next session"
        )
        reason = f"skipped by hand, {rows}; it had failed: {record.reason}"
        begun = [r for r in self.records() if r.ordinal]
        record = self._change(
            record,
            state="skipped",
            reason=reason,
            ordinal=record.ordinal or len(begun) + 1,
            consumed=record.consumed or self.consumed(),
        )
        _remove_checkpoints(session_folder(self.folder, session_id))
        return record

    def apply_requests(self) -> list[SessionRecord]:
        """Do what was asked through `request` while this process held the lock; returns the changed sessions."""
        changed: list[SessionRecord] = []
        for path in sorted((self.folder / "requests").glob("*.json")):
            asked = read_json(path, Request)
            if self.record(asked.session_id).state == "failed":
                changed.append(getattr(self, asked.action)(asked.session_id))
            path.unlink()
        return changed

    def advance(self, publisher: str, cursor: Cursor) -> None:
        """Store how far a publisher has come."""
        self._own.check()
        write_bytes(self.folder / "publishers" / f"{publisher}.json", msgspec.json.encode(cursor))

    def forget_memories(self, published: int) -> list[Path]:
        """Remove all but the last three memories, and keep those after night `published`."""
        self._own.check()
        files = memory_files(self.folder)
        old = [p for p in files[:-KEPT_MEMORIES] if int(p.name[:6]) <= published]
        for path in old:
            path.unlink()
        return old

    def _refuse_to_begin(self, record: SessionRecord, begun: list[SessionRecord]) -> None:
        for other in self.records():
            if other.state == "failed":
                raise SessionError(
                    f"market {self.market}: session {record.session_id} waits behind {other.session_id}, which "
                    f"failed: {other.reason}; release it with `janus sleep --retry {other.session_id}` "
                    f"or `--skip {other.session_id}`"
                )
            if other.state == "running":
                raise SessionError(
                    f"market {self.market}: session {other.session_id} is running; it comes first"
                )
        if record.state != "pending":
            raise SessionError(f"session {record.session_id} is {record.state}; a session runs once")
        if begun and record.closed_at <= begun[-1].closed_at:
            raise SessionError(
                f"session {record.session_id} closed at {record.closed_at}, not after {begun[-1].session_id} "
                f"({begun[-1].closed_at}), which has run; nothing was changed"
            )

    def _in_state(self, session_id: str, *allowed: SessionState) -> SessionRecord:
        record = self.record(session_id)
        if record.state not in allowed:
            raise SessionError(
                f"session {session_id} is {record.state}, not {' or '.join(allowed)}; nothing was changed"
            )
        return record

    def _finish(self, record: SessionRecord) -> SessionRecord:
        """The record after the rename; also done by the next owner if this one dies in between."""
        folder = session_folder(self.folder, record.session_id)
        outcome = read_json(folder / "outcome.json", Outcome)
        record = self._change(record, **msgspec.structs.asdict(outcome))
        _remove_checkpoints(folder)
        return record

    def _change(self, record: SessionRecord, **fields: object) -> SessionRecord:
        return self._write(msgspec.structs.replace(record, epoch=self.epoch, **fields))

    def _write(self, record: SessionRecord) -> SessionRecord:
        self._own.check()
        folder = session_folder(self.folder, record.session_id)
        write_bytes(folder / "session.json", msgspec.json.encode(record))
        return record


def request(data_dir: Path, market: str, session_id: str, action: Literal["retry", "skip"]) -> bool:
    """Release a failed session: at once if no sleeper holds the market, else by asking that sleeper.

    Returns:
        True if it is done, False if a running sleeper has been asked.

    Raises:
        SessionError: there is no such session, or it has not failed.
    """
    folder = state_folder(data_dir, market)
    record = read_record(folder, session_id)
    if record.state != "failed":
        raise SessionError(f"session {session_id} is {record.state}, not failed; nothing was changed")
    try:
        state = MarketState.acquire(data_dir, market)
    except SessionError:
        path = folder / "requests" / f"{session_id}.json"
        write_bytes(path, msgspec.json.encode(Request(session_id, action)))
        return False
    try:
        getattr(state, action)(session_id)
    finally:
        state.release()
    return True


def _remove_checkpoints(folder: Path) -> None:
    for path in folder.glob("*.npz"):
        path.unlink()
    for path in (p for p in folder.iterdir() if p.is_dir()):
        shutil.rmtree(path)


def _sync(*folders: Path) -> None:
    for folder in folders:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
