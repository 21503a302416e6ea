"""One local Ray head as a child process: on loopback only, behind a token, without usage statistics.

    <data dir>/ray/token      the dashboard's login and every process's key, readable by its owner only
    <data dir>/ray/head.json  which processes the last head started, so that the next one can end left-overs
    <data dir>/ray/head.log   what `ray start` said

All of Ray's processes share the session (setsid) of the one we start, and are ended by it: never by name.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil

from janus_memory.errors import ConfigError, SessionError
from janus_memory.loopback import free_port
from janus_memory.store.arrays import write_bytes

if TYPE_CHECKING:
    from janus_memory.config import RaySettings

__all__ = ["LocalCluster", "end_left_over", "environment", "token_file"]

OBJECT_STORE_BYTES = 300_000_000
ATTEMPTS = 3
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 8.0
KILL_TIMEOUT_S = 60.0
_LOOPBACK = "127.0.0.1"
_POLL_S = 0.1
_STARTED = "Ray runtime started"


class _HeadEndedError(SessionError):
    """The head ended before it answered."""


class _HeadRecord(msgspec.Struct, frozen=True):
    """The process that leads a head's session, and the folder that no other head's processes use."""

    pid: int
    temporary: str


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A running head. `stop` it, or the next `start` on the same data folder will.

    Attributes:
        address: host:port for `ray.init`.
        dashboard: its URL, or empty where the settings leave it out.
        token: the file with the token.
        pid: leader of the session that holds all of its processes.
    """

    address: str
    dashboard: str
    token: Path
    pid: int
    temporary: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls, settings: RaySettings, data_dir: Path, *, timeout_s: float = START_TIMEOUT_S
    ) -> LocalCluster:
        """Start a head and return once it answers; one that ends by itself before is started again.

        Ray gives its parts fixed times (its raylet 30 s) and ends where a machine with much to do needs longer.

        Raises:
            ConfigError: the dashboard's port is taken, or the token file cannot be used.
            SessionError: the head did not come up; the end of its log is in the message.
        """
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(_HeadEndedError):
                return cls._start(settings, data_dir, timeout_s)
        return cls._start(settings, data_dir, timeout_s)

    @classmethod
    def _start(cls, settings: RaySettings, data_dir: Path, timeout_s: float) -> LocalCluster:
        folder = data_dir / "ray"
        folder.mkdir(parents=True, exist_ok=True)
        end_left_over(data_dir)
        port = _dashboard_port(settings) if settings.dashboard else 0
        token = token_file(settings, data_dir)
        gcs = free_port()
        temporary = Path(tempfile.mkdtemp(prefix="janus-ray-"))
        with (folder / "head.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  (our own interpreter and arguments)
                _command(settings, gcs, port, temporary),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | environment(settings, data_dir),
                start_new_session=True,
            )
        record = _HeadRecord(process.pid, str(temporary))
        write_bytes(folder / "head.json", msgspec.json.encode(record))
        url = f"http://{_LOOPBACK}:{port}" if port else ""
        cluster = cls(f"{_LOOPBACK}:{gcs}", url, token, process.pid, temporary, process)
        try:
            cluster._wait(folder / "head.log", [gcs, *([port] if port else [])], timeout_s)
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @property
    def alive(self) -> bool:
        """Whether the head's leading process runs."""
        return self.process.poll() is None

    @property
    def banner(self) -> str:
        """Where the dashboard is and how to log in; empty without one."""
        if not self.dashboard:
            return ""
        return f"Ray dashboard: {self.dashboard}  (log in with the token in {self.token})"

    def stop(self) -> None:
        """End all processes of the head and remove its temporary files."""
        if self.alive:
            self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _end_session(self.pid)
        shutil.rmtree(self.temporary, ignore_errors=True)

    def _wait(self, log: Path, ports: list[int], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            said = log.read_text(errors="replace")
            if _STARTED in said and all(_answers(port) for port in ports):
                return
            if not self.alive or time.monotonic() > deadline:
                ended = not self.alive
                what = "ended" if ended else f"did not answer within {timeout_s:g} s"
                raise (_HeadEndedError if ended else SessionError)(
                    f"the local Ray head {what}; no night was started; its log {log} ends with: "
                    f"{said[-500:].strip()!r}; free some memory, set ray.address to a running cluster, "
                    'or set ray.executor = "in_process"'
                )
            # `ray start` tells nobody when the head answers: its log and ports are all there is to ask.
            time.sleep(_POLL_S)


def end_left_over(data_dir: Path) -> None:
    """End what the head of this data folder left behind, if its sleeper was killed; nothing otherwise.

    After a restart of the machine the number may be another session's; and the time of a process's start moves with
    the machine's clock. So it is a head's session if a process in it uses the head's own folder.
    """
    path = data_dir / "ray" / "head.json"
    if not path.exists():
        return
    try:
        record = msgspec.json.decode(path.read_bytes(), type=_HeadRecord)
    except msgspec.DecodeError:
        path.unlink()
        return
    if any(_uses(pid, record.temporary) for pid in _members(record.pid)):
        _end_session(record.pid)
    shutil.rmtree(record.temporary, ignore_errors=True)
    path.unlink()


def environment(settings: RaySettings, data_dir: Path) -> dict[str, str]:
    """What every process that talks to Ray has in its environment."""
    shared = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    if settings.address and not settings.auth_token_file:
        return shared
    shared |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file(settings, data_dir))}
    if not settings.address:
        # Ray replaces 127.0.0.1 by the machine's outer address unless clusters are switched off.
        shared["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    return shared


def token_file(settings: RaySettings, data_dir: Path) -> Path:
    """The file that holds the token; made, readable by its owner only, where the settings name none.

    Raises:
        ConfigError: the file that the settings name is not there.
    """
    if settings.auth_token_file:
        path = Path(settings.auth_token_file)
        if not path.is_file():
            raise ConfigError(
                f"ray.auth_token_file {path} is not there; nothing was started; correct the path"
            )
        return path.resolve()
    path = data_dir / "ray" / "token"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.resolve()
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    return path.resolve()


def _command(settings: RaySettings, gcs: int, dashboard: int, temporary: Path) -> list[str]:
    n_actors = settings.n_replay + settings.n_shards + 1
    options = {
        "node-ip-address": _LOOPBACK,
        "port": gcs,
        "ray-client-server-port": free_port(),
        "dashboard-agent-listen-port": 0,
        "include-dashboard": "true" if settings.dashboard else "false",
        "dashboard-host": _LOOPBACK,
        "dashboard-port": dashboard or free_port(),
        "num-cpus": n_actors,
        "object-store-memory": OBJECT_STORE_BYTES,
        "temp-dir": temporary,
        "log-color": "false",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    start = ["start", "--head", "--block", "--disable-usage-stats"]
    return [sys.executable, "-m", "ray.scripts.scripts", *start, *flags]


def _dashboard_port(settings: RaySettings) -> int:
    """The port asked for, or a free one for 0."""
    if settings.dashboard_port == 0:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, settings.dashboard_port))
        except OSError as error:
            raise ConfigError(
                f"port {settings.dashboard_port} for Ray's dashboard is taken: {error.strerror}; nothing was started; "
                "set ray.dashboard_port to another one (0 takes any), or ray.dashboard = false"
            ) from error
    return settings.dashboard_port


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_LOOPBACK, port)) == 0


def _end_session(leader: int) -> None:
    """Kill every process of one session and wait until none is left."""
    deadline = time.monotonic() + KILL_TIMEOUT_S
    # One that ends between two looks may have left a child which the first look could not list yet.
    while members := _members(leader) or _members(leader):
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise SessionError(f"processes {members} of the local Ray head cannot be ended; end them by hand")
        # They are not our children, so their ends cannot be waited for.
        time.sleep(_POLL_S)


def _uses(pid: int, folder: str) -> bool:
    """Whether a process names a folder on its command line or has a file in it open; Ray renames some processes."""
    try:
        process = psutil.Process(pid)
        named = any(folder in word for word in process.cmdline())
        return named or any(file.path.startswith(folder) for file in process.open_files())
    except psutil.Error:
        return False


def _members(leader: int) -> list[int]:
    """The living processes of one session."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, PermissionError):
            continue
    return found
