"""What may enter long-term memory: the recall gate (E17), the logic gate (E18) and the indicator (E20).

The recall gate is a logistic classifier of sparse codes: experienced states against states whose features were
shuffled between rows, so that each feature keeps its distribution and only their joint pattern differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit

from janus_memory.errors import LinalgError
from janus_memory.logic import satisfaction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from janus_memory.config import NeocortexSettings
    from janus_memory.logic import Quantifiers
    from janus_memory.store.arrays import Arrays
    from janus_memory.transition import Transitions

    Encoder = Callable[[NDArray[np.float64]], NDArray[np.float32]]

__all__ = [
    "RecallFit",
    "RecallGate",
    "episode_index",
    "logic_gate",
    "pass_rates",
    "passes",
    "shuffle_features",
]

_TOLERANCE = 1e-7
_MAX_ITERATIONS = 2000


@dataclass(frozen=True, slots=True)
class RecallFit:
    """How the fit went; reported, never fed back.

    Attributes:
        n_rows: experienced rows; 0 for a gate that was not fitted.
        iterations: of L-BFGS.
        gradient: largest component of the gradient at the end.
        loss: balanced logistic loss with its penalty; log 2 is chance.
        accuracy: balanced share told apart at one half, on the rows of the fit.
    """

    n_rows: int
    iterations: int
    gradient: float
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class RecallGate:
    """g_recall = sigmoid(W_r r + b_r) (E17).

    Attributes:
        weights: W_r, float64 [d_h]; empty for an open gate, which lets everything pass with 1.
        bias: b_r.
    """

    weights: NDArray[np.float64]
    bias: float

    @classmethod
    def open(cls) -> RecallGate:
        """The gate that gives 1 for every row."""
        return cls(np.zeros(0), 0.0)

    @classmethod
    def fit(
        cls, x: NDArray[np.float64], encode: Encoder, settings: NeocortexSettings, seed: int
    ) -> tuple[RecallGate, RecallFit]:
        """Fit from zero: the codes of x against the codes of x with each column permuted.

        Balanced logistic loss, L2 on W_r (not on b_r), L-BFGS to a gradient of 1e-7. Sums run in one thread in a
        fixed order, so equal arguments give equal bits.

        Args:
            x: standardised states of the buffer, float64 [n, d].
            encode: states to sparse codes, as trained tonight.
            settings: `recall_min_rows`, below which the gate is open, and `recall_l2`.
            seed: decides the permutations.

        Raises:
            LinalgError: the optimiser stopped far from the optimum, as it does on codes that are not finite.
        """
        if len(x) < settings.recall_min_rows:
            return cls.open(), RecallFit(0, 0, 0.0, 0.0, 0.0)
        codes = np.concatenate([encode(x), encode(shuffle_features(x, seed))])
        sign = np.repeat([1.0, -1.0], len(x))
        # Sparse products are plain loops; BLAS changes last bits with the number of threads.
        design = csr_array(codes.astype(np.float64))
        transposed = design.T.tocsr()

        def objective(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            margin = sign * (design @ theta[:-1] + theta[-1])
            w = theta[:-1]
            loss = np.logaddexp(0.0, -margin).mean() + 0.5 * settings.recall_l2 * (w * w).sum()
            pull = -sign * expit(-margin) / len(margin)
            slope = np.append(transposed @ pull + settings.recall_l2 * w, pull.sum())
            return float(loss), slope

        start = np.zeros(codes.shape[1] + 1)
        limits = {"gtol": _TOLERANCE, "ftol": 0.0, "maxiter": _MAX_ITERATIONS, "maxfun": 2 * _MAX_ITERATIONS}
        with np.errstate(invalid="ignore"):
            found = minimize(objective, start, jac=True, method="L-BFGS-B", options=limits)
        gradient = float(np.abs(found.jac).max())
        # Negated so that NaN is caught. The line search may end a little above the tolerance by rounding.
        if not gradient < 1e3 * _TOLERANCE:
            raise LinalgError(
                f"recall gate: gradient {gradient:.1e} after {found.nit} iterations on {len(x)} rows; the old "
                "gate is unchanged; check the states for values far outside their scale"
            )
        gate = cls(np.array(found.x[:-1]), float(found.x[-1]))
        told = (gate.gate(codes) > 0.5) == (sign > 0)
        return gate, RecallFit(len(x), int(found.nit), gradient, float(found.fun), float(told.mean()))

    def gate(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        """g_recall of sparse codes [n, d_h]; float64 [n]; a row's bits do not depend on the other rows."""
        if not self.weights.size:
            return np.ones(len(codes))
        return np.asarray(expit(csr_array(codes.astype(np.float64)) @ self.weights + self.bias), np.float64)

    def snapshot(self) -> Arrays:
        """W_r and b_r."""
        return {"weights": self.weights, "bias": np.array(self.bias, np.float64)}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]]) -> RecallGate:
        """The inverse of `snapshot`."""
        return cls(arrays["weights"], float(arrays["bias"]))


def shuffle_features(x: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """A copy of x [n, d] with each column permuted on its own."""
    return np.random.default_rng(seed).permuted(x, axis=0)


def episode_index(rows: Transitions) -> NDArray[np.intp]:
    """A number for each row's episode, the same for equal (instrument, agent_id, episode_id); [n]."""
    n = len(rows)
    keys = (rows.episode_id, rows.agent_id, rows.instrument)
    order = np.lexsort(keys)
    new = np.zeros(n, bool)
    for key in keys:
        new[1:] |= key[order][1:] != key[order][:-1]
    index = np.empty(n, np.intp)
    index[order] = np.cumsum(new)
    return index


def logic_gate(
    episodes: NDArray[np.intp],
    truths: NDArray[np.float64],
    weights: NDArray[np.float64],
    quantifiers: Quantifiers,
) -> NDArray[np.float64]:
    """g_logic (E18): SatAgg over the episode that holds the row; 1 where there are no rules.

    Args:
        episodes: `episode_index` of the rows, int [n].
        truths: float64 [n, R], the rows' truths of the rules.
        weights: float64 [R].
        quantifiers: of the rules.

    Returns:
        float64 [n]; equal for the rows of an episode.
    """
    gate = np.ones(len(episodes))
    if not len(episodes):
        return gate
    order = np.argsort(episodes, kind="stable")
    starts = np.flatnonzero(np.diff(episodes[order])) + 1
    for rows in np.split(order, starts):
        gate[rows] = satisfaction(truths[rows], weights, quantifiers)
    return gate


def passes(
    recall: NDArray[np.float64], logic: NDArray[np.float64], settings: NeocortexSettings
) -> NDArray[np.bool_]:
    """The indicator (E20): g_recall > tau_recall and g_logic > tau_logic; bool [n]."""
    return (recall > settings.tau_recall) & (logic > settings.tau_logic)


def pass_rates(
    recall: NDArray[np.float64], logic: NDArray[np.float64], settings: NeocortexSettings
) -> dict[str, float]:
    """Share of rows each gate and both let pass; 1 without rows. For the report."""
    if not len(recall):
        return {"recall": 1.0, "logic": 1.0, "both": 1.0}
    return {
        "recall": float((recall > settings.tau_recall).mean()),
        "logic": float((logic > settings.tau_logic).mean()),
        "both": float(passes(recall, logic, settings).mean()),
    }
