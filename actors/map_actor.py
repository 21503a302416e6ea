"""The actor that draws the map (phase 3). It loads no JAX, so that it starts fast."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from janus_memory.atlas.layout import lay_out

if TYPE_CHECKING:
    from janus_memory.atlas.layout import MapRequest, MapResult

__all__ = ["MapActor"]


class MapActor:
    """Draws the map; holds nothing."""

    def pid(self) -> int:
        """The process; also tells that the actor is up."""
        return os.getpid()

    def draw_map(self, request: MapRequest) -> MapResult:
        """The layout of a night's points."""
        return lay_out(request)
