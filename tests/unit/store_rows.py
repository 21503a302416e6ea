"""Rows for the tests of the replay store: ids of their own, times out of order, a few domains."""

from __future__ import annotations

import numpy as np

from janus_memory.transition import MarketSpec, Transitions

SPEC = MarketSpec("fx", ("a", "b", "c"), "discrete", 3)
VECTOR = MarketSpec("fx", ("a", "b"), "vector", 2)


def make_rows(
    n: int, seed: int, spec: MarketSpec = SPEC, *, domains: int = 3, times: int = 50
) -> Transitions:
    """As many rows as asked for; equal arguments give equal rows."""
    rng = np.random.default_rng(seed)
    rows = Transitions.empty(spec, n)
    rows.transition_id[:] = [f"{seed}-{i}".encode() for i in range(n)]
    rows.domain[:] = [f"d{i}".encode() for i in rng.integers(0, domains, n)]
    rows.timestamp[:] = rng.integers(0, times, n) * 3_600_000_000_000
    rows.state[:] = rng.standard_normal(rows.state.shape)
    rows.next_state[:] = rng.standard_normal(rows.state.shape)
    rows.action[:] = rng.integers(0, 3, rows.action.shape)
    rows.next_action[:] = rng.integers(0, 3, rows.action.shape)
    rows.reward[:] = rng.standard_normal(n)
    rows.done[:] = rng.integers(0, 2, n)
    return rows
