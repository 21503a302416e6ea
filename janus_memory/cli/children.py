"""Child processes of `janus up` and `janus demo`: started, watched, restarted and ended by their own ids.

Each child leads a process group of its own: a Ctrl-C at the terminal reaches only us, and we end the children
in order. What a child says goes to its log file, and on to whoever listens.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from janus_memory.errors import ConfigError, JanusError
from janus_memory.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Backoff", "Child", "ChildFailed", "Supervisor", "stop_all"]

# A sleeper lets its night reach a checkpoint (up to 60 s), then it ends its Ray head (seconds; up to 68 s where the
# machine has much to do). Killed before that it would leave the head behind.
GRACE_S = 150.0
TAIL_LINES = 15
_POLL_S = 0.25
# For the last words of an ended child; they end with its pipe, unless something that it started has kept that.
_READ_S = 10.0


class ChildFailed(JanusError):  # noqa: N818  (it names what happened)
    """A child process ended although it should run."""


class Child:
    """One child process and its log; may be started again after it has ended."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        listener: Callable[[str, str], None] = lambda _name, _line: None,
    ) -> None:
        """Describe a child; nothing starts yet.

        Args:
            name: for messages.
            arguments: of our own Python interpreter, such as ("-m", "actors.sleeper").
            log: where its output is appended.
            environment: added to ours.
            listener: given the name and each line of output, on a thread of its own.
        """
        self.name, self.log = name, log
        self._arguments, self._environment, self._listener = list(arguments), environment or {}, listener
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the process."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(  # noqa: S603  (our own interpreter and modules)
            [sys.executable, "-u", *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**_own_environment(), **self._environment},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._copy, args=(self._process,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int | None:
        """Its process id once it has started."""
        return self._process.pid if self._process else None

    def poll(self) -> int | None:
        """Its exit code once it has ended, else None."""
        return self._process.poll() if self._process else None

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, or None if it has not ended within the time."""
        if self._process is None:
            return None
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        if self._reader is not None:
            self._reader.join(_READ_S)
        return code

    def kill(self) -> None:
        """End it and whatever it has started in its group."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            self._process.wait()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its log."""
        if self._reader is not None:
            self._reader.join(_READ_S)
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (it said nothing)"

    def check(self) -> None:
        """Raise ChildFailed, with the end of its log, if it has ended."""
        code = self.poll()
        if code is not None:
            raise ChildFailed(
                f"{self.name} ended with code {code} although it should run; its log {self.log} ends with\n{self.tail()}"
            )

    def _copy(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            return
        with process.stdout, self.log.open("a", encoding="utf-8") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()
                self._listener(self.name, line.rstrip("\n"))


def _own_environment() -> dict[str, str]:
    """Ours without our settings: they are in the child's file already, and a flag must stay stronger."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def stop_all(children: Sequence[Child], grace_s: float = GRACE_S) -> None:
    """End the children: all are asked at once, those that stay longer than the grace are killed."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + grace_s
    for child in children:
        if child.pid is not None and child.wait(max(0.0, deadline - time.monotonic())) is None:
            child.kill()


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start of a child: 1, 2, 4 ... 60 s; again 1 after a steady run.

    Attributes:
        steady_s: a run of this length counts as steady.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    steady_s: float = 120.0
    _next_s: float = 0.0

    def delay(self, ran_s: float) -> float:
        """Seconds to wait after a run of `ran_s` seconds."""
        self._next_s = self.first_s if ran_s >= self.steady_s or not self._next_s else self._next_s
        delay, self._next_s = self._next_s, min(2 * self._next_s, self.longest_s)
        return delay


class Supervisor:
    """Keeps children running until it is asked to stop."""

    def __init__(
        self, children: Sequence[Child], say: Callable[[str], None], backoff: Callable[[], Backoff] = Backoff
    ) -> None:
        """Take charge of children that have not started.

        Args:
            children: in the order in which they start.
            say: told about starts, ends and restarts.
            backoff: makes the pauses of one child.
        """
        self._children, self._say = list(children), say
        self._backoffs = {child.name: backoff() for child in children}
        self._started: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._stop = threading.Event()

    def stop(self, *_: object) -> None:
        """Ask `run` to end the children and return; usable as a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Start all children and keep them running until `stop`.

        Raises:
            ConfigError: a child says that it cannot use the settings; restarting would not help.
        """
        try:
            for child in self._children:
                self._start(child)
            while not self._stop.wait(_POLL_S):
                for child in self._children:
                    self._watch(child)
        finally:
            stop_all(self._children)

    def _start(self, child: Child) -> None:
        self._due.pop(child.name, None)
        child.start()
        self._started[child.name] = time.monotonic()
        self._say(f"{child.name} started, process {child.pid}, log {child.log}")

    def _watch(self, child: Child) -> None:
        code, now = child.poll(), time.monotonic()
        if code is None:
            return
        if child.name not in self._due:
            if code == ConfigError.exit_code:
                raise ConfigError(
                    f"{child.name} cannot use the settings; all services were stopped\n{child.tail()}"
                )
            delay = self._backoffs[child.name].delay(now - self._started[child.name])
            self._say(f"{child.name} ended with code {code}; it starts again in {delay:g} s\n{child.tail(3)}")
            self._due[child.name] = now + delay
        elif now >= self._due[child.name]:
            self._start(child)
