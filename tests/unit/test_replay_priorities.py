"""Priorities, beta and their report (E7, E9), against hand-worked tables."""

from __future__ import annotations

import numpy as np

from janus_memory.config import ReplaySettings
from janus_memory.replay.priorities import beta_at, priorities, priority_quantiles


def test_priority_adds_td_error_violation_and_reward_and_has_a_floor() -> None:
    """E7 by hand: |-1| + 2 * 0.5 + 0.5 * |-2| = 3; a row with nothing in it gets the floor."""
    p = priorities(np.array([-1.0, 0.0]), np.array([0.5, 0.0]), np.array([-2.0, 0.0]), ReplaySettings())
    assert p.tolist() == [3.0, 1e-3]


def test_beta_goes_from_start_to_end_in_equal_steps() -> None:
    """Over 4 iterations: 0.4, 0.6, 0.8, 1.0; a night of one iteration stays at the start."""
    replay = ReplaySettings()
    np.testing.assert_allclose([beta_at(t, 4, replay) for t in range(4)], [0.4, 0.6, 0.8, 1.0])
    assert beta_at(0, 1, replay) == 0.4


def test_priority_quantiles_are_named_by_level() -> None:
    """Levels are keys; no rows give no quantiles."""
    assert priority_quantiles(np.arange(5.0), (0.0, 0.5, 1.0)) == {"0": 0.0, "0.5": 2.0, "1": 4.0}
    assert priority_quantiles(np.zeros(0)) == {}
