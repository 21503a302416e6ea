"""A vector market's box of actions, and the units a network has its actions in.

The box is what the market's settings say of each component (`action_low`, `action_high`; -1 and 1 unless stated). A
network sees u = (a - centre) / half, and what its head says is turned back by a = centre + half u. A row's action may
lie outside the box: it is learned from as it is, but the head never leaves the box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax
    from numpy.typing import NDArray

    from janus_memory.transition import MarketSpec

__all__ = ["action_box", "in_box_units", "in_market_units"]

_Array = TypeVar("_Array", "NDArray[np.float32]", "jax.Array")


def action_box(spec: MarketSpec) -> NDArray[np.float32]:
    """Lowest and highest value of each component of a vector market's action; float32 [2, m]."""
    m = spec.action_size
    return np.array((spec.action_low or (-1.0,) * m, spec.action_high or (1.0,) * m), np.float32)


def in_box_units(action: _Array, box: _Array) -> _Array:
    """The market's own units -> -1 at the lowest, 1 at the highest: [n, m] -> [n, m]; NaN stays NaN."""
    units: _Array = (action - (box[0] + box[1]) / 2) / ((box[1] - box[0]) / 2)
    return units


def in_market_units(action: _Array, box: _Array) -> _Array:
    """The inverse of `in_box_units`."""
    own: _Array = (box[0] + box[1]) / 2 + action * ((box[1] - box[0]) / 2)
    return own
