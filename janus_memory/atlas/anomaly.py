"""Anomalies in state space: how far a live state lies from the nearest schema (E32). Reading and judging need numpy only.

The distance to schema k is the Mahalanobis distance under its predictive covariance f Sigma_k, divided by
sqrt(d): a typical member of any schema lies at about 1, whatever its size and the number of features, so
distances to different schemas compare. A state is flagged where the smallest one is above the threshold.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from janus_memory.errors import CheckpointError, InsufficientData
from janus_memory.store.arrays import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from janus_memory.neocortex.bank import SchemaBank
    from janus_memory.scale import Scale

__all__ = ["AnomalyModel"]


@dataclass(frozen=True, slots=True)
class AnomalyModel:
    """What ingest needs to flag live states.

    Attributes:
        cycle_id: the night that made it.
        mean, deviation: float64 [d], the market's scale, in the user's own units.
        means: float64 [K, d], standardised. whiteners: float64 [K, d, d], lower; |W e| is a Mahalanobis distance.
        ids: str [K].
        threshold: a distance above it is an anomaly.
    """

    cycle_id: str
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    means: NDArray[np.float64]
    whiteners: NDArray[np.float64]
    ids: NDArray[np.str_]
    threshold: float

    @classmethod
    def fit(
        cls, bank: SchemaBank, scale: Scale, distances: NDArray[np.float64], rate: float, cycle_id: str = ""
    ) -> AnomalyModel:
        """The model of a bank, calibrated on states that no bank had learned when they were measured.

        The threshold is the ceil((n + 1)(1 - rate))-th smallest of the n distances (the largest where there are
        too few): a new state of the same kind lies above it with a probability of at most about `rate`.

        Args:
            bank: at least one living schema.
            scale: the market's scale.
            distances: float64 [n], of held-out states to their nearest schema, as `distances` measures them.
            rate: share of ordinary states that may be flagged, in (0, 1).
            cycle_id: the night.

        Raises:
            InsufficientData: no schema, or no state held out.
        """
        if not len(bank.ids) or not len(distances):
            raise InsufficientData(
                f"the anomaly model got {len(bank.ids)} schemas and {len(distances)} held-out states; "
                "the last model stays; wait for more rows"
            )
        rank = min(math.ceil((len(distances) + 1) * (1 - rate)), len(distances))
        return cls(
            cycle_id,
            scale.mean,
            scale.deviation,
            bank.means,
            bank.whiteners(),
            np.array([i.decode() for i in bank.ids.tolist()], np.str_),
            float(np.sort(distances)[rank - 1]),
        )

    def distances(self, state: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """(distance, nearest schema) of raw states; float32 [n, d] -> float64 [n], intp [n].

        Matrix products do the work: the last bits may depend on the block's shape and the number of threads.
        """
        x = (state.astype(np.float64) - self.mean) / self.deviation
        nearest = np.zeros(len(x), np.intp)
        smallest = np.full(len(x), np.inf)
        for k, (mean, whitener) in enumerate(zip(self.means, self.whiteners, strict=True)):
            y = (x - mean) @ whitener.T
            squared = np.einsum("nd,nd->n", y, y)
            nearer = squared < smallest
            smallest[nearer], nearest[nearer] = squared[nearer], k
        return np.sqrt(smallest / x.shape[1]), nearest

    def save(self, path: Path) -> str:
        """Write as safetensors, atomically; returns the file's SHA-256 in hex."""
        note = msgspec.json.encode((self.cycle_id, self.ids.tolist()))
        data = save(
            {
                "deviation": self.deviation,
                "mean": self.mean,
                "means": np.ascontiguousarray(self.means),
                "note": np.frombuffer(note, np.uint8),
                "threshold": np.array([self.threshold]),
                "whiteners": np.ascontiguousarray(self.whiteners),
            }
        )
        write_bytes(path, data)
        return hashlib.sha256(data).hexdigest()

    @classmethod
    def load(cls, path: Path, sha256: str) -> AnomalyModel:
        """Read what `save` wrote.

        Raises:
            CheckpointError: the file is missing, is not such a file, or has another hash.
        """
        try:
            data = path.read_bytes()
            found = hashlib.sha256(data).hexdigest()
            if found != sha256:
                raise _unreadable(path, f"its SHA-256 is {found}, announced was {sha256}")
            arrays = load(data)
            cycle_id, ids = msgspec.json.decode(arrays["note"].tobytes(), type=tuple[str, list[str]])
            return cls(
                cycle_id=cycle_id,
                mean=arrays["mean"],
                deviation=arrays["deviation"],
                means=arrays["means"],
                whiteners=arrays["whiteners"],
                ids=np.array(ids, np.str_),
                threshold=float(arrays["threshold"][0]),
            )
        except (OSError, KeyError, SafetensorError, msgspec.DecodeError) as error:
            raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"cannot use the anomaly model {path}: {why}; the model in use stays; restore the file or wait for the next night"
    )
