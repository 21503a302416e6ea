"""The memory as `benchmarks.schemas` uses it: states consolidated in nights with merge, prune and density, gates off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.neocortex.background import Background
from janus_memory.neocortex.bank import SchemaBank
from janus_memory.neocortex.consolidation import Rows, consolidate
from janus_memory.neocortex.density import Density
from janus_memory.neocortex.merging import merge_night
from janus_memory.neocortex.pruning import prune_night
from janus_memory.neocortex.reassignment import reassign_night
from janus_memory.sleep.phases.tidy import SMALL_NIGHT, held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from janus_memory.config import NeocortexSettings

__all__ = ["WARM_UP_ROWS", "Slept", "sleep_through"]

WARM_UP_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Slept:
    """What is known after the last night.

    Attributes:
        bank, background, density: the memory.
        names: bytes S32 [n], the id each state was given when it was consolidated, before any later merge.
        labels: intp [n], the same after all merges, as numbers.
        resolved: str [n_labels], the id of each label.
    """

    bank: SchemaBank
    background: Background
    density: Density
    names: NDArray[np.bytes_]
    labels: NDArray[np.intp]
    resolved: NDArray[np.str_]


def sleep_through(
    x: NDArray[np.float64], time: NDArray[np.int64], nights: Sequence[int], settings: NeocortexSettings
) -> Slept:
    """Consolidate standardised states in nights that end before the given rows, the last one at the end.

    Args:
        x: float64 [n, d], in total order; the first `WARM_UP_ROWS` give the background.
        time: int64 [n], UTC nanoseconds.
        nights: growing row numbers.
        settings: the rule.
    """
    warm = slice(0, WARM_UP_ROWS)
    background = Background.fit(x[warm], time[warm], settings)
    bank, density = SchemaBank.empty(x.shape[1]), Density.uniform()
    names: list[NDArray[np.bytes_]] = []
    start = 0
    for end in (*nights, len(x)):
        if end <= start:
            continue
        tonight = slice(start, end)
        density = _judged(density, bank, background, x[tonight], time[tonight], settings)
        names.append(_night(bank, background, x[tonight], time[tonight], settings))
        start = end
    given = np.concatenate(names)
    unique, inverse = np.unique(given, return_inverse=True)
    lives = [bank.resolve(name.decode()) or name.decode() for name in unique.tolist()]
    resolved, labels = np.unique(np.array(lives, np.str_)[inverse], return_inverse=True)
    return Slept(bank, background, density, given, labels.astype(np.intp), resolved)


def _night(
    bank: SchemaBank,
    background: Background,
    x: NDArray[np.float64],
    time: NDArray[np.int64],
    settings: NeocortexSettings,
) -> NDArray[np.bytes_]:
    """One night; the ids the states were given."""
    rows = Rows(x, np.zeros(len(x)), time, np.ones(len(x), np.bool_))
    result = consolidate(bank, background, rows, settings, None, f"{int(time[-1])}", "benchmark")
    labels = reassign_night(bank, background, rows, result.labels, settings)
    merge_night(bank, background, settings)
    prune_night(bank, int(time[-1]) + 1, small_night=len(x) < SMALL_NIGHT, settings=settings)
    return np.asarray(result.ids[labels])


def _judged(  # noqa: PLR0917  (the memory, the night and the rule)
    density: Density,
    bank: SchemaBank,
    background: Background,
    x: NDArray[np.float64],
    time: NDArray[np.int64],
    settings: NeocortexSettings,
) -> Density:
    """The density after the night's states, judged before they are learned; the first night holds some out."""
    if bank.size:
        return density.learn(bank, background, x, settings.neighbour_gap)
    out = held_out(time)
    shadow = SchemaBank.empty(x.shape[1])
    _night(shadow, background, x[~out], time[~out], settings)
    return density.learn(shadow, background, x[out], settings.neighbour_gap)
