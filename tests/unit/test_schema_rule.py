"""The rule of belonging on planted regimes: what the count in the score is for."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from benchmarks.schema_nights import sleep_through
from benchmarks.schema_streams import Plan, Planted, plant
from tests.unit.schema_rows import ROBUST, times


def _lived(stream: Planted) -> tuple[float, int]:
    """(index of the online labels, schemas of ten points or more) after nights of 1 000 states."""
    x = (stream.x - stream.x[:2000].mean(axis=0)) / stream.x[:2000].std(axis=0)
    slept = sleep_through(x, times(len(x)), range(1000, len(x), 1000), ROBUST)
    large = int((slept.bank.num_points >= 10).sum())
    return float(adjusted_rand_score(stream.which, slept.labels)), large


def test_few_regimes_in_few_dimensions_are_found() -> None:
    """With the density alone as the score the same stream reaches 0.976."""
    index, large = _lived(plant(Plan(8, 5), 115, 4000))
    assert index > 0.98
    assert large == 5


@pytest.mark.parametrize("d", [1, 8])
def test_one_regime_stays_one_schema(d: int) -> None:
    rng = np.random.default_rng(d)
    stream = plant(Plan(d, 2), d, 3000)
    alone = Planted(
        stream.plan, rng.normal(size=(3000, d)), np.zeros(3000, np.intp), stream.held_out, stream.log_density
    )
    assert _lived(alone)[1] == 1
