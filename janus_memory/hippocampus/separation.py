"""Pattern separation (E2-E4): h = ReLU(W x + b), trained so that dissimilar states share few active units.

The loss is lambda_ortho ||W^T W - I||_F^2 (E4) plus a separation term: the mean over pairs of a batch of
(1 - cos(x_i, x_j)) / 2 times cos(c_i, c_j), c the sparse code. Only W is trained (SPEC 2.2): a trained b would
find the empty code, which overlaps with nothing and says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from janus_memory.hippocampus.sparse import active_units, top_k

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from janus_memory.config import HippocampusSettings
    from janus_memory.store.arrays import Arrays

__all__ = ["COSINE_EDGES", "Separation", "SeparationReport"]

# Bins of the report: mean Jaccard of active units against the cosine of the inputs.
COSINE_EDGES = (-1.0, -0.5, 0.0, 0.5, 1.0)
_REPORT_ROWS = 512
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class SeparationReport:
    """What training did; all numbers on the same evenly strided rows.

    Attributes:
        overlap_before, overlap_after: mean Jaccard of active units over pairs, each pair weighted by its
            dissimilarity (1 - cosine) / 2; 0 where there is no pair.
        jaccard_before, jaccard_after: mean Jaccard in each bin of `COSINE_EDGES`; NaN in an empty bin.
        orthogonality_before, orthogonality_after: ||W^T W - I||_F^2.
        active_before, active_after: mean number of active units of a row.
    """

    overlap_before: float
    overlap_after: float
    jaccard_before: tuple[float, ...]
    jaccard_after: tuple[float, ...]
    orthogonality_before: float
    orthogonality_after: float
    active_before: float
    active_after: float


@dataclass(frozen=True, slots=True)
class Separation:
    """The encoder's state.

    Attributes:
        weights: W, float32 [d_h, d].
        bias: b, float32 [d_h].
        k: units of a code that survive (E6).
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    k: int

    @classmethod
    def init(cls, d: int, settings: HippocampusSettings, seed: int) -> Separation:
        """W ~ N(0, 2 / (d_s + d_h)) (E3), b = 0, d_h = expansion * d."""
        n_units = settings.expansion * d
        deviation = np.sqrt(2.0 / (d + n_units))
        weights = deviation * np.random.default_rng(seed).standard_normal((n_units, d))
        return cls(
            weights.astype(np.float32),
            np.zeros(n_units, np.float32),
            active_units(settings.rho, n_units),
        )

    def hidden(self, x: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """The hidden layer h = ReLU(W x + b) (E2), float32 [n, d_h]; a row's bits do not depend on the other rows."""
        x = np.ascontiguousarray(x, np.float32)
        # einsum and not a matrix product: BLAS changes last bits with the batch and the number of threads.
        h: NDArray[np.float32] = np.einsum("nd,hd->nh", x, self.weights, optimize=False)
        return np.asarray(np.maximum(h + self.bias, np.float32(0)), np.float32)

    def code(self, x: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """The sparse code c = TopK(h, k) (E5) of standardised states [n, d]; float32 [n, d_h]."""
        return top_k(self.hidden(x), self.k)

    def train(
        self, x: NDArray[np.float64], settings: HippocampusSettings, seed: int
    ) -> tuple[Separation, SeparationReport]:
        """Train W on a night's standardised states.

        Args:
            x: float64 [n, d]; with fewer than two rows there is no pair and W stays.
            settings: weights of the two terms, steps, batch and rate.
            seed: decides the batches.

        Returns:
            The trained encoder, and what training did.
        """
        trained = self if len(x) < 2 else self._trained(x, settings, seed)
        strided = x[np.linspace(0, len(x) - 1, min(len(x), _REPORT_ROWS)).astype(np.intp)]
        before, after = _overlap(self, strided), _overlap(trained, strided)
        return trained, SeparationReport(
            overlap_before=before[0],
            overlap_after=after[0],
            jaccard_before=before[1],
            jaccard_after=after[1],
            orthogonality_before=_orthogonality(self.weights),
            orthogonality_after=_orthogonality(trained.weights),
            active_before=before[2],
            active_after=after[2],
        )

    def _trained(self, x: NDArray[np.float64], settings: HippocampusSettings, seed: int) -> Separation:
        shape = (settings.separation_steps, min(len(x), settings.separation_batch))
        batches = np.random.default_rng(seed).integers(0, len(x), shape)
        weights = _descend(
            jnp.asarray(self.weights),
            jnp.asarray(self.bias),
            jnp.asarray(x, jnp.float32),
            jnp.asarray(batches, jnp.int32),
            ortho=jnp.float32(settings.lambda_ortho),
            separate=jnp.float32(settings.separation_weight),
            rate=jnp.float32(settings.separation_rate),
            k=self.k,
        )
        return Separation(np.array(weights), self.bias, self.k)

    def snapshot(self) -> Arrays:
        """W, b and k."""
        return {"weights": self.weights, "bias": self.bias, "k": np.array(self.k, np.int64)}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]]) -> Separation:
        """The inverse of `snapshot`."""
        return cls(arrays["weights"], arrays["bias"], int(arrays["k"]))


def _loss(
    weights: jax.Array, bias: jax.Array, x: jax.Array, *, ortho: jax.Array, separate: jax.Array, k: int
) -> jax.Array:
    """L_ortho (E4) plus the separation term, on one batch x [B, d]."""
    gram = weights.T @ weights - jnp.eye(weights.shape[1])
    h = jax.nn.relu(x @ weights.T + bias)
    weakest = jax.lax.stop_gradient(jax.lax.top_k(h, k)[0][:, -1:])
    code = _unit(jnp.where(h >= weakest, h, 0.0))
    state = _unit(x)
    dissimilar = (1.0 - state @ state.T) / 2.0
    overlap = (dissimilar * (code @ code.T)).mean()
    return ortho * (gram**2).sum() + separate * overlap


def _unit(rows: jax.Array) -> jax.Array:
    return rows / jnp.sqrt((rows**2).sum(axis=1, keepdims=True) + _TINY)


@partial(jax.jit, static_argnames="k")
def _descend(
    weights: jax.Array,
    bias: jax.Array,
    x: jax.Array,
    batches: jax.Array,
    *,
    ortho: jax.Array,
    separate: jax.Array,
    rate: jax.Array,
    k: int,
) -> jax.Array:
    """Adam on W over the batches [steps, B] of row numbers, compiled as one loop."""
    optimiser = optax.adam(rate)

    def step(carry: tuple[jax.Array, Any], rows: jax.Array) -> tuple[tuple[jax.Array, Any], None]:
        current, state = carry
        gradient = jax.grad(_loss)(current, bias, x[rows], ortho=ortho, separate=separate, k=k)
        change, state = optimiser.update(gradient, state)
        return (current + change, state), None

    (weights, _), _ = jax.lax.scan(step, (weights, optimiser.init(weights)), batches)
    return weights


def _orthogonality(weights: NDArray[np.float32]) -> float:
    w = weights.astype(np.float64)
    return float(((w.T @ w - np.eye(w.shape[1])) ** 2).sum())


def _overlap(encoder: Separation, x: NDArray[np.float64]) -> tuple[float, tuple[float, ...], float]:
    """Weighted overlap, Jaccard by cosine bin and mean active units of the codes of x [n, d]."""
    active = (encoder.code(x) > 0).astype(np.float64)
    size = active.sum(axis=1)
    first, second = np.triu_indices(len(x), 1)
    shared = (active @ active.T)[first, second]
    union = size[first] + size[second] - shared
    # Two empty codes cannot be told apart: that is full overlap.
    jaccard = np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), _TINY)
    cosine = np.clip(np.einsum("id,jd->ij", unit, unit, optimize=False)[first, second], -1.0, 1.0)
    dissimilar = (1.0 - cosine) / 2.0
    total = float(dissimilar.sum())
    overlap = float((dissimilar * jaccard).sum()) / total if total > 0 else 0.0
    bins = np.clip(np.digitize(cosine, COSINE_EDGES) - 1, 0, len(COSINE_EDGES) - 2)
    by_bin = tuple(
        float(jaccard[bins == b].mean()) if (bins == b).any() else float("nan")
        for b in range(len(COSINE_EDGES) - 1)
    )
    return overlap, by_bin, float(size.mean()) if len(x) else 0.0
