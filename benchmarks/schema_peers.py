"""What else finds regimes: the baselines of `benchmarks.schemas`. All but river's see the whole stream at once.

The offline ones are told the number of components (the memory is not) and fit in hindsight; a user who knows the
number and has all states at hand is served by them. Every peer labels the stream; those with a density also score.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import logsumexp
from sklearn.cluster import MiniBatchKMeans
from sklearn.covariance import LedoitWolf
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Fit = Callable[[NDArray[np.float64], int, int], "Fitted"]

__all__ = ["PEERS", "Fitted", "k_means_with_ledoit_wolf", "try_peer"]

_MOST_ROUNDS = 100
_RIVER_WARM_ROWS = 500


class Fitted(NamedTuple):
    """A fitted peer.

    Attributes:
        labels: int [n], of the states it was fitted to.
        log_density: log p of new states [m, d]; float64 [m]. None where it has no density.
    """

    labels: NDArray[np.int64]
    log_density: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None


def k_means_with_ledoit_wolf(x: NDArray[np.float64], k: int, seed: int) -> Fitted:
    """MiniBatchKMeans, then a shrunk covariance and a weight for each cluster."""
    model = MiniBatchKMeans(k, random_state=seed).fit(x)
    labels = model.labels_
    parts = []
    for cluster in np.unique(labels):
        members = x[labels == cluster]
        root = np.linalg.cholesky(LedoitWolf().fit(members).covariance_)
        parts.append((np.log(len(members) / len(x)), members.mean(axis=0), root))

    def log_density(new: NDArray[np.float64]) -> NDArray[np.float64]:
        scores = []
        for log_weight, mean, root in parts:
            white = np.linalg.solve(root, (new - mean).T)
            constant = log_weight - np.log(np.diag(root)).sum() - x.shape[1] / 2 * np.log(2 * np.pi)
            scores.append(constant - 0.5 * (white * white).sum(axis=0))
        return np.asarray(logsumexp(scores, axis=0))

    return Fitted(np.asarray(labels, np.int64), log_density)


def _gaussian_mixture(x: NDArray[np.float64], k: int, seed: int) -> Fitted:
    model = GaussianMixture(k, random_state=seed, max_iter=_MOST_ROUNDS, reg_covar=1e-4).fit(x)
    return Fitted(np.asarray(model.predict(x)), model.score_samples)


def _bayesian_mixture(x: NDArray[np.float64], k: int, seed: int) -> Fitted:
    # It is told an upper bound and finds the number by itself.
    model = BayesianGaussianMixture(
        n_components=2 * k, random_state=seed, max_iter=_MOST_ROUNDS, reg_covar=1e-4
    ).fit(x)
    return Fitted(np.asarray(model.predict(x)), model.score_samples)


def _hidden_markov(x: NDArray[np.float64], k: int, seed: int) -> Fitted:
    """Diagonal covariances: full ones of 20 states in 32 dimensions take hours."""
    from hmmlearn.hmm import GaussianHMM  # noqa: PLC0415  (a library of the benchmarks alone)

    model = GaussianHMM(k, covariance_type="diag", random_state=seed, n_iter=20).fit(x)
    return Fitted(np.asarray(model.predict(x), np.int64), None)


def _river(x: NDArray[np.float64], k: int, seed: int) -> Fitted:
    """Online k-means, one state at a time, as each label is asked for before later states are seen."""
    from river.cluster import KMeans  # noqa: PLC0415  (a library of the benchmarks alone)

    model = KMeans(n_clusters=k, halflife=0.1, sigma=1.0, seed=seed)
    rows = [dict(enumerate(row)) for row in x.tolist()]
    for row in rows[:_RIVER_WARM_ROWS]:
        model.learn_one(row)
    labels = []
    for row in rows:
        labels.append(model.predict_one(row))
        model.learn_one(row)
    return Fitted(np.array(labels, np.int64), None)


PEERS: dict[str, tuple[str, str, Fit]] = {
    "GaussianMixture": ("scikit-learn", "told the number, in hindsight", _gaussian_mixture),
    "BayesianGaussianMixture": ("scikit-learn", "told twice the number, in hindsight", _bayesian_mixture),
    "MiniBatchKMeans + LedoitWolf": (
        "scikit-learn",
        "told the number, in hindsight",
        k_means_with_ledoit_wolf,
    ),
    "GaussianHMM, diagonal": ("hmmlearn", "told the number, in hindsight", _hidden_markov),
    "KMeans": ("river", "told the number, online", _river),
}


def try_peer(name: str, x: NDArray[np.float64], k: int, seed: int) -> tuple[Fitted | None, str]:
    """A peer fitted to states [n, d], and its name with the version; None and the reason where it cannot be."""
    library, told, fit = PEERS[name]
    try:
        version = importlib.metadata.version(library)
        with warnings.catch_warnings():
            # A fit that has not converged after its rounds is what a user would get, too.
            warnings.simplefilter("ignore")
            return fit(x, k, seed), f"{library} {version} {name} ({told})"
    except (ImportError, ValueError, np.linalg.LinAlgError) as error:
        return None, f"{name}: {type(error).__name__}: {error}".splitlines()[0]
