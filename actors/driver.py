"""Start the process of one night, relay what it says, and tell how it ended."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Ending", "NightProcess"]

STOP_TIMEOUT_S = 60.0
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Ending:
    """How a night's process ended.

    Attributes:
        code: its exit code; negative for the signal that ended it.
        error: the message that it left, or empty.
    """

    code: int
    error: str

    def describe(self) -> str:
        """One phrase for a reason."""
        how = f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"
        return f"{how}: {self.error}" if self.error else how


class NightProcess:
    """One `python -m actors.night`.

    Args:
        arguments: its command line after the module's name.
        environment: added to ours.
        log: file to which its stderr is appended.
        hear: called with each line that it says, decoded.
    """

    def __init__(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        log: Path,
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        self._arguments = arguments
        self._environment = environment
        self._log = log
        self._hear = hear
        self._error = ""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 before it has been started."""
        return self._process.pid if self._process else 0

    async def run(self) -> Ending:
        """Start it and wait for its end. When this is cancelled it is asked to stop at its next checkpoint."""
        with self._log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "actors.night",
                "--end-with-stdin",
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=os.environ | dict(self._environment),
                limit=_LONGEST_LINE,
            )
        try:
            return await self._end(process)
        except asyncio.CancelledError:
            await self._stop(process)
            raise

    async def _end(self, process: asyncio.subprocess.Process) -> Ending:
        assert process.stdout is not None  # noqa: S101  (asked for above)
        async for line in process.stdout:
            self._relay(line)
        return Ending(await process.wait(), self._error)

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """SIGTERM, then SIGKILL if no checkpoint comes: nothing is lost by either."""
        if process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._end(process)
        except TimeoutError:
            process.kill()
            await process.wait()

    def _relay(self, line: bytes) -> None:
        try:
            said = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            said = {"note": line.decode(errors="replace").rstrip()}
        self._error = said.get("error", self._error)
        self._hear(said)
