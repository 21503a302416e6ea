"""Ray heads are told apart by their folder, ended as a whole, and started again where they end by themselves."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest

from actors.cluster import LocalCluster, end_left_over
from janus_memory.config import RaySettings
from janus_memory.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The leader of a session, and a child that it starts in it; with "gone" the leader ends at once. The child's command
# line has the second word, its standard output goes to the file named third.
LEADER = """
import os, signal, subprocess, sys
with open(sys.argv[3] or os.devnull, "w") as output:
    inner = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()", sys.argv[2]], stdout=output)
print(inner.pid, flush=True)
if sys.argv[1] != "gone":
    signal.pause()
"""
# Stands for `ray start`: as often as ATTEMPTS_LOST says it ends before it answers.
START = """
import os, pathlib, signal, socket, sys
starts = pathlib.Path(os.environ["STARTS"])
starts.write_text(starts.read_text() + "x")
if len(starts.read_text()) <= int(os.environ["ATTEMPTS_LOST"]):
    raise SystemExit("The current node timed out during startup.")
port = next(int(a.partition("=")[2]) for a in sys.argv if a.startswith("--port="))
server = socket.create_server(("127.0.0.1", port))
print("Ray runtime started", flush=True)
signal.pause()
"""


class Session:
    """Two processes in a session of their own."""

    def __init__(self, mode: str, word: str = "", output: str = "") -> None:
        self.leader = subprocess.Popen(
            [sys.executable, "-c", LEADER, mode, word, output],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.leader.stdout is not None
        self.inner = psutil.Process(int(self.leader.stdout.readline()))
        if mode == "gone":
            self.leader.wait()

    def running(self) -> bool:
        """Whether the inner process runs."""
        try:
            return self.inner.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def close(self) -> None:
        """End both."""
        for process in (self.leader, self.inner):
            if self.running() or process is self.leader:
                process.kill()
        self.leader.wait()
        assert self.leader.stdout is not None
        self.leader.stdout.close()


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    """Those that a test has started, ended after it."""
    started: list[Session] = []
    yield started
    for session in started:
        session.close()


def left_behind(data_dir: Path, session: Session) -> Path:
    """The record of a head whose sleeper was killed; the head's folder."""
    folder = data_dir / "head"
    folder.mkdir(exist_ok=True)
    (data_dir / "ray").mkdir()
    record = {"pid": session.leader.pid, "temporary": str(folder)}
    (data_dir / "ray" / "head.json").write_bytes(msgspec.json.encode(record))
    return folder


@pytest.mark.parametrize("mode", ["alive", "gone"])
def test_what_names_the_heads_folder_is_ended(tmp_path: Path, sessions: list[Session], mode: str) -> None:
    """With its leader or without, whatever the machine's clock says of its start."""
    sessions.append(session := Session(mode, f"--session-dir={tmp_path / 'head'}/session"))
    folder = left_behind(tmp_path, session)
    end_left_over(tmp_path)
    assert not session.running()
    assert not folder.exists()
    assert not (tmp_path / "ray" / "head.json").exists()


def test_a_renamed_process_is_known_by_its_open_files(tmp_path: Path, sessions: list[Session]) -> None:
    """Ray's agents carry a title in place of their command line, and are the last to stay."""
    (tmp_path / "head").mkdir()
    sessions.append(session := Session("gone", output=f"{tmp_path / 'head'}/agent.out"))
    left_behind(tmp_path, session)
    end_left_over(tmp_path)
    assert not session.running()


@pytest.mark.parametrize("mode", ["alive", "gone"])
def test_a_strangers_session_of_the_same_number_is_left_alone(
    tmp_path: Path, sessions: list[Session], mode: str
) -> None:
    """After a restart of the machine the number may be anybody's, also with its leader gone as of a daemon."""
    sessions.append(session := Session(mode))
    left_behind(tmp_path, session)
    end_left_over(tmp_path)
    assert session.running()
    assert not (tmp_path / "ray" / "head.json").exists()


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes `ray start` the script above; the file counts its starts."""
    package = tmp_path / "path" / "ray" / "scripts"
    package.mkdir(parents=True)
    (package / "scripts.py").write_text(START)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    file = tmp_path / "starts"
    file.touch()
    monkeypatch.setenv("STARTS", str(file))
    return file


def test_a_head_that_ends_by_itself_is_started_again(
    tmp_path: Path, starts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTEMPTS_LOST", "2")
    cluster = LocalCluster.start(RaySettings(dashboard=False), tmp_path)
    assert cluster.alive
    assert starts.read_text() == "xxx"
    cluster.stop()
    assert not cluster.alive


def test_a_head_that_ends_every_time_is_an_error_with_its_last_words(
    tmp_path: Path, starts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTEMPTS_LOST", "9")
    with pytest.raises(SessionError, match=r"(?s)Ray head ended; no night.*timed out during startup"):
        LocalCluster.start(RaySettings(dashboard=False), tmp_path)
    assert starts.read_text() == "xxx"
