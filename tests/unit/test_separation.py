"""Pattern separation and the sparse code."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from janus_memory.config import HippocampusSettings
from janus_memory.hippocampus.separation import COSINE_EDGES, Separation
from janus_memory.hippocampus.sparse import active_units, top_k
from janus_memory.store.arrays import array_digest

SETTINGS = HippocampusSettings()


def regimes(n: int, d: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Standardised states of eight planted regimes."""
    rng = np.random.default_rng(seed)
    x = 2 * rng.standard_normal((8, d))[rng.integers(0, 8, n)] + 0.3 * rng.standard_normal((n, d))
    return np.asarray((x - x.mean(axis=0)) / x.std(axis=0))


# Few distinct values, so that ties are the rule.
ties = st.integers(1, 12).flatmap(
    lambda m: st.tuples(
        arrays(
            np.float32,
            st.tuples(st.integers(0, 6), st.just(m)),
            elements=st.sampled_from([-1, -0.0, 0, 1, 2]),
        ),
        st.integers(1, m),
    )
)


@given(ties)
def test_the_k_strongest_survive_ties_by_index(
    case: tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], int],
) -> None:
    """Against the definition: sort by (value falling, index rising), keep k, drop what is not positive."""
    h, k = case
    expected = np.zeros_like(h)
    for row in range(len(h)):
        for unit in sorted(range(h.shape[1]), key=lambda u: (-h[row, u], u))[:k]:
            if h[row, unit] > 0:
                expected[row, unit] = h[row, unit]
    code = top_k(h, k)
    assert code.tobytes() == expected.tobytes()
    assert code.dtype == np.float32


@given(st.integers(0, 1000))
def test_exactly_k_where_enough_are_positive(seed: int) -> None:
    """No row keeps more or fewer than k."""
    h = np.random.default_rng(seed).random((5, 17)).astype(np.float32) + 1
    assert (np.count_nonzero(top_k(h, 4), axis=1) == 4).all()


@pytest.mark.parametrize(
    ("rho", "n", "k"), [(0.1, 256, 26), (0.05, 48, 3), (0.15, 4, 1), (0.1, 1, 1), (1.0, 8, 8)]
)
def test_active_units_by_hand(rho: float, n: int, k: int) -> None:
    """K = ceil(rho d_h)."""
    assert active_units(rho, n) == k


def test_initial_weights_have_the_stated_variance() -> None:
    """W ~ N(0, 2 / (d_s + d_h)) (E3), equal for equal seeds."""
    encoder = Separation.init(40, SETTINGS, 5)
    assert encoder.weights.shape == (160, 40)
    assert encoder.weights.dtype == np.float32
    assert encoder.weights.var() == pytest.approx(2 / 200, rel=0.05)
    assert not encoder.bias.any()
    assert encoder.weights.tobytes() == Separation.init(40, SETTINGS, 5).weights.tobytes()
    assert encoder.weights.tobytes() != Separation.init(40, SETTINGS, 6).weights.tobytes()


def test_training_separates_dissimilar_states_and_not_similar_ones() -> None:
    """Overlap falls on planted regimes, W nears orthogonality, codes do not die."""
    x = regimes(2000, 12, 0)
    _, report = Separation.init(12, SETTINGS, 1).train(x, SETTINGS, 2)
    assert report.overlap_after < 0.7 * report.overlap_before
    assert report.jaccard_after[-1] > 0.9 * report.jaccard_before[-1]
    assert report.orthogonality_after < 0.1 * report.orthogonality_before
    assert report.active_after > 0.9 * report.active_before


def test_the_separation_term_does_what_orthogonality_alone_does_not() -> None:
    """With its weight at zero the overlap stays higher."""
    x = regimes(2000, 12, 0)
    start = Separation.init(12, SETTINGS, 1)
    _, both = start.train(x, SETTINGS, 2)
    _, alone = start.train(x, msgspec.structs.replace(SETTINGS, separation_weight=0.0), 2)
    assert both.overlap_after < 0.8 * alone.overlap_after


def test_training_twice_gives_equal_bits() -> None:
    """The seed decides, nothing else."""
    x, start = regimes(300, 5, 3), Separation.init(5, SETTINGS, 1)
    first, second, other = (start.train(x, SETTINGS, seed) for seed in (4, 4, 5))
    assert array_digest(first[0].snapshot()) == array_digest(second[0].snapshot())
    assert first[1] == second[1]
    assert array_digest(first[0].snapshot()) != array_digest(other[0].snapshot())


@given(n=st.integers(0, 12), d=st.integers(1, 9), seed=st.integers(0, 50))
def test_a_batch_equals_its_rows(n: int, d: int, seed: int) -> None:
    """A row's code has the same bits in every batch and memory layout."""
    x = np.random.default_rng(seed).standard_normal((n, d))
    encoder = Separation.init(d, SETTINGS, seed)
    code = encoder.code(x)
    assert code.shape == (n, 4 * d)
    assert b"".join(encoder.code(x[i : i + 1]).tobytes() for i in range(n)) == code.tobytes()
    assert encoder.code(np.asfortranarray(x)).tobytes() == code.tobytes()


def test_hidden_is_the_formula() -> None:
    """H = ReLU(W x + b) (E2) with a bias that is not zero."""
    encoder = Separation(
        np.array([[1, 0], [0, 1], [-1, -1]], np.float32), np.array([0, -1, 0.5], np.float32), 1
    )
    h = encoder.hidden(np.array([[2.0, 3.0], [-1.0, -1.0]]))
    assert h.tolist() == [[2, 2, 0], [0, 0, 2.5]]
    assert encoder.code(np.array([[2.0, 3.0]])).tolist() == [[2, 0, 0]]


@pytest.mark.parametrize("n", [0, 1])
def test_without_a_pair_nothing_is_trained(n: int) -> None:
    """Zero and one row leave W as it is."""
    start = Separation.init(3, SETTINGS, 1)
    trained, report = start.train(np.ones((n, 3)), SETTINGS, 2)
    assert array_digest(trained.snapshot()) == array_digest(start.snapshot())
    assert report.overlap_before == report.overlap_after == 0
    assert all(math.isnan(value) for value in report.jaccard_after)
    assert len(report.jaccard_after) == len(COSINE_EDGES) - 1


def test_equal_and_zero_rows_stay_finite() -> None:
    """Rows without a direction or a difference give no NaN."""
    x = np.zeros((10, 4))
    x[5:] = 1.0
    trained, report = Separation.init(4, SETTINGS, 1).train(x, SETTINGS, 2)
    assert np.isfinite(trained.weights).all()
    assert math.isfinite(report.overlap_after)


def test_overlap_by_hand() -> None:
    """Two states at right angles with disjoint codes, two opposite ones with the same code."""
    zero = msgspec.structs.replace(SETTINGS, separation_steps=0)
    disjoint = Separation(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), 1)
    _, report = disjoint.train(np.array([[1.0, 0.0], [0.0, 1.0]]), zero, 0)
    assert report.overlap_before == 0
    assert report.jaccard_before[2] == 0
    merged = Separation(np.zeros((2, 2), np.float32), np.array([1, 0], np.float32), 1)
    _, report = merged.train(np.array([[1.0, 0.0], [-1.0, 0.0]]), zero, 0)
    assert report.overlap_before == 1
    assert report.jaccard_before[0] == 1
    assert report.orthogonality_before == 2


def test_snapshot_then_restore_is_identity() -> None:
    """W, b and k come back."""
    encoder = Separation.init(3, SETTINGS, 1)
    back = Separation.restore(encoder.snapshot())
    assert array_digest(back.snapshot()) == array_digest(encoder.snapshot())
    assert back.k == encoder.k
