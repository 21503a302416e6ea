"""The map drawn plainly: one UMAP layout in three dimensions, and its clusters (E24, E26).

The alignment from night to night (E23) has its own place; here each night is a layout of its own with a
fixed seed on one thread, so that equal points give equal coordinates. Below `min_points` points a principal
component projection stands in, and the note says so.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from janus_memory.errors import MapError

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

__all__ = ["MapRequest", "MapResult", "lay_out"]

_AXES = 3
_DBSCAN_MIN_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class MapRequest:
    """What is to be drawn.

    Attributes:
        points: float64 [n, d], standardised.
        seed: of the layout.
        neighbours, epochs: UMAP's; the neighbours are lowered to n - 1 where there are fewer.
        min_points: below it the projection stands in.
        tau_cluster: DBSCAN's radius in map units (E26).
    """

    points: NDArray[np.float64]
    seed: int
    neighbours: int
    epochs: int
    min_points: int
    tau_cluster: float


@dataclass(frozen=True, slots=True)
class MapResult:
    """The map.

    Attributes:
        coordinates: float64 [n, 3], UMAP's kernel units.
        clusters: int64 [n], -1 where a point belongs to none.
        note: what a reader of the map must know; may be empty.
    """

    coordinates: NDArray[np.float64]
    clusters: NDArray[np.int64]
    note: str


def lay_out(request: MapRequest) -> MapResult:
    """Draw the points and cluster the drawing.

    Raises:
        MapError: the points are not finite, or the layout gave values that are not.
    """
    points = request.points
    if points.ndim != 2 or not np.isfinite(points).all():
        raise MapError(
            f"the map needs finite points [n, d], got shape {points.shape}; the last map stays; "
            "look for a schema whose mean is not finite"
        )
    if len(points) < max(request.min_points, _AXES + 2):
        coordinates = _project(points)
        note = f"{len(points)} points: principal components instead of UMAP"
    else:
        coordinates, note = _umap(request), ""
    if not np.isfinite(coordinates).all():
        raise MapError(f"the layout of {len(points)} points is not finite; the last map stays")
    return MapResult(coordinates, _clusters(coordinates, request.tau_cluster), note)


def _import_umap() -> ModuleType:
    """UMAP with its compiled functions kept on disk: 13 s of compiling fall away from all processes but the first.

    The library compiles at the first call in every process and asks numba to keep none of it; a night is a
    process of its own. Where no folder can be written, it compiles as it would by itself.
    """
    import umap  # noqa: PLC0415  (seconds of import; only the map needs it)
    from numba.core.dispatcher import Dispatcher  # noqa: PLC0415  (as umap)

    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "umap"]
    for module in modules:
        for function in vars(module).values():
            if isinstance(function, Dispatcher):
                with contextlib.suppress(RuntimeError):
                    function.enable_caching()
    return cast("ModuleType", umap)


def _umap(request: MapRequest) -> NDArray[np.float64]:
    umap = _import_umap()
    n = len(request.points)
    # The library's own generator takes 32 bits.
    seed = request.seed % (1 << 32)
    with warnings.catch_warnings():
        # It warns that a fixed seed means one thread, which is what is asked for.
        warnings.simplefilter("ignore", UserWarning)
        model = umap.UMAP(
            n_components=_AXES,
            n_neighbors=min(request.neighbours, n - 1),
            n_epochs=request.epochs,
            init="pca",
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(model.fit_transform(request.points.astype(np.float32)), np.float64)


def _project(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The three leading principal components, each with its largest entry positive; [n, 3]."""
    n, d = points.shape
    coordinates = np.zeros((n, _AXES))
    if n < 2:
        return coordinates
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[: min(_AXES, d)]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    coordinates[:, : len(axes)] = centred @ (axes * np.where(signs == 0, 1.0, signs)[:, None]).T
    return coordinates


def _clusters(coordinates: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    from sklearn.cluster import DBSCAN  # noqa: PLC0415  (a second to import; only the map needs it)

    if not len(coordinates):
        return np.zeros(0, np.int64)
    found = DBSCAN(eps=radius, min_samples=_DBSCAN_MIN_SAMPLES).fit_predict(coordinates)
    return np.asarray(found, np.int64)
