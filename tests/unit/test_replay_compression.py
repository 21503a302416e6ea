"""Compressed time (E12) against its definition in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_memory.errors import ConfigError, ReplayError
from janus_memory.replay.compression import compressed

DAYS_104_NS = 2**53
NOW = 1_700_000_000_000_000_000
FACTOR = st.one_of(st.integers(1, 100).map(float), st.floats(0.05, 1e6))
NEARBY = st.lists(st.integers(NOW, NOW + DAYS_104_NS), min_size=1, max_size=30)


def stamps(*times: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(times, np.int64)


def test_a_minute_at_fifteen_times_its_pace_takes_four_seconds() -> None:
    """E12 by hand: rows 0, 60 and 90 s after t0 are replayed 0, 4 and 6 s after it; t0 stays where it is."""
    s = 10**9
    assert compressed(stamps(NOW, NOW + 60 * s, NOW + 90 * s), 15).tolist() == [NOW, NOW + 4 * s, NOW + 6 * s]


@given(NEARBY, FACTOR)
def test_intervals_are_divided_by_c_to_the_nearest_nanosecond(times: list[int], factor: float) -> None:
    """Within 104 days t0 + (t - t0) / C holds exactly but for the division's last bit and half a nanosecond."""
    t0 = min(times)
    for before, after in zip(times, compressed(stamps(*times), factor).tolist(), strict=True):
        exact = t0 + Fraction(before - t0) / Fraction(factor)
        assert abs(after - exact) <= Fraction(1, 2) + (exact - t0) / DAYS_104_NS


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=30), st.floats(1, 1e6))
def test_order_is_kept_and_equal_times_stay_equal(times: list[int], factor: float) -> None:
    """Whatever the span: rows in the order of time are replayed in it, and the earliest stays at its time."""
    after = compressed(stamps(*sorted(times)), factor)
    assert (np.diff(after) >= 0).all()
    assert after[0] == min(times)
    assert len(set(zip(sorted(times), after.tolist(), strict=True))) == len(set(times))


@given(NEARBY, FACTOR)
def test_each_row_keeps_its_place_in_the_argument(times: list[int], factor: float) -> None:
    """A batch is drawn in any order: permuting the rows permutes their replay times."""
    order = np.random.default_rng(len(times)).permutation(len(times))
    given_order = stamps(*times)
    np.testing.assert_array_equal(
        compressed(given_order[order], factor), compressed(given_order, factor)[order]
    )


@given(NEARBY, FACTOR, st.integers(-DAYS_104_NS, DAYS_104_NS))
def test_shifting_all_times_shifts_the_replay(times: list[int], factor: float, shift: int) -> None:
    """The law knows only intervals."""
    before = compressed(stamps(*times), factor)
    np.testing.assert_array_equal(compressed(stamps(*times) + shift, factor), before + shift)


def test_an_origin_of_ones_own() -> None:
    """Rows on both sides of the origin come nearer to it; it may be none of the rows."""
    assert compressed(stamps(NOW - 30, NOW + 60), 15, NOW).tolist() == [NOW - 2, NOW + 4]


def test_one_row_and_none() -> None:
    """A single row is its own origin; no rows give no times."""
    assert compressed(stamps(NOW), 20).tolist() == [NOW]
    assert compressed(np.zeros(0, np.int64), 20).dtype == np.int64
    assert len(compressed(np.zeros(0, np.int64), 20)) == 0


@pytest.mark.parametrize("factor", [0.0, -15.0, float("nan"), float("inf")])
def test_a_compression_that_divides_nothing_is_refused(factor: float) -> None:
    """With and without rows: the refusal depends on the setting alone."""
    for times in (stamps(), stamps(NOW, NOW + 1)):
        with pytest.raises(ConfigError, match="not a positive number"):
            compressed(times, factor)


@pytest.mark.parametrize(
    ("times", "factor", "origin"),
    [
        ((0, 2**62), 1e-3, None),
        ((0, 2**62), 5e-324, None),
        ((-(2**62), 2**62), 15.0, None),
        ((NOW,), 15.0, 2**70),
    ],
)
def test_times_that_do_not_fit_are_refused(times: tuple[int, ...], factor: float, origin: int | None) -> None:
    """Slow motion over centuries, a span or an origin beyond 64 bits: no wrapped timestamps."""
    with pytest.raises(ReplayError, match="64 bits"):
        compressed(stamps(*times), factor, origin)
