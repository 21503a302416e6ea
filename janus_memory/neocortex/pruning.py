"""What is forgotten, and what is only put away (E34, section 6).

A schema with fewer than `min_points` points is pruned after its nights of grace: 1, or 12 where nights bring
fewer than 100 states (a small night counts as a twelfth). A schema not seen for `archive_days` goes to the
archive, from which a matching state brings it back. Nothing is dropped for the age of its creation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from janus_memory.config import NeocortexSettings
    from janus_memory.neocortex.bank import SchemaBank

__all__ = ["due", "prune_night"]

_SMALL_PER_LARGE = 12
_DAY_NS = 86_400 * 10**9


def prune_night(
    bank: SchemaBank, now_ns: int, *, small_night: bool, settings: NeocortexSettings
) -> tuple[int, int]:
    """Prune and archive in place, the last thing a night does to the bank; raises its version.

    The night of its creation does not count toward a schema's grace.

    Args:
        bank: the schemas.
        now_ns: the close of the session, UTC nanoseconds.
        small_night: the night brought fewer than 100 states.
        settings: min_points, prune_grace (None: as above), archive_days.

    Returns:
        How many were pruned and how many archived.
    """
    c = bank.columns
    living = bank.living
    pruned = living[due(bank, settings)[living]]
    oldest = now_ns - round(settings.archive_days * _DAY_NS)
    archived = living[(c.seen[living] < oldest) & ~np.isin(living, pruned)]
    c.archived[archived] = 1
    (c.small_nights if small_night else c.large_nights)[: bank.size] += 1
    bank.remove(pruned.tolist())
    bank.version += 1
    return len(pruned), len(archived)


def due(bank: SchemaBank, settings: NeocortexSettings) -> NDArray[np.bool_]:
    """Which rows of the bank have too few points and no grace left; bool [size], archived ones are never meant."""
    c = bank.columns
    over = _grace_is_over(c.large_nights[: bank.size], c.small_nights[: bank.size], settings)
    return (c.n[: bank.size] < settings.min_points) & over


def _grace_is_over(
    large: NDArray[np.int64], small: NDArray[np.int64], settings: NeocortexSettings
) -> NDArray[np.bool_]:
    if settings.prune_grace is None:
        return _SMALL_PER_LARGE * large + small >= _SMALL_PER_LARGE
    return large + small >= settings.prune_grace
