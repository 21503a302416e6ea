"""Phase 3: draw the map of the schemas, or of a sample of states while there are few schemas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from janus_memory.atlas.layout import MapRequest
from janus_memory.errors import MapError
from janus_memory.sleep.memory import MapDrawing, note, prefixed
from janus_memory.store.arrays import subtree

if TYPE_CHECKING:
    from janus_memory.neocortex.bank import SchemaBank
    from janus_memory.scale import Scale
    from janus_memory.sleep.night import Night
    from janus_memory.sleep.phases.freeze import Pool
    from janus_memory.store.arrays import Arrays

__all__ = ["Drawn", "draw"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The drawing and a line on what it shows; empty where it needs none."""

    drawing: MapDrawing
    note: str

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {**prefixed("drawing/", self.drawing.snapshot()), "note": note(self.note)}

    @classmethod
    def restore(cls, arrays: Arrays) -> Drawn:
        """The inverse of `snapshot`."""
        text = msgspec.json.decode(arrays["note"].tobytes(), type=str)
        return cls(MapDrawing.restore(subtree(arrays, "drawing/")), text)


def draw(night: Night, bank: SchemaBank, pool: Pool, scale: Scale) -> Drawn:
    """Draw schema centroids if there are at least `min_points` of them, else evenly strided states.

    A map that cannot be drawn does not cost the night: the last one stays, and the note says why.
    """
    settings = night.settings.atlas
    of_schemas = len(bank.ids) >= settings.min_points
    if of_schemas:
        ids, points = bank.ids, bank.means
    else:
        n = min(len(pool.rows), settings.max_points)
        sample = pool.rows.take(np.linspace(0, len(pool.rows) - 1, n).astype(np.intp))
        ids, points = sample.transition_id, scale.standardise(sample.state)
    request = MapRequest(
        points=points,
        seed=night.seed("map"),
        neighbours=settings.neighbours,
        epochs=settings.epochs,
        min_points=settings.min_points,
        tau_cluster=settings.tau_cluster,
    )
    try:
        drawn = night.workers.lay_out(request)
    except MapError as error:
        return Drawn(_last(night), f"no new map: {error}")
    what = "" if of_schemas else f"the map shows {len(points)} states: {len(bank.ids)} schemas are too few"
    text = "; ".join(part for part in (what, drawn.note) if part)
    return Drawn(MapDrawing(ids, drawn.coordinates, drawn.clusters, of_schemas), text)


def _last(night: Night) -> MapDrawing:
    """The drawing of the night before; one without points before the first."""
    known = night.memory.knowledge
    if known:
        return known.drawing
    return MapDrawing(np.zeros(0, "S32"), np.zeros((0, 3)), np.zeros(0, np.int64), of_schemas=True)
