"""A million updates: covariances stay positive definite, factors stay those of their covariances."""

from __future__ import annotations

import numpy as np
import pytest

from janus_memory.neocortex.background import Background
from janus_memory.neocortex.bank import SchemaBank
from tests.unit.schema_rows import ROBUST, night, planted, times

N, D, AT_ONCE = 1_000_000, 16, 50_000


@pytest.mark.slow
def test_a_million_updates_leave_every_covariance_positive_definite() -> None:
    """Regimes in runs; halfway one feature freezes, so that one direction of each covariance goes to its floor."""
    x, _ = planted(AT_ONCE, D, 6)
    background = Background.fit(x[:2000], times(2000), ROBUST)
    bank = SchemaBank.empty(D)
    for done in range(0, N, AT_ONCE):
        if done == N // 2:
            x = x.copy()
            x[:, 3] = 0.0
        night(bank, background, x, time=times(AT_ONCE) + done * 10**9)
    assert bank.num_points.sum() == N
    c = bank.columns
    floor = 1e-9 * np.trace(background.s0) / D
    for k in range(bank.size):
        assert np.linalg.eigvalsh(c.covariance[k]).min() > 0.4 * floor
        # Since the last fresh factor there were at most 63 updates.
        scale = np.abs(c.covariance[k]).max()
        np.testing.assert_allclose(c.factor[k].T @ c.factor[k], c.covariance[k], rtol=0, atol=1e-11 * scale)
