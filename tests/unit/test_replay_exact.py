"""The exact refresh against E7 and E8 in plain numpy, whatever the threads; and the vector power against longer numbers."""

from __future__ import annotations

from types import ModuleType
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from janus_memory.config import ReplaySettings
from janus_memory.errors import ConfigError, InsufficientData, ReplayError
from janus_memory.replay.law import exact_arrays, exact_kernels
from janus_memory.replay.law.exact import _shares, refresh_and_draw
from janus_memory.replay.law.exact_kernels import CHUNK
from janus_memory.replay.law.laws import law
from janus_memory.replay.law.power import power, raised
from janus_memory.replay.law.sum_tree import Backend
from janus_memory.replay.priorities import priorities
from tests.unit.replay_oracle import boundary_uniforms, wrong_draws

_F4 = NDArray[np.float32]
_BACKENDS: tuple[Backend, ...] = get_args(Backend)
_EDGES = np.array([0.0, 5e-324, 0.5, 1 - 2.0**-53])

backends = pytest.mark.parametrize("backend", _BACKENDS)


def _columns(rng: np.random.Generator, n: int) -> tuple[_F4, _F4, _F4]:
    td = rng.normal(size=n) * 10 ** rng.uniform(-6, 6, n)
    return td.astype(np.float32), rng.random(n).astype(np.float32), rng.normal(size=n).astype(np.float32)


def _settings(**changes: Any) -> ReplaySettings:
    return msgspec.structs.replace(ReplaySettings(), **changes)


@backends
@pytest.mark.parametrize("n", [1, 2, 16, 255, 10_000, 70_003])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_draws_equal_a_cumulative_sum_of_the_law(backend: Backend, n: int, alpha: float) -> None:
    """Rows in their own order, P of the drawn, and what all P come to; the inputs stay as they were."""
    rng = np.random.default_rng(n)
    replay = _settings(alpha=alpha)
    columns = _columns(rng, n)
    kept = [column.copy() for column in columns]
    uniforms = np.concatenate([_EDGES, rng.random(3_000)])
    drawn = refresh_and_draw(*columns, uniforms, replay, backend=backend)
    nothing = np.zeros(n, np.int64)
    share = law("prioritized_loss", priorities(*columns, replay), nothing.astype(np.int32), nothing, replay)
    assert wrong_draws(share, np.arange(n, dtype=np.int32), uniforms, drawn.slots) == 0
    np.testing.assert_allclose(drawn.probability, share[drawn.slots], rtol=1e-12)
    assert drawn.effective_sample_size == pytest.approx(1 / (share * share).sum(), rel=1e-12)
    assert drawn.least == pytest.approx(share.min(), rel=1e-12)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(columns, kept, strict=True))


def test_the_number_of_threads_changes_no_bit() -> None:
    """130 007 rows by one, two and three threads."""
    rng = np.random.default_rng(2)
    columns, uniforms = _columns(rng, 130_007), rng.random(500)
    first = refresh_and_draw(*columns, uniforms, ReplaySettings())
    for threads in (2, 3):
        again = refresh_and_draw(*columns, uniforms, ReplaySettings(), threads=threads)
        for one, other in zip(first, again, strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@backends
def test_zero_priorities(backend: Backend) -> None:
    """Without a floor: all zero is uniform; beside a positive one a zero is never drawn, not even at the ends."""
    replay = _settings(priority_floor=0.0)
    nothing = np.zeros(40, np.float32)
    uniforms = (np.arange(400) + 0.5) / 400
    drawn = refresh_and_draw(nothing, nothing, nothing, uniforms, replay, backend=backend)
    assert np.bincount(drawn.slots, minlength=40).tolist() == [10] * 40
    assert drawn.probability.tolist() == [1 / 40] * 400
    assert (drawn.effective_sample_size, drawn.least) == (40, 1 / 40)
    td = nothing.copy()
    td[[3, 20]] = [-1e-30, 1e-30]
    drawn = refresh_and_draw(
        td, nothing, nothing, np.concatenate([_EDGES, uniforms]), replay, backend=backend
    )
    assert set(drawn.slots.tolist()) == {3, 20}
    assert (drawn.effective_sample_size, drawn.least) == pytest.approx((2, 0.5))


@backends
@pytest.mark.parametrize("n", [5_000, 70_000])
def test_at_the_boundaries_no_row_without_probability_is_drawn(backend: Backend, n: int) -> None:
    """Blocks that end in zeros, uniforms beside every boundary, whether masses are kept or computed again."""
    td, _, _ = _columns(np.random.default_rng(7), n)
    td[np.arange(n) % 8 > 4] = 0.0
    nothing = np.zeros(n, np.float32)
    replay = _settings(priority_floor=0.0)
    order = np.arange(n, dtype=np.int32)
    share = law("prioritized_loss", np.abs(td).astype(np.float64), order, order.astype(np.int64), replay)
    uniforms = boundary_uniforms(share, order)
    drawn = refresh_and_draw(td, nothing, nothing, uniforms, replay, backend=backend).slots
    assert (share[drawn] > 0).all()
    assert wrong_draws(share, order, uniforms, drawn) == 0


@pytest.mark.parametrize("steps", [exact_kernels, exact_arrays])
def test_a_target_that_rounds_to_its_blocks_sum_stays_inside(steps: ModuleType) -> None:
    """Block 0 holds 1.5 e, block 1 holds v = 1 + 2 e, then zeros: u lands on 1 + 3 e, less 1.5 e rounds to v."""
    e = 2.0**-52
    td, violation, reward = (np.zeros(16, np.float32) for _ in range(3))
    td[8], violation[[0, 8]] = 1, [0.75, 1]
    totals, drawn, probability = np.zeros(2), np.zeros(1, np.int32), np.zeros(1)
    rows = (td, violation, reward, 2 * e, 0.0, 0.0, 1.0, totals, np.zeros(0))
    steps.refresh(*rows, np.zeros((1, 2)), 0, 16)
    assert totals.tolist() == [1.5 * e, 1 + 2 * e]
    assert steps.locate(*rows, np.array([1 - e]), drawn, probability) == 1 + 4 * e
    assert drawn.tolist() == [8]


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_share_whole_chunks(threads: int) -> None:
    """No two threads write into one chunk's numbers, and all rows are somebody's."""
    shares = _shares(300_007, threads)
    assert len(shares) == threads
    assert [start % CHUNK for start, _ in shares] == [0] * threads
    assert [0, *(stop for _, stop in shares)] == [*(start for start, _ in shares), 300_007]


@backends
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_numbers_that_are_none_are_refused(backend: Backend, bad: float, column: int) -> None:
    """The row is named."""
    columns = [np.ones(50, np.float32) for _ in range(3)]
    columns[column][37] = bad
    with pytest.raises(ReplayError, match="row 37 has TD error"):
        refresh_and_draw(
            columns[0], columns[1], columns[2], np.array([0.5]), ReplaySettings(), backend=backend
        )


@backends
def test_what_cannot_be_drawn_is_refused(backend: Backend) -> None:
    """No rows, a uniform of 1, another strategy."""
    one, none = np.ones(1, np.float32), np.zeros(0, np.float32)
    u = np.array([0.5])
    with pytest.raises(InsufficientData, match="no rows"):
        refresh_and_draw(none, none, none, u, ReplaySettings(), backend=backend)
    for value in (1.0, -1e-9, np.nan):
        with pytest.raises(ReplayError, match=r"\[0, 1\)"):
            refresh_and_draw(one, one, one, np.array([value]), ReplaySettings(), backend=backend)
    with pytest.raises(ConfigError, match="not by uniform"):
        refresh_and_draw(one, one, one, u, _settings(strategy="uniform"), backend=backend)


@njit(cache=True)  # type: ignore[untyped-decorator]  # numba ships no types
def _powers(x: NDArray[np.float64], alpha: float, out: NDArray[np.float64]) -> None:
    for i in range(x.size):
        out[i] = power(x[i], alpha)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.6, 1.0])
def test_power_to_fourteen_digits(alpha: float) -> None:
    """Over the whole range of priorities; exact at powers of two with alpha 1, 1 for alpha 0, the same bits in numpy."""
    x = 10 ** np.random.default_rng(5).uniform(-150, 150, 100_000)
    out = np.empty_like(x)
    _powers(x, alpha, out)
    expected = np.power(x.astype(np.longdouble), np.longdouble(alpha))
    assert np.abs(out / expected - 1).max() < 1e-14
    assert raised(x, alpha).tobytes() == out.tobytes()
    twos = 2.0 ** np.arange(-500, 500)
    out = np.empty_like(twos)
    _powers(twos, alpha, out)
    if alpha in {0.0, 1.0}:
        assert out.tolist() == (twos**alpha).tolist()
