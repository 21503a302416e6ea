"""The background: what a state looks like before anything is known of regimes (section 6, `robust`).

Fitted once, from the warm-up rows, and frozen: m0, C0 (mean and covariance of all), S0 (how far a state lies
from its neighbours at other times; the covariance a new schema starts with) and log p0, by which the
threshold of creation is free of d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from janus_memory.errors import InsufficientData, LinalgError
from janus_memory.neocortex.kernels import factorize, squared_distances
from janus_memory.neocortex.scatters import neighbour_scatter, scatter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import NeocortexSettings
    from janus_memory.store.arrays import Arrays

__all__ = ["Background"]

# Where every neighbour is a copy of the state, S0 is this share of C0.
_COPIES = 1e-3


@dataclass(frozen=True, slots=True)
class Background:
    """Frozen after the warm-up; stored with the memory, never computed again.

    Attributes:
        m0: float64 [d]. c0, s0: float64 [d, d].
        c0_factor, s0_factor: float64 [d, d], their upper Cholesky factors.
    """

    m0: NDArray[np.float64]
    c0: NDArray[np.float64]
    s0: NDArray[np.float64]
    c0_factor: NDArray[np.float64]
    s0_factor: NDArray[np.float64]

    @classmethod
    def fit(
        cls, x: NDArray[np.float64], timestamps: NDArray[np.int64], settings: NeocortexSettings
    ) -> Background:
        """Fit to standardised states in total order.

        At most `frozen_rows` evenly strided rows are used; the gap between neighbours is counted in the
        distinct timestamps of all rows given. In the spec mode S0 is eps I.

        Args:
            x: float64 [n, d].
            timestamps: int64 [n], UTC nanoseconds.
            settings: neighbour_gap, neighbours, frozen_rows, mode, spec_eps.

        Raises:
            InsufficientData: fewer than 2 rows.
            LinalgError: no row differs from another, or a value is not finite.
        """
        n, d = x.shape
        if n < 2:
            raise InsufficientData(
                f"the background needs 2 rows, got {n}; nothing was changed; wait for more rows"
            )
        if not np.isfinite(x).all():
            raise LinalgError(
                "the background got states that are not finite; nothing was changed; check the scale"
            )
        _, moment = np.unique(timestamps, return_inverse=True)
        rows = np.linspace(0, n - 1, min(n, settings.frozen_rows)).astype(np.intp)
        chosen = np.ascontiguousarray(x[rows], np.float64)
        m0 = chosen.mean(axis=0)
        c0 = np.empty((d, d))
        scatter(chosen, m0, c0)
        c0 += 1e-3 * np.trace(c0) / d * np.eye(d)
        if settings.mode == "spec":
            s0 = settings.spec_eps * np.eye(d)
        else:
            s0 = _local(chosen, moment[rows].astype(np.int64), c0, settings)
        return cls(m0, c0, s0, _factor(c0, "C0"), _factor(s0, "S0"))

    def log_density(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log p0(x) = log t_{d+3}(x; m0, C0), C0 being the scale matrix; float64 [n]."""
        d = len(self.m0)
        nu = d + 3.0
        q = squared_distances(self.c0_factor, self.m0, np.ascontiguousarray(x, np.float64))
        log_det = 2.0 * np.log(np.diag(self.c0_factor)).sum()
        constant = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - d / 2 * math.log(nu * math.pi)
        return cast("NDArray[np.float64]", constant - 0.5 * log_det - 0.5 * (nu + d) * np.log1p(q / nu))

    def snapshot(self) -> Arrays:
        """Arrays by name."""
        return {
            "m0": self.m0,
            "c0": self.c0,
            "s0": self.s0,
            "c0_factor": self.c0_factor,
            "s0_factor": self.s0_factor,
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Background:
        """The inverse of `snapshot`."""
        names = ("m0", "c0", "s0", "c0_factor", "s0_factor")
        return cls(*(np.array(arrays[name], np.float64, order="C") for name in names))


def _local(
    x: NDArray[np.float64], moment: NDArray[np.int64], c0: NDArray[np.float64], settings: NeocortexSettings
) -> NDArray[np.float64]:
    """S0: half the mean outer product of differences to the nearest neighbours in other times, shrunk."""
    d = x.shape[1]
    s0 = np.zeros((d, d))
    pairs = neighbour_scatter(x, moment, settings.neighbour_gap, settings.neighbours, s0)
    if pairs == 0:
        s0 = c0.copy()
    elif np.trace(s0) <= 1e-12 * np.trace(c0):
        s0 = _COPIES * c0
    return cast(
        "NDArray[np.float64]",
        0.9 * s0 + 0.1 * np.diag(np.diag(s0)) + 1e-6 * np.trace(s0) / d * np.eye(d),
    )


def _factor(matrix: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    factor = np.empty_like(matrix)
    if not factorize(matrix, factor, 0.0):
        raise LinalgError(
            f"{name} of the background is not positive definite; nothing was changed; "
            "the rows given may all be equal"
        )
    return factor
