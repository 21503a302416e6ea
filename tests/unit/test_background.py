"""The frozen background of a market."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import multivariate_t

from janus_memory.config import NeocortexSettings
from janus_memory.errors import InsufficientData, LinalgError
from janus_memory.neocortex.background import Background
from tests.unit.schema_rows import ROBUST, SPEC, planted, times

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _literal_s0(x: NDArray[np.float64], moment: list[int], gap: int, most: int) -> NDArray[np.float64]:
    """S0 as its definition reads, before shrinking."""
    outer = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if abs(moment[i] - moment[j]) >= gap]
        others.sort(key=lambda j: (float(((x[i] - x[j]) ** 2).sum()), j))
        outer += [np.outer(x[i] - x[j], x[i] - x[j]) for j in others[:most]]
    return 0.5 * np.asarray(np.mean(outer, axis=0))


@pytest.mark.parametrize("agents", [1, 3])
def test_fit_follows_the_definition(agents: int) -> None:
    """m0, C0 and S0 of 60 rows, also where several agents share a bar: the gap counts distinct timestamps."""
    x, _ = planted(60, 4, 3)
    time = np.repeat(times(60 // agents) * np.arange(60 // agents), agents)
    fitted = Background.fit(x, time, ROBUST)
    raw = _literal_s0(x, [i // agents for i in range(60)], 5, 10)
    s0 = 0.9 * raw + 0.1 * np.diag(np.diag(raw)) + 1e-6 * np.trace(raw) / 4 * np.eye(4)
    c0 = np.cov(x.T, bias=True)
    np.testing.assert_allclose(fitted.m0, x.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(fitted.c0, c0 + 1e-3 * np.trace(c0) / 4 * np.eye(4), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(fitted.s0, s0, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(fitted.s0_factor.T @ fitted.s0_factor, s0, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("d", [1, 7, 33])
def test_log_density_is_the_t_distribution(d: int) -> None:
    """Log p0 = log t_{d+3}(x; m0, C0) with C0 as the scale matrix."""
    x, _ = planted(300, d, 3)
    fitted = Background.fit(x, times(300), ROBUST)
    wanted = multivariate_t(fitted.m0, fitted.c0, df=d + 3).logpdf(x)
    np.testing.assert_allclose(fitted.log_density(x), wanted, rtol=1e-10)


def test_the_spec_mode_starts_from_eps() -> None:
    """There S0 is eps I."""
    x, _ = planted(50, 3, 2)
    np.testing.assert_array_equal(Background.fit(x, times(50), SPEC).s0, 0.01 * np.eye(3))


def test_neighbours_that_cannot_be_found_leave_the_covariance_of_all() -> None:
    """Where every row has the same time, S0 is C0, shrunk."""
    x, _ = planted(50, 3, 2)
    fitted = Background.fit(x, np.zeros(50, np.int64), ROBUST)
    np.testing.assert_allclose(np.diag(fitted.s0), np.diag(fitted.c0), rtol=1e-5)


def test_copies_at_other_times_leave_a_covariance_to_start_from() -> None:
    """Each state comes twenty times: S0 would be zero and is a thousandth of C0."""
    x, _ = planted(10, 3, 2)
    fitted = Background.fit(np.tile(x, (20, 1)), times(200), NeocortexSettings(neighbour_gap=1))
    np.testing.assert_allclose(np.diag(fitted.s0), 1e-3 * np.diag(fitted.c0), rtol=1e-5)


def test_at_most_the_frozen_rows_are_used_and_the_gap_stays_that_of_all() -> None:
    """With every fifth of the rows, five moments are one row apart: neighbours as with a gap of one."""
    x, _ = planted(200, 3, 2)
    few = NeocortexSettings(frozen_rows=40)
    rows = np.linspace(0, 199, 40).astype(np.intp)
    raw = _literal_s0(x[rows], rows.tolist(), 5, 10)
    s0 = Background.fit(x, times(200), few).s0
    np.testing.assert_allclose(np.diag(s0), np.diag(raw) + 1e-6 * np.trace(raw) / 3, rtol=1e-10)


def test_what_cannot_be_fitted_is_refused() -> None:
    """One row, equal rows, values that are not finite."""
    with pytest.raises(InsufficientData, match="got 1"):
        Background.fit(np.ones((1, 2)), times(1), ROBUST)
    with pytest.raises(LinalgError, match="all be equal"):
        Background.fit(np.ones((9, 2)), times(9), ROBUST)
    with pytest.raises(LinalgError, match="not finite"):
        Background.fit(np.array([[1.0], [np.nan]]), times(2), ROBUST)


def test_restore_undoes_snapshot() -> None:
    """Densities are the same bytes."""
    x, _ = planted(100, 5, 2)
    fitted = Background.fit(x, times(100), ROBUST)
    again = Background.restore(fitted.snapshot())
    assert again.log_density(x).tobytes() == fitted.log_density(x).tobytes()
    assert again.s0.tobytes() == fitted.s0.tobytes()
