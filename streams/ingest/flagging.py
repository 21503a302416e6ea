"""Live anomalies: states further from every schema than the calibrated threshold (SPEC section 7, E32).

Rows are judged after they are in the ring and never hold it up: they wait in a bounded queue, and what
does not fit is counted as unflagged. The sleeper computes its own flags from the cut.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from janus_memory.events import Anomaly, Risk, event_id
from streams.ingest.anomaly_windows import AnomalyWindows
from streams.topics import ANOMALIES, RISK

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from janus_memory.atlas.anomaly import AnomalyModel
    from janus_memory.config import IngestSettings
    from janus_memory.events import Event
    from janus_memory.transition import MarketSpec, Transitions
    from streams.ingest.models import Models
    from streams.ingest.publisher import Publisher

__all__ = ["Flagger", "flag_frame"]

_logger = logging.getLogger(__name__)
_BACKLOG_FRAMES = 1000


@dataclass(frozen=True, slots=True)
class _Frame:
    spec: MarketSpec
    partition: int
    offset: int
    rows: Transitions


class Flagger:
    """Judges frames in the background; `async with Flagger(...) as flagger`.

    Attributes:
        n_anomalies: states flagged.
        n_unflagged: rows not judged because more than 1 000 frames were waiting.
    """

    def __init__(self, settings: IngestSettings, models: Models, publisher: Publisher) -> None:
        self._settings = settings
        self._models = models
        self._publisher = publisher
        self._windows = AnomalyWindows(settings.persist_window, settings.persist_n)
        self._waiting: asyncio.Queue[_Frame] = asyncio.Queue(_BACKLOG_FRAMES)
        self._task: asyncio.Task[None] | None = None
        self.n_anomalies = self.n_unflagged = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def offer(self, spec: MarketSpec, partition: int, offset: int, rows: Transitions) -> None:
        """Judge newly accepted rows soon; never waits."""
        if self._models.state(spec.name).model is None:
            return
        try:
            self._waiting.put_nowait(_Frame(spec, partition, offset, rows))
        except asyncio.QueueFull:
            self.n_unflagged += len(rows)

    async def _run(self) -> None:
        while True:
            frame = await self._waiting.get()
            model = self._models.state(frame.spec.name).model
            if model is None:
                continue
            try:
                distance, nearest = await asyncio.to_thread(model.distances, frame.rows.state)
                events = flag_frame(frame, model, distance, nearest, self._windows, self._settings)
            except Exception:  # the flag is a by-product: whatever is wrong with a model must not stop ingest
                _logger.exception("market %s: rows could not be judged", frame.spec.name)
                self.n_unflagged += len(frame.rows)
                continue
            for topic, event in events:
                self.n_anomalies += topic == ANOMALIES
                self._publisher.offer(topic, event)


def flag_frame(  # noqa: PLR0917  (what the verdict takes)
    frame: _Frame,
    model: AnomalyModel,
    distance: NDArray[np.float64],
    nearest: NDArray[np.intp],
    windows: AnomalyWindows,
    settings: IngestSettings,
) -> list[tuple[str, Event]]:
    """The anomaly and risk events of a frame, in row order, with their topics.

    Args:
        frame: accepted rows and where they came from.
        model: the market's model.
        distance: to the nearest schema, float64 [n].
        nearest: which schema that is, index [n].
        windows: counts per (market, instrument, agent); changed.
        settings: how long a risk holds.
    """
    events: list[tuple[str, Event]] = []
    flags = (distance > model.threshold).tolist()
    agents = zip(frame.rows.instrument.tolist(), frame.rows.agent_id.tolist(), strict=True)
    for row, (anomalous, (instrument, agent)) in enumerate(zip(flags, agents, strict=True)):
        count, alert = windows.push(frame.spec.name, instrument, agent, anomalous=anomalous)
        if anomalous:
            anomaly = _anomaly(frame, row, model, float(distance[row]), int(nearest[row]))
            hold_ns = round(settings.risk_hold_s * 1e9)
            risk = Risk(
                event_id=event_id("risk", anomaly.event_id),
                market=anomaly.market,
                as_of=anomaly.as_of,
                cycle_id=anomaly.cycle_id,
                instrument=anomaly.instrument,
                agent_id=anomaly.agent_id,
                until=anomaly.as_of + hold_ns,
                alert=alert,
                anomalous=count,
                window=windows.size,
            )
            _logger.info("anomaly: %s; risk: %s", anomaly, risk)
            events += [(ANOMALIES, anomaly), (RISK, risk)]
    return events


def _anomaly(frame: _Frame, row: int, model: AnomalyModel, distance: float, nearest: int) -> Anomaly:
    rows, market = frame.rows, frame.spec.name
    transition = rows.transition_id[row].decode(errors="replace")
    action = rows.action[row]
    return Anomaly(
        event_id=event_id("anomaly", market, transition, model.cycle_id),
        market=market,
        as_of=int(rows.timestamp[row]),
        cycle_id=model.cycle_id,
        transition_id=transition,
        instrument=rows.instrument[row].decode(errors="replace"),
        agent_id=rows.agent_id[row].decode(errors="replace"),
        episode_id=rows.episode_id[row].decode(errors="replace"),
        partition=frame.partition,
        offset=frame.offset,
        distance=distance,
        threshold=float(model.threshold),
        nearest_schema=str(model.ids[nearest]),
        state=rows.state[row].tolist(),
        action=action.tolist(),
        reward=float(rows.reward[row]),
    )
