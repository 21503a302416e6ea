"""What the sleeper is doing: lines on stdout, and one JSON file that `janus status` reads."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from janus_memory.sleep.sessions import read_cursor
from janus_memory.store.arrays import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from actors.cut_book import CutBook
    from actors.publishers import Publisher
    from janus_memory.sleep.sessions import MarketState

__all__ = ["Status"]


class Status:
    """Tells people and programs. Times are wall-clock seconds and nothing is computed from them.

    Args:
        path: the JSON file: {"pid", "started", "ray", "markets": {name: {"waiting", "publishers"}},
            "night": {"market", "session_id", ...} or null, "last"}. It is written once `own` is called:
            a sleeper that waits for another one must not overwrite the other's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owned = False
        self._said: dict[str, Any] = {
            "pid": os.getpid(),
            "started": time.time(),
            "ray": None,
            "night": None,
            "markets": {},
            "last": "",
        }

    def own(self) -> None:
        """From now on this process's file is the one that counts."""
        self._owned = True
        self._write()

    def say(self, line: str, market: str = "") -> None:
        """One line for a person."""
        text = f"sleeper [{market}] {line}" if market else f"sleeper {line}"
        print(text, flush=True)
        self._said["last"] = text
        self._write()

    def ray(self, dashboard: str, token: Path, banner: str) -> None:
        """Where Ray's dashboard is and how to log in."""
        self._said["ray"] = {"dashboard": dashboard, "token_file": str(token)}
        self.say(banner or "the local Ray head runs without a dashboard")

    def progress(self, market: str, session_id: str, said: dict[str, Any]) -> None:
        """A line of a night's process."""
        self._said["night"] = {"market": market, "session_id": session_id, **said}
        if "error" in said:
            return
        if "total" in said:
            self._write()
            if said["done"] == said["total"]:
                self.say(f"session {session_id} {said['phase']} {said['done']}/{said['total']}", market)
        elif "state" not in said:
            self.say(f"session {session_id} {said.get('phase', '')}: {said.get('note', '')}", market)

    def publish(
        self, states: Mapping[str, MarketState], books: Mapping[str, CutBook], publishers: Sequence[Publisher]
    ) -> None:
        """Which sessions wait for which partitions, and how far the publishers have come."""
        markets: dict[str, Any] = {}
        for name, state in states.items():
            consumed = state.last_cuts()
            pending = [r.session_id for r in state.records() if r.state == "pending"]
            known = dict(books[name].sessions())
            cursors = {p.name: msgspec.to_builtins(read_cursor(state.folder, p.name)) for p in publishers}
            markets[name] = {
                "waiting": {s: books[name].missing(s, consumed) for s in pending if s in known},
                "publishers": cursors,
            }
        if markets != self._said["markets"]:
            self._said["markets"] = markets
            self._write()

    def _write(self) -> None:
        if self._owned:
            write_bytes(self._path, msgspec.json.encode(self._said))
