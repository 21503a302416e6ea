"""The laws of prioritised replay (E7-E10), against hand-worked tables."""

from __future__ import annotations

import numpy as np
import pytest

from janus_memory.config import ReplaySettings
from janus_memory.replay.priorities import (
    beta_at,
    draw_rows,
    effective_sample_size,
    importance_weights,
    priorities,
    priority_quantiles,
    probabilities,
)


def test_priority_adds_td_error_violation_and_reward_and_has_a_floor() -> None:
    """E7 by hand: |-1| + 2 * 0.5 + 0.5 * |-2| = 3; a row with nothing in it gets the floor."""
    p = priorities(np.array([-1.0, 0.0]), np.array([0.5, 0.0]), np.array([-2.0, 0.0]), ReplaySettings())
    assert p.tolist() == [3.0, 1e-3]


def test_probabilities_by_hand() -> None:
    """E8: with alpha 1 they are the shares, with alpha 0 uniform over what can be drawn, with 1/2 their roots'."""
    p = np.array([1.0, 4.0])
    assert probabilities(p, 1.0).tolist() == [0.2, 0.8]
    assert probabilities(p, 0.0).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(probabilities(p, 0.5), [1 / 3, 2 / 3])
    assert probabilities(np.zeros(4), 0.6).tolist() == [0.25] * 4


def test_importance_weights_by_hand() -> None:
    """E9 and E10: P = (.2, .8), N = 2 gives 1/(N P) = (2.5, .625); over the largest: (1, .25)."""
    np.testing.assert_allclose(importance_weights(np.array([0.2, 0.8]), 1.0), [1.0, 0.25])
    np.testing.assert_allclose(importance_weights(np.array([0.2, 0.8]), 0.5), [1.0, 0.5])
    assert importance_weights(np.array([0.0, 1.0]), 0.4).tolist() == [0.0, 1.0]


def test_beta_goes_from_start_to_end_in_equal_steps() -> None:
    """Over 4 iterations: 0.4, 0.6, 0.8, 1.0; a night of one iteration stays at the start."""
    replay = ReplaySettings()
    np.testing.assert_allclose([beta_at(t, 4, replay) for t in range(4)], [0.4, 0.6, 0.8, 1.0])
    assert beta_at(0, 1, replay) == 0.4


def test_effective_sample_size_counts_rows_of_equal_share() -> None:
    """Uniform over 3 of 5 rows is worth 3 rows."""
    assert effective_sample_size(np.array([1, 1, 1, 0, 0]) / 3) == pytest.approx(3.0)


def test_priority_quantiles_are_named_by_level() -> None:
    """Levels are keys; no rows give no quantiles."""
    assert priority_quantiles(np.arange(5.0), (0.0, 0.5, 1.0)) == {"0": 0.0, "0.5": 2.0, "1": 4.0}
    assert priority_quantiles(np.zeros(0)) == {}


def test_plain_draws_stay_inside_where_the_last_rows_have_no_mass() -> None:
    """The definition itself never leaves the rows that have mass."""
    share = np.array([0.1] * 10 + [0.0])
    assert draw_rows(share, np.array([0.0, 1 - 2**-53])).tolist() == [0, 9]
