"""One night of one market: five phases, a checkpoint after each, resumable anywhere (SPEC section 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from janus_memory.config import Settings
    from janus_memory.events import SleepReport
    from janus_memory.ports import Progress, Workers
    from janus_memory.sleep.memory import Memory
    from janus_memory.sleep.outbox import OutboxRecord
    from janus_memory.transition import Transitions

__all__ = ["NightInput", "NightResult", "NightStopped", "read_commit", "run_night"]


class NightStopped(Exception):  # noqa: N818  (not an error: the night was asked to leave and kept its place)
    """`stop()` was true: the night left after a checkpoint and continues there when called again."""


@dataclass(frozen=True, slots=True)
class NightInput:
    """What the set of cuts of one session holds, decoded.

    Attributes:
        market, session_id: whose night it is.
        closed_at: market time of the close, UTC nanoseconds.
        rows: accepted rows of all cuts, partition after partition in offset order; of an id that
            stands in two partitions the first is kept.
        counts: what ingest and the cut reader counted (duplicates, late, rejected, ...); goes into the report.
        missing: partitions whose cut did not arrive before the deadline.
    """

    market: str
    session_id: str
    closed_at: int
    rows: Transitions
    counts: dict[str, int]
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NightResult:
    """How a night ended.

    Attributes:
        state: committed, or skipped (warming up, too few rows) with the rows carried in `memory`.
        reason: why it was skipped; empty for a committed night.
        memory: what the market knows now; the input of its next night.
        report: the sleep report, also the last record of the outbox.
        outbox: what is to be published, in this order.
    """

    state: Literal["committed", "skipped"]
    reason: str
    memory: Memory
    report: SleepReport
    outbox: tuple[OutboxRecord, ...]


def read_commit(path: Path) -> NightResult:
    """The result in a `5-commit.npz`, wherever it has been moved to.

    Raises:
        CheckpointError: the file is unreadable.
    """
    raise NotImplementedError(path)


def run_night(  # noqa: PLR0917  (one call site; each is a port or an input of the night)
    folder: Path,
    read_input: Callable[[], NightInput],
    memory: Memory,
    settings: Settings,
    workers: Workers,
    progress: Progress,
    guard: Callable[[], None],
    stop: Callable[[], bool],
) -> NightResult:
    """Run or resume one night; leaves `5-commit.npz` in `folder`, also for a skipped night.

    Args:
        folder: the night's own folder, `<data dir>/<market>/nights/<session>` or alike; models go to
            `folder/../../models`.
        read_input: called only if phase 0's checkpoint is not there.
        memory: what the market knew after its last committed or skipped night (`Memory.empty` at first).
        settings: all settings.
        workers: who computes; closed by the caller.
        progress: told about phases and chunks.
        guard: called before each checkpoint write; raises if this process no longer owns the market.
        stop: polled between phases and replay chunks.

    Raises:
        NightStopped: `stop()` was true; call again to continue.
        ConfigError: the settings cannot be used for a night (vector actions, a feature without variance).
        CheckpointError: a checkpoint is unreadable or belongs to other settings, code or memory.
    """
    raise NotImplementedError
