"""One night of one market: five phases, a checkpoint after each, resumable anywhere (SPEC section 9).

    0-freeze          the input; afterwards the topic is not read again
    1-replay          the fast weights (and 1-replay-partial between chunks of iterations)
    2-consolidation   gates, schemas, slow weights
    3-map             coordinates and clusters
    4-outbox          merged and pruned schemas, model files, what is to be announced
    5-commit          the memory after the night, its report and its outbox

A phase is a function of the results before it. A checkpoint holds one phase's own result, so a night that was
killed loads what is there and computes the rest; the same input and settings give the same bits either way.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import msgspec
import numpy as np

from janus_memory.events import SleepReport, encode
from janus_memory.logic.knowledge import KnowledgeBase
from janus_memory.policy.factory import load_factory, policy_name
from janus_memory.sleep.checkpoints import Checkpoints, header_of
from janus_memory.sleep.learning import check_policy, learning_of
from janus_memory.sleep.memory import Memory, prefixed
from janus_memory.sleep.night import Night, NightInput, NightStopped
from janus_memory.sleep.outbox import pack_outbox, unpack_outbox
from janus_memory.sleep.phases.atlas import Drawn, draw
from janus_memory.sleep.phases.commit import committed_memory, skipped_memory
from janus_memory.sleep.phases.consolidate import Consolidated, consolidate
from janus_memory.sleep.phases.freeze import Frozen, Ground, fit_ground, freeze
from janus_memory.sleep.phases.publish import Published, publish
from janus_memory.sleep.phases.replay import Replayed, replay
from janus_memory.sleep.report import memory_metrics, report_of, report_record, row_metrics
from janus_memory.store.arrays import read_arrays, subtree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from janus_memory.config import Settings
    from janus_memory.ports import Progress, Workers
    from janus_memory.sleep.outbox import OutboxRecord
    from janus_memory.sleep.phases.freeze import Pool
    from janus_memory.store.arrays import Arrays

__all__ = ["NightInput", "NightResult", "NightStopped", "read_commit", "run_night"]

COMMIT = "5-commit"
_T = TypeVar("_T")


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
    arrays, _ = read_arrays(path)
    return _result(arrays)


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
        folder: the night's own folder, two levels below the market's; models go to `folder/../../models`.
        read_input: called only if phase 0's checkpoint is not there.
        memory: what the market knew after its last committed or skipped night (`Memory.empty` at first).
        settings: all settings.
        workers: who computes; closed by the caller.
        progress: told about phases and chunks.
        guard: called before each checkpoint write; raises if this process no longer owns the market.
        stop: polled between phases and replay chunks.

    Raises:
        NightStopped: `stop()` was true; call again to continue.
        ConfigError: the settings cannot be used for a night (a feature without variance).
        CheckpointError: a checkpoint is unreadable or belongs to other settings, code or memory, or the memory to
            another policy.
        PolicyError: a user's own policy cannot be made, failed, or answered nonsense.
    """
    market = settings.market(memory.market)
    spec = market.spec(memory.market)
    checkpoints = Checkpoints(folder, header_of(settings, memory), guard)
    finished = checkpoints.load(COMMIT)
    if finished:
        return _result(finished[0])
    check_policy(settings, memory)
    factory = load_factory(settings.policy.factory) if settings.policy.factory else None
    phases = _Phases(checkpoints, progress, stop)
    frozen = phases.run(
        "0-freeze",
        lambda: freeze(read_input(), memory, settings, spec),
        Frozen.snapshot,
        Frozen.restore,
    )
    night = Night(
        settings=settings,
        spec=spec,
        rules=KnowledgeBase.parse(
            market.rules,
            spec.features,
            spec.action_names,
            n_actions=spec.n_actions,
            action_dim=spec.action_dim,
            logic=settings.logic,
            memberships=market.memberships,
            predicates=market.predicates,
        ),
        memory=memory,
        session_id=frozen.session_id,
        closed_at=frozen.closed_at,
        workers=workers,
        factory=factory,
        progress=progress,
        checkpoints=checkpoints,
        models=folder.parent.parent / "models",
        stop=stop,
    )
    if frozen.pool is None:
        return _skip(night, frozen, phases)
    return _sleep(night, frozen, frozen.pool, phases)


class _Phases:
    """Runs a phase or loads its checkpoint; keeps the wall time of each."""

    def __init__(self, checkpoints: Checkpoints, progress: Progress, stop: Callable[[], bool]) -> None:
        self.seconds: dict[str, float] = {}
        self._checkpoints = checkpoints
        self._progress = progress
        self._stop = stop

    def run(
        self,
        name: str,
        compute: Callable[[], _T],
        snapshot: Callable[[_T], Arrays],
        restore: Callable[[Arrays], _T],
    ) -> _T:
        """The phase's result; on the way out the night may be asked to leave."""
        told = name.partition("-")[2]
        kept = self._checkpoints.load(name)
        if kept:
            arrays, meta = kept
            self.seconds[told] = float(meta["seconds"])
            self._progress.phase(name, "from its checkpoint")
            return restore(arrays)
        self._progress.phase(name, "")
        start = time.perf_counter()
        result = compute()
        self.seconds[told] = time.perf_counter() - start
        self._checkpoints.save(name, snapshot(result), {"seconds": self.seconds[told]})
        if self._stop():
            raise NightStopped(f"stopped after phase {name}; the night continues there when it is run again")
        return result


def _skip(night: Night, frozen: Frozen, phases: _Phases) -> NightResult:
    memory = skipped_memory(night.memory, frozen)
    metrics = {**{n: float(c) for n, c in frozen.counts.items()}, **memory_metrics(memory)}
    report = report_of(
        memory,
        night.cycle_id,
        "skipped",
        reason=frozen.reason,
        metrics=metrics,
        phase_seconds=phases.seconds,
        notes=_notes(frozen),
    )
    return _commit(night, memory, report, ())


def _sleep(night: Night, frozen: Frozen, pool: Pool, phases: _Phases) -> NightResult:
    ground = _ground(night, pool)
    learning = learning_of(night, ground.scale)
    replayed = phases.run(
        "1-replay",
        lambda: replay(night, pool, ground.scale, learning),
        Replayed.snapshot,
        Replayed.restore,
    )
    done = phases.run(
        "2-consolidation",
        lambda: consolidate(night, pool, replayed, ground, learning),
        Consolidated.snapshot,
        Consolidated.restore,
    )
    drawn = phases.run(
        "3-map", lambda: draw(night, done.bank, pool, ground.scale), Drawn.snapshot, Drawn.restore
    )
    told = {**replayed.metrics, **done.metrics}
    published = phases.run(
        "4-outbox",
        lambda: publish(night, pool, done, ground, told, learning),
        Published.snapshot,
        Published.restore,
    )
    memory = committed_memory(night, frozen, pool, ground, replayed, done, drawn.drawing, published)
    counts = {n: float(c) for n, c in frozen.counts.items()}
    metrics = {**counts, **told, **published.metrics, **memory_metrics(memory)}
    report = report_of(
        memory,
        night.cycle_id,
        "committed",
        metrics=metrics | row_metrics(pool.rows.take(pool.new)),
        phase_seconds=phases.seconds,
        notes=[*_notes(frozen), *([drawn.note] if drawn.note else [])],
        strategy=night.settings.replay.strategy,
        policy=policy_name(night.settings.policy),
    )
    return _commit(night, memory, report, published.records)


def _ground(night: Night, pool: Pool) -> Ground:
    """Scale and background: fitted on the first real night, afterwards those of the memory.

    Fitting takes a second and is a function of the frozen pool, so it has no checkpoint of its own.
    """
    known = night.memory.knowledge
    return Ground(known.scale, known.background) if known else fit_ground(pool, night.settings, night.spec)


def _notes(frozen: Frozen) -> list[str]:
    if not frozen.missing:
        return []
    missing = ", ".join(str(p) for p in frozen.missing)
    return [f"no cut of partition {missing} before the deadline: its rows come with the next night"]


def _commit(
    night: Night, memory: Memory, report: SleepReport, records: tuple[OutboxRecord, ...]
) -> NightResult:
    outbox = (*records, report_record(report))
    night.checkpoints.save(
        COMMIT,
        {
            **prefixed("memory/", memory.snapshot()),
            "report": np.frombuffer(encode(report), np.uint8),
            "outbox": pack_outbox(outbox),
        },
        {},
    )
    night.progress.phase(COMMIT, report.reason or f"digest {report.digest[:16]}")
    return NightResult(cast("Any", report.state), report.reason, memory, report, outbox)


def _result(arrays: Arrays) -> NightResult:
    report = msgspec.json.decode(arrays["report"].tobytes(), type=SleepReport)
    return NightResult(
        state=cast("Any", report.state),
        reason=report.reason,
        memory=Memory.restore(subtree(arrays, "memory/")),
        report=report,
        outbox=unpack_outbox(cast("Any", arrays["outbox"])),
    )
