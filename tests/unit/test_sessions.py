"""Sessions of a market run in order, each once, under one owner, through crashes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from janus_memory.errors import CheckpointError, SessionError
from janus_memory.events import Cut
from janus_memory.sleep.ownership import Ownership, check_epoch, holder, read_epoch
from janus_memory.sleep.sessions import (
    COMMIT_FILE,
    Cursor,
    MarketState,
    NightPlan,
    Outcome,
    memory_files,
    read_cursor,
    read_records,
    request,
    session_folder,
)
from janus_memory.store.arrays import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from janus_memory.sleep.ownership import Ownership
owner = Ownership.acquire(Path(sys.argv[1]))
print(owner.epoch, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def market(tmp_path: Path) -> Iterator[MarketState]:
    state = MarketState.acquire(tmp_path, "fx")
    yield state
    state.release()


def a_cut(session: str, partition: int, start: int, stop: int, closed_at: int) -> Cut:
    return Cut(
        event_id=f"{session}/{partition}",
        market="fx",
        as_of=closed_at,
        session_id=session,
        partition=partition,
        from_offset=start,
        to_offset=stop,
        rows=stop - start,
        early=0,
        late=0,
        sha256="",
        settings_version="",
    )


def a_plan(session: str, closed_at: int, *cuts: Cut) -> NightPlan:
    return NightPlan(market="fx", session_id=session, closed_at=closed_at, cuts=cuts)


def leave_result(state: MarketState, session: str, outcome: Outcome, memory: bytes = b"memory") -> None:
    """What a night leaves in its folder."""
    folder = session_folder(state.folder, session)
    write_bytes(folder / "outcome.json", msgspec.json.encode(outcome))
    write_bytes(folder / "1-replay.npz", b"checkpoint")
    write_bytes(folder / COMMIT_FILE, memory)


def run(state: MarketState, session: str, closed_at: int, *cuts: Cut) -> None:
    state.begin(a_plan(session, closed_at, *cuts))
    leave_result(state, session, Outcome(state="committed", digest=session))
    state.commit(session)


def test_a_session_runs_from_pending_to_committed(market: MarketState) -> None:
    """Each state is on disk, the last checkpoint becomes the memory, the others go."""
    assert market.register("d1", 10).state == "pending"
    assert market.begin(a_plan("d1", 10)).state == "running"
    leave_result(market, "d1", Outcome(state="committed", digest="abc", phase_seconds={"replay": 2.0}))
    market.commit("d1")
    record = read_records(market.folder)[0]
    assert (record.state, record.digest, record.ordinal) == ("committed", "abc", 1)
    assert record.phase_seconds == {"replay": 2.0}
    assert [p.name for p in memory_files(market.folder)] == ["000001-d1.npz"]
    assert memory_files(market.folder)[0].read_bytes() == b"memory"
    assert not list(session_folder(market.folder, "d1").glob("*.npz"))


def test_a_skipped_night_keeps_its_memory_and_its_reason(market: MarketState) -> None:
    """Warming up consumes the cut: its rows wait in the memory."""
    market.begin(a_plan("d1", 10, a_cut("d1", 0, 0, 7, 10)))
    leave_result(market, "d1", Outcome(state="skipped", reason="warming up"))
    assert market.commit("d1").state == "skipped"
    assert market.record("d1").reason == "warming up"
    assert market.consumed() == {0: 8}
    assert len(memory_files(market.folder)) == 1


def test_a_session_runs_once(market: MarketState) -> None:
    """A committed or running session does not begin again."""
    run(market, "d1", 10)
    with pytest.raises(SessionError, match="runs once"):
        market.begin(a_plan("d1", 10))
    market.begin(a_plan("d2", 20))
    with pytest.raises(SessionError, match="d2 is running"):
        market.begin(a_plan("d3", 30))


def test_a_session_that_closed_before_the_last_one_is_refused(market: MarketState) -> None:
    """Order is the order of the closes."""
    run(market, "d2", 20)
    with pytest.raises(SessionError, match="not after d2"):
        market.begin(a_plan("d1", 10))


def test_pending_sessions_are_listed_by_their_close(market: MarketState) -> None:
    """Whatever the order in which their cuts arrive."""
    for name, closed_at in (("a", 30), ("c", 10), ("b", 20)):
        market.register(name, closed_at)
    assert [r.session_id for r in market.records()] == ["c", "b", "a"]


def test_consumed_offsets_keep_a_missing_partition_where_it_was(market: MarketState) -> None:
    """A partition without a cut is read from its own last consumed barrier a night later."""
    run(market, "d1", 10, a_cut("d1", 0, 0, 5, 10), a_cut("d1", 1, 0, 9, 10))
    run(market, "d2", 20, a_cut("d2", 0, 6, 8, 20))
    assert market.consumed() == {0: 9, 1: 10}
    assert {p: c.session_id for p, c in market.last_cuts().items()} == {0: "d2", 1: "d1"}


def test_a_failed_session_blocks_until_it_is_retried(market: MarketState) -> None:
    """The message names the session, its reason and both ways out."""
    market.begin(a_plan("d1", 10, a_cut("d1", 0, 0, 5, 10)))
    assert market.crashed("d1", "signal 9").attempts == 1
    market.fail("d1", "hash differs")
    with pytest.raises(SessionError, match=r"hash differs.*--retry d1.*--skip d1"):
        market.begin(a_plan("d2", 20))
    assert market.consumed() == {}
    retried = market.retry("d1")
    assert (retried.state, retried.attempts, retried.reason) == ("running", 0, "")
    assert market.plan("d1").cuts[0].to_offset == 5


def test_a_skipped_by_hand_session_gives_its_cut_up(market: MarketState) -> None:
    """The next night reads on behind it, with the memory of the night before."""
    run(market, "d1", 10, a_cut("d1", 0, 0, 5, 10))
    market.begin(a_plan("d2", 20, a_cut("d2", 0, 6, 8, 20)))
    market.fail("d2", "retention ate it")
    assert "given up" in market.skip("d2").reason
    assert market.consumed() == {0: 9}
    assert len(memory_files(market.folder)) == 1
    assert market.begin(a_plan("d3", 30)).ordinal == 3


def test_a_session_skipped_before_it_began_gives_nothing_up(market: MarketState) -> None:
    """Its cuts stay unconsumed, so the next session's chain holds them."""
    run(market, "d1", 10, a_cut("d1", 0, 0, 5, 10))
    market.register("d2", 20)
    market.fail("d2", "two different cuts")
    assert "come with the next session" in market.skip("d2").reason
    assert market.consumed() == {0: 6}
    assert market.last_cuts()[0].session_id == "d1"


def test_only_a_failed_session_can_be_released(market: MarketState) -> None:
    """Retry and skip say what the session is instead."""
    run(market, "d1", 10)
    for action in (market.retry, market.skip):
        with pytest.raises(SessionError, match="is committed, not failed"):
            action("d1")
    with pytest.raises(SessionError, match="no session d9; known: d1"):
        market.retry("d9")


def test_a_request_to_a_running_sleeper_is_applied_by_it(market: MarketState, tmp_path: Path) -> None:
    """While the lock is held the command line asks; without a holder it acts itself."""
    market.begin(a_plan("d1", 10))
    market.fail("d1", "broken")
    assert request(tmp_path, "fx", "d1", "retry") is False
    assert market.record("d1").state == "failed"
    assert [r.state for r in market.apply_requests()] == ["running"]
    market.fail("d1", "broken")
    assert market.apply_requests() == []
    market.release()
    assert request(tmp_path, "fx", "d1", "skip") is True
    assert read_records(market.folder)[0].state == "skipped"
    with pytest.raises(SessionError, match="is skipped, not failed"):
        request(tmp_path, "fx", "d1", "skip")


def test_a_crash_between_rename_and_record_is_finished_by_the_next_owner(tmp_path: Path) -> None:
    """The rename is the commit: what follows is redone from the outcome."""
    first = MarketState.acquire(tmp_path, "fx")
    record = first.begin(a_plan("d1", 10))
    leave_result(first, "d1", Outcome(state="committed", digest="abc"))
    target = first.memory_file(record)
    target.parent.mkdir()
    (session_folder(first.folder, "d1") / COMMIT_FILE).rename(target)
    first.release()
    second = MarketState.acquire(tmp_path, "fx")
    assert (second.record("d1").state, second.record("d1").digest) == ("committed", "abc")
    second.release()


def test_a_crash_before_the_rename_leaves_the_session_running(tmp_path: Path) -> None:
    """Nothing is visible; the same plan is run again."""
    first = MarketState.acquire(tmp_path, "fx")
    first.begin(a_plan("d1", 10, a_cut("d1", 0, 0, 5, 10)))
    leave_result(first, "d1", Outcome(state="committed"))
    first.release()
    second = MarketState.acquire(tmp_path, "fx")
    assert second.record("d1").state == "running"
    assert memory_files(second.folder) == []
    assert second.plan("d1").cuts[0].to_offset == 5
    second.release()


def test_a_commit_without_checkpoint_or_outcome_is_refused(market: MarketState) -> None:
    """A driver that ended well but left nothing has not committed."""
    market.begin(a_plan("d1", 10))
    with pytest.raises(CheckpointError, match=r"outcome\.json"):
        market.commit("d1")
    leave_result(market, "d1", Outcome(state="committed"))
    (session_folder(market.folder, "d1") / COMMIT_FILE).unlink()
    with pytest.raises(CheckpointError, match="nothing was committed"):
        market.commit("d1")
    assert market.record("d1").state == "running"


def test_a_second_process_cannot_take_the_lock(tmp_path: Path) -> None:
    """Its message names the holder; when the holder is killed the lock is free and the epoch has grown."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        with pytest.raises(SessionError, match=f"held by process {process.pid};"):
            Ownership.acquire(tmp_path)
        assert holder(tmp_path) == process.pid
        assert read_epoch(tmp_path) == 1
        process.kill()
    second = Ownership.acquire(tmp_path)
    assert second.epoch == 2
    second.release()


def test_an_older_epoch_cannot_write(tmp_path: Path) -> None:
    """A night that outlived its sleeper is stopped at its next checkpoint, by number and by pid."""
    old = MarketState.acquire(tmp_path, "fx")
    check_epoch(old.folder, 1)
    write_bytes(old.folder / "epoch", b"2\n")
    for write in (lambda: check_epoch(old.folder, 1), lambda: old.register("d1", 10)):
        with pytest.raises(SessionError, match=r"epoch 1 .* is over, process .* works in epoch 2"):
            write()
    assert read_records(old.folder) == []
    old.release()


def test_a_released_owner_writes_nothing(market: MarketState) -> None:
    """Release ends the right to write, not only the lock."""
    market.release()
    with pytest.raises(SessionError, match="was released"):
        market.register("d1", 10)


def test_publisher_cursors_are_durable_and_apart(market: MarketState) -> None:
    """One publisher's progress is not the other's."""
    assert read_cursor(market.folder, "kafka") == Cursor(1, 0)
    market.advance("kafka", Cursor(2, 7))
    assert read_cursor(market.folder, "kafka") == Cursor(2, 7)
    assert read_cursor(market.folder, "qdrant") == Cursor(1, 0)


def test_old_memories_go_once_they_are_published(market: MarketState) -> None:
    """The last three stay, and every one that a publisher still needs."""
    for day in range(1, 7):
        run(market, f"d{day}", day)
    market.forget_memories(published=1)
    assert [p.name[:6] for p in memory_files(market.folder)] == [f"{n:06d}" for n in range(2, 7)]
    market.forget_memories(published=6)
    assert [p.name[:6] for p in memory_files(market.folder)] == ["000004", "000005", "000006"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a b"])
def test_a_session_id_that_is_no_folder_name_is_refused(market: MarketState, name: str) -> None:
    """An id comes from outside and must not leave the folder."""
    with pytest.raises(SessionError, match="cannot be used"):
        market.register(name, 10)


def test_an_unreadable_record_is_named(market: MarketState) -> None:
    """A broken file stops everything; it is not taken for a missing one."""
    market.register("d1", 10)
    (session_folder(market.folder, "d1") / "session.json").write_bytes(b"{")
    with pytest.raises(CheckpointError, match=r"d1/session\.json"):
        market.records()
