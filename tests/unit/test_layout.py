"""The map: a fixed seed gives a fixed picture, planted clusters stay clusters, small inputs are drawn plainly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from janus_memory.atlas.layout import MapRequest, lay_out
from janus_memory.errors import MapError


def request(points: np.ndarray, seed: int = 7) -> MapRequest:
    return MapRequest(points, seed=seed, neighbours=15, epochs=200, min_points=10, tau_cluster=0.5)


def planted(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three well separated clouds of 40 points in 5 dimensions."""
    centres = np.array([[0.0] * 5, [30.0] * 5, [-30.0, 30.0, -30.0, 30.0, -30.0]])
    labels = np.repeat(np.arange(3), 40)
    return centres[labels] + rng.normal(size=(120, 5)), labels


def test_layout_separates_planted_clouds_and_repeats_itself() -> None:
    """Every drawn point is nearer to its own cloud's centre; a second drawing is equal bit for bit."""
    points, labels = planted(np.random.default_rng(0))
    drawn = lay_out(request(points))
    centres = np.stack([drawn.coordinates[labels == k].mean(axis=0) for k in range(3)])
    distance = np.linalg.norm(drawn.coordinates[:, None] - centres[None], axis=2)
    assert (distance.argmin(axis=1) == labels).all()
    clustered = drawn.clusters >= 0
    assert clustered.mean() > 0.9
    for cluster in range(drawn.clusters.max() + 1):
        assert len(set(labels[drawn.clusters == cluster])) == 1
    again = lay_out(request(points))
    assert again.coordinates.tobytes() == drawn.coordinates.tobytes()
    assert drawn.note == ""
    assert lay_out(request(points, 8)).coordinates.tobytes() != drawn.coordinates.tobytes()


@pytest.mark.parametrize("n", [0, 1, 2, 4, 9])
def test_few_points_are_projected_with_a_note(n: int) -> None:
    """Principal components keep pairwise distances when the points span at most three dimensions."""
    rng = np.random.default_rng(n)
    flat = rng.normal(size=(n, 3)) @ np.linalg.qr(rng.normal(size=(6, 6)))[0][:3]
    drawn = lay_out(request(flat))
    assert drawn.coordinates.shape == (n, 3)
    assert drawn.clusters.shape == (n,)
    assert f"{n} points" in drawn.note
    expected = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    found = np.linalg.norm(drawn.coordinates[:, None] - drawn.coordinates[None], axis=2)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_points_of_two_dimensions_are_projected_into_three() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    drawn = lay_out(request(points)).coordinates
    assert (drawn[:, 2] == 0).all()
    assert np.ptp(drawn[:, 0]) > 1


def test_points_that_are_not_finite_are_refused() -> None:
    """The message says that the last map stays."""
    bad = dataclasses.replace(request(np.zeros((20, 3))), points=np.full((20, 3), np.nan))
    with pytest.raises(MapError, match="last map stays"):
        lay_out(bad)
