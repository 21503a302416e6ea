"""Child processes: restarted when they end, ended when we end, their last words shown."""

from __future__ import annotations

import os
import queue
import threading
from pathlib import Path

import psutil
import pytest

from janus_memory.cli.children import Backoff, Child, ChildFailed, Supervisor, stop_all
from janus_memory.errors import ConfigError

TIMEOUT_S = 60.0
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
inner = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("inner", inner.pid)
signal.pause()
"""
PATIENT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready")
signal.pause()
"""


class _Heard:
    """Lines of children, to wait for."""

    def __init__(self) -> None:
        self.lines: queue.Queue[tuple[str, str]] = queue.Queue()

    def __call__(self, name: str, line: str) -> None:
        self.lines.put((name, line))

    def next(self) -> tuple[str, str]:
        return self.lines.get(timeout=TIMEOUT_S)


def _child(folder: Path, code: str, heard: _Heard, name: str = "child") -> Child:
    return Child(name, ("-c", code), folder / f"{name}.log", listener=heard)


def test_pauses_grow_and_begin_anew_after_a_steady_run() -> None:
    backoff = Backoff(first_s=1.0, longest_s=5.0, steady_s=100.0)
    assert [backoff.delay(0.0) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.delay(100.0) == 1.0
    assert backoff.delay(99.0) == 2.0


def test_a_child_that_ends_is_started_again_and_all_end_on_stop(tmp_path: Path) -> None:
    heard = _Heard()
    steady = _child(tmp_path, PATIENT, heard, "steady")
    weak = _child(tmp_path, "import os; print(os.getpid()); raise SystemExit(70)", heard, "weak")
    said: list[str] = []
    supervisor = Supervisor([steady, weak], said.append, lambda: Backoff(first_s=0.01, longest_s=0.01))
    runner = threading.Thread(target=supervisor.run)
    runner.start()
    pids: set[str] = set()
    ready = False
    while len(pids) < 3 or not ready:
        name, line = heard.next()
        ready = ready or name == "steady"
        pids |= {line} if name == "weak" else set()
    supervisor.stop()
    runner.join(TIMEOUT_S)
    assert not runner.is_alive()
    assert steady.poll() == 0
    assert any("weak ended with code 70; it starts again" in line for line in said)
    assert sum("steady started" in line for line in said) == 1


def test_a_child_that_cannot_use_the_settings_is_not_started_again(tmp_path: Path) -> None:
    heard = _Heard()
    steady = _child(tmp_path, PATIENT, heard, "steady")
    lost = _child(tmp_path, "print('unknown setting x'); raise SystemExit(2)", heard, "lost")
    with pytest.raises(ConfigError, match=r"(?s)lost cannot use the settings.*unknown setting x"):
        Supervisor([steady, lost], lambda _: None).run()
    assert steady.poll() is not None


def test_one_that_stays_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    heard = _Heard()
    child = _child(tmp_path, STUBBORN, heard)
    child.start()
    inner = psutil.Process(int(heard.next()[1].split()[1]))
    stop_all([child], grace_s=0.2)
    assert child.poll() == -9
    inner.wait(TIMEOUT_S)


def test_a_dead_childs_last_words_are_in_the_error(tmp_path: Path) -> None:
    child = _child(tmp_path, "print('one'); print('the port is taken'); raise SystemExit(5)", _Heard())
    child.start()
    assert child.wait(TIMEOUT_S) == 5
    with pytest.raises(
        ChildFailed, match=r"(?s)child ended with code 5.*child\.log ends with.*the port is taken"
    ):
        child.check()


def test_a_child_gets_our_environment_without_our_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JANUS_KAFKA__BOOTSTRAP", "elsewhere:1")
    monkeypatch.setenv("OTHER", "kept")
    heard = _Heard()
    child = _child(
        tmp_path,
        "import os; print(sorted(n for n in os.environ if n in {'OTHER'} or n[:5] == 'JANUS'))",
        heard,
    )
    child.start()
    assert heard.next() == ("child", "['OTHER']")
    assert child.wait(TIMEOUT_S) == 0
    assert "JANUS_KAFKA__BOOTSTRAP" in os.environ
