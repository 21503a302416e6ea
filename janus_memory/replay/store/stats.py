"""What a replay store looks like at one moment (SPEC 2.4). Computed when asked for, never fed back."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ReplayStats"]


@dataclass(frozen=True, slots=True)
class ReplayStats:
    """A store's numbers.

    Attributes:
        size: rows held.
        total_replays: rows drawn so far, repeats included.
        mean_loss: mean |TD error| over the rows held that an update has judged; NaN where there is none.
        by_domain: rows held of each domain, by its name.
        priority_quantiles: quantiles of the priorities held, by their level; empty in an empty store.
        effective_sample_size: 1 / sum P(i)^2 of the strategy's law, between 1 and size; 0 in an empty store.
        stale_updates: updates that were dropped, because their row had been overwritten after it was drawn.
    """

    size: int
    total_replays: int
    mean_loss: float
    by_domain: dict[str, int]
    priority_quantiles: dict[str, float]
    effective_sample_size: float
    stale_updates: int
