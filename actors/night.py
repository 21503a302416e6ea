"""One night of one market as a process of its own: `python -m actors.night`, started by the sleeper.

It runs the frozen plan of one session from its last checkpoint and leaves `outcome.json` beside
`5-commit.npz`; the sleeper commits. Lines on stdout are JSON: `{"phase", "note"}`, `{"phase", "done",
"total"}`, and at the end `{"error", "kind"}` or `{"state", "reason", "digest"}`. Stderr is for the log.

Exit codes: 0 done; 1 to 10 an error of ours (`janus_memory.errors`), which would come again; 75 stopped on
SIGTERM with its place kept; 70 unexpected, to be tried again; 76 the sleeper is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from janus_memory.errors import JanusError, PolicyError
from janus_memory.settings import load_settings
from janus_memory.sleep.cycle import NightStopped, read_commit, run_night
from janus_memory.sleep.memory import Memory
from janus_memory.sleep.ownership import check_epoch
from janus_memory.sleep.sessions import (
    NightPlan,
    Outcome,
    memory_files,
    read_plan,
    session_folder,
    state_folder,
)
from janus_memory.sleep.workers import InProcessWorkers
from janus_memory.store.arrays import write_bytes
from janus_memory.threads import fix_threads
from streams import cut_reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from janus_memory.config import Settings
    from janus_memory.ports import Workers
    from janus_memory.sleep.cycle import NightInput, NightResult

__all__ = ["CRASHED", "ORPHANED", "STOPPED", "main", "run"]

CRASHED = 70
STOPPED = 75
ORPHANED = 76


class LineProgress:
    """Progress as JSON lines on stdout (`janus_memory.ports.Progress`)."""

    def phase(self, name: str, note: str) -> None:
        """A phase begins, or says something worth a line."""
        say(phase=name, note=note)

    def advance(self, name: str, done: int, total: int) -> None:
        """`done` of `total` units of a phase are finished."""
        say(phase=name, done=done, total=total)


def say(**line: object) -> None:
    """One JSON line on stdout, at once."""
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def run(
    settings: Settings, plan: NightPlan, epoch: int, workers: Workers, stop: threading.Event
) -> NightResult:
    """Run or resume the night of a plan, and leave its outcome.

    Raises:
        NightStopped: `stop` was set; the last checkpoint stands.
        JanusError: the night cannot be run as things are.
    """
    state = state_folder(Path(settings.data_dir), plan.market)
    folder = session_folder(state, plan.session_id)
    memories = memory_files(state)
    result = run_night(
        folder,
        lambda: _read_input(settings, plan),
        read_commit(memories[-1]).memory if memories else Memory.empty(plan.market),
        settings,
        workers,
        LineProgress(),
        lambda: check_epoch(state, epoch),
        stop.is_set,
    )
    check_epoch(state, epoch)
    write_bytes(folder / "outcome.json", msgspec.json.encode(_outcome(result)))
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of one night; returns the exit code."""
    options = _options(arguments)
    stop = threading.Event()
    _stop_on_sigterm(stop)
    if options.end_with_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        settings = load_settings(options.config)
        fix_threads(settings.sleep.compute_threads)
        _keep_compiled(Path(settings.data_dir) / "cache" / "jax")
        state = state_folder(Path(settings.data_dir), options.market)
        check_epoch(state, options.epoch)
        plan = read_plan(state, options.session)
        workers = _workers(settings, plan, options.ray_address)
        _stop_on_sigterm(stop)  # ray.init has put its own handler there
        try:
            result = run(settings, plan, options.epoch, workers, stop)
        finally:
            workers.close()
    except NightStopped:
        return STOPPED
    except JanusError as error:
        if isinstance(error, PolicyError):
            traceback.print_exc()  # the user's own code: the log says where it failed
        say(error=str(error), kind=type(error).__name__)
        return error.exit_code
    except Exception as error:  # noqa: BLE001  (the sleeper must learn of anything that ends a night)
        traceback.print_exc()
        say(error=f"{type(error).__name__}: {error}", kind="unexpected")
        return CRASHED
    say(state=result.state, reason=result.reason, digest=result.memory.digest())
    return 0


def _keep_compiled(folder: Path) -> None:
    """Let JAX find what an earlier night has compiled: a night is a process of its own, its programs are not."""
    wanted = {
        "JAX_COMPILATION_CACHE_DIR": str(folder.resolve()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def _stop_on_sigterm(stop: threading.Event) -> None:
    signal.signal(signal.SIGTERM, lambda *_: stop.set())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m actors.night", description=__doc__)
    parser.add_argument("--config", required=True, help="TOML file of settings")
    parser.add_argument("--market", required=True)
    parser.add_argument("--session", required=True, help="a session whose plan is frozen")
    parser.add_argument(
        "--epoch", required=True, type=int, help="the epoch of the sleeper that starts this night"
    )
    parser.add_argument(
        "--ray-address", default="", help="host:port of the cluster; ray.address if not given"
    )
    parser.add_argument("--end-with-stdin", action="store_true", help="end at once when stdin is closed")
    return parser.parse_args(arguments)


def _workers(settings: Settings, plan: NightPlan, address: str) -> Workers:
    if settings.ray.executor == "in_process":
        return InProcessWorkers(settings)
    from actors.workers import RayWorkers, connect  # noqa: PLC0415  (Ray is loaded only where it is used)

    connect(address or settings.ray.address, plan.market, plan.session_id)
    return RayWorkers(settings)


def _read_input(settings: Settings, plan: NightPlan) -> NightInput:
    return asyncio.run(cut_reader.read_plan(settings, plan))


def _outcome(result: NightResult) -> Outcome:
    return Outcome(
        state=result.state,
        reason=result.reason,
        digest=result.memory.digest(),
        phase_seconds=result.report.phase_seconds,
        metrics=result.report.metrics,
        notes=tuple(result.report.notes),
        policy=result.report.policy,
    )


def _end_with_stdin() -> None:
    """The sleeper holds the other end of stdin: end of file means that it has died, however it did."""
    while os.read(0, 1):  # not sys.stdin: its lock would abort the interpreter's own end
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
