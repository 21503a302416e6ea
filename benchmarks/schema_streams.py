"""Planted streams for `benchmarks.schemas`: Gaussian regimes whose labels, number and density are known.

A stream dwells in a component for a geometric time, then draws the next by Zipf weights. Covariances are turned at
random, with a condition number of 10 and a mean variance of 1. Centres lie about sqrt(2 d) apart for d >= 32; in
fewer dimensions the nearest pair lies at a Mahalanobis distance of 5. Some states are outliers, wide around all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import logsumexp

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OUTLIER", "Plan", "Planted", "plant", "shuffled"]

OUTLIER = -1
N_ROWS = 10_000
N_HELD_OUT = 4_000
_CONDITION = 10.0
_NEAREST = 5.0
_WIDE = 3.0
_SCORED_APART = 16


class Plan(NamedTuple):
    """What is planted.

    Attributes:
        d: dimension. k: components.
        zipf: exponent of the weights; 0 for equal ones.
        dwell: mean number of states in a row from one component; 1 for independent states.
        outliers: share of states from no component.
        drift: how far each mean moves over the stream, in standard deviations.
    """

    d: int
    k: int
    zipf: float = 0.0
    dwell: float = 1.0
    outliers: float = 0.0
    drift: float = 0.0

    def __str__(self) -> str:
        words = [f"d = {self.d}, {self.k} components"]
        words += [f"Zipf {self.zipf:g}"] if self.zipf else []
        words += [f"dwell {self.dwell:g}"] if self.dwell > 1 else []
        words += [f"{self.outliers:.0%} outliers"] if self.outliers else []
        words += [f"drift {self.drift:g}"] if self.drift else []
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Planted:
    """A stream and its truth.

    Attributes:
        plan: what was asked.
        x: float64 [n, d], in total order. which: intp [n], component, `OUTLIER` for none.
        held_out: float64 [m, d], fresh states of the components alone.
        log_density: of the held-out states under the true mixture, mean, natural log; of streams without drift.
    """

    plan: Plan
    x: NDArray[np.float64]
    which: NDArray[np.intp]
    held_out: NDArray[np.float64]
    log_density: float

    @property
    def n_components(self) -> int:
        """Components with ten states or more in the stream."""
        _, counts = np.unique(self.which[self.which != OUTLIER], return_counts=True)
        return int((counts >= 10).sum())


def plant(plan: Plan, seed: int, n: int = N_ROWS) -> Planted:
    """Draw a stream of n states; equal arguments give equal bits."""
    rng = np.random.default_rng([seed, plan.d, plan.k, n])
    roots = np.stack([_root(plan.d, rng) for _ in range(plan.k)])
    centres = _centres(plan, roots, rng)
    weight = np.arange(1, plan.k + 1, dtype=np.float64) ** -plan.zipf
    weight = rng.permutation(weight / weight.sum()).astype(np.float64)
    which = _path(plan, weight, n, rng)
    way = rng.normal(size=(plan.k, plan.d))
    way *= plan.drift / np.linalg.norm(way, axis=1, keepdims=True)
    at = np.linspace(0.0, 1.0, n)[:, None]
    x = centres[which] + at * way[which] + _turned(roots, which, rng)
    outlier = rng.random(n) < plan.outliers
    x[outlier] = centres.mean(axis=0) + _WIDE * np.sqrt(1 + centres.var(axis=0)) * rng.normal(
        size=(int(outlier.sum()), plan.d)
    )
    drawn = rng.choice(plan.k, N_HELD_OUT, p=weight)
    held_out = centres[drawn] + _turned(roots, drawn, rng)
    return Planted(
        plan,
        x,
        np.where(outlier, OUTLIER, which),
        held_out,
        float(_mixture(held_out, weight, centres, roots).mean()),
    )


def shuffled(stream: Planted, seed: int) -> tuple[Planted, NDArray[np.intp]]:
    """The same states in another order, and that order."""
    order = np.random.default_rng(seed).permutation(len(stream.x))
    moved = Planted(stream.plan, stream.x[order], stream.which[order], stream.held_out, stream.log_density)
    return moved, order


def _root(d: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A square root A of a covariance A A^T."""
    turn, _ = np.linalg.qr(rng.normal(size=(d, d)))
    variance = np.geomspace(1.0, _CONDITION, d)
    return np.asarray(turn * np.sqrt(variance / variance.mean()))


def _centres(plan: Plan, roots: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    centres = rng.normal(size=(plan.k, plan.d))
    if plan.d >= 2 * _SCORED_APART:
        return centres
    covariance = roots @ roots.transpose(0, 2, 1)
    i, j = np.triu_indices(plan.k, 1)
    gap = centres[i] - centres[j]
    between = np.linalg.solve((covariance[i] + covariance[j]) / 2, gap[:, :, None])[:, :, 0]
    return np.asarray(centres * _NEAREST / np.sqrt((gap * between).sum(axis=1).min()))


def _path(plan: Plan, weight: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """A component for each state; each dwell ends with probability 1 / dwell."""
    turns = rng.random(n) < 1.0 / plan.dwell
    turns[0] = True
    chosen = rng.choice(plan.k, int(turns.sum()), p=weight)
    return np.asarray(chosen[np.cumsum(turns) - 1], np.intp)


def _turned(
    roots: NDArray[np.float64], which: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.float64]:
    noise = rng.normal(size=(len(which), roots.shape[1]))
    for k in range(len(roots)):
        noise[which == k] = noise[which == k] @ roots[k].T
    return noise


def _mixture(
    x: NDArray[np.float64],
    weight: NDArray[np.float64],
    centres: NDArray[np.float64],
    roots: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Log sum_k w_k N(x; c_k, A_k A_k^T); float64 [n]."""
    scores = np.empty((len(x), len(weight)))
    for k, (centre, root) in enumerate(zip(centres, roots, strict=True)):
        white = np.linalg.solve(root, (x - centre).T)
        log_det = np.linalg.slogdet(root)[1]
        scores[:, k] = np.log(weight[k]) - log_det - 0.5 * (white * white).sum(axis=0)
    return np.asarray(logsumexp(scores, axis=1) - x.shape[1] / 2 * np.log(2 * np.pi))
