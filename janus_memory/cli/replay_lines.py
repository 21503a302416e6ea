"""What a replay prints while it runs: one line for each row once it is acknowledged, and one at the end."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click
import msgspec

from janus_memory.cli.context import market_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from janus_memory.replay.emission import Emission
    from janus_memory.transition import MarketSpec

__all__ = ["End", "ReplayLines", "duration"]

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


class End(StrEnum):
    """How a replay ended."""

    DONE = "done"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class ReplayLines:
    """Counts and prints the rows of one replay.

    Args:
        spec: the market's shape, for the names of actions.
        topic: where the rows go.
        n_rows: how many there are in all.
        as_json: one JSON object a line instead of text.
    """

    def __init__(self, spec: MarketSpec, topic: str, n_rows: int, *, as_json: bool) -> None:
        self._spec = spec
        self._topic = topic
        self._n_rows = n_rows
        self._as_json = as_json
        self._n_sent = 0

    def sent(self, emission: Emission) -> None:
        """Print the rows of an emission."""
        for row in range(len(emission.rows)):
            self._n_sent += 1
            facts = {"row": self._n_sent, "of": self._n_rows, **_facts(emission, row, self._spec)}
            self._print(facts, _row_text)

    def end(self, how: End, seconds: float) -> None:
        """Print what was sent in all."""
        facts = {
            "end": how,
            "sent": self._n_sent,
            "of": self._n_rows,
            "topic": self._topic,
            "seconds": seconds,
        }
        self._print(facts, _end_text)

    def _print(self, facts: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> None:
        click.echo(msgspec.json.encode(facts).decode() if self._as_json else text(facts))


def duration(seconds: float) -> str:
    """A span of time in its two largest units: `2 d 3 h`, `5 min 20 s`, `4.1 s`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for (unit, length), (smaller, fraction) in pairwise(_UNITS):
        if whole >= length:
            rest = whole % length // fraction
            return f"{whole // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def _facts(emission: Emission, row: int, spec: MarketSpec) -> dict[str, Any]:
    rows = emission.rows
    action = rows.action[row].tolist()
    named = isinstance(action, int) and 0 <= action < len(spec.action_names)
    return {
        "after_s": emission.due_s,
        "transition_id": bytes(rows.transition_id[row]).decode(errors="replace"),
        "timestamp": int(emission.replayed.timestamp[row]),
        "happened": int(rows.timestamp[row]),
        "action": spec.action_names[action] if named else action,
        "reward": float(rows.reward[row]),
        "done": bool(rows.done[row]),
    }


def _row_text(facts: dict[str, Any]) -> str:
    width = len(str(facts["of"]))
    action = facts["action"]
    if isinstance(action, list):
        action = "[" + " ".join(f"{x:.3g}" for x in action) + "]"
    return (
        f"{facts['after_s']:>+9.2f} s  {facts['row']:>{width}}/{facts['of']}  {market_time(facts['happened'])}  "
        f"{action:<8}  reward {facts['reward']:>+9.4g}{'  done' if facts['done'] else ''}"
    )


def _end_text(facts: dict[str, Any]) -> str:
    return (
        f"{facts['end']}: {facts['sent']} of {facts['of']} rows are on {facts['topic']}, "
        f"in {duration(facts['seconds'])}"
    )
