"""Learned predicates: a small network that says of a state how far a word such as `risky` is true of it.

truth = sigmoid(network(named features)), in the user's own units: whatever standardises them is part of the weights.
The network is a ReLU perceptron with one output, in one safetensors file (`w0, b0, w1, b1, ...` in float32, `w` of shape
[inputs, outputs], and the names of its features). The settings name the file by its SHA-256, so that a rule means the
same until somebody changes the settings. The same code computes in numpy, where a row's bits do not depend on the
batch, and, traced and differentiable, in jax.numpy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from janus_memory.errors import RuleError
from janus_memory.logic import curves
from janus_memory.logic.refusals import check_word, did_you_mean, known_names, shown
from janus_memory.store.arrays import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from janus_memory.config import PredicateSettings
    from janus_memory.logic.connectives import Truth
    from janus_memory.logic.formulas import Values

__all__ = ["MAX_LAYERS", "MAX_PREDICATES", "MAX_UNITS", "Learned", "read_predicates"]

MAX_PREDICATES = 20
MAX_LAYERS = 4
# Of a layer, and of features.
MAX_UNITS = 64


@dataclass(frozen=True, slots=True)
class Learned:
    """A learned predicate; equal and hashed by its file.

    Attributes:
        features: the features it reads, by name, in the order of its inputs.
        sha256: of its file.
        layers: float32 w [inputs, outputs] and b [outputs] of each layer; the last has one output.
    """

    features: tuple[str, ...]
    sha256: str
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...] = field(compare=False, repr=False)

    @classmethod
    def of(cls, features: Sequence[str], layers: Sequence[tuple[Values, Values]]) -> tuple[Learned, bytes]:
        """The predicate of these layers, and its file."""
        arrays: dict[str, NDArray[Any]] = {
            "features": np.frombuffer(msgspec.json.encode(list(features)), np.uint8)
        }
        for number, (w, b) in enumerate(layers):
            arrays[f"w{number}"] = np.asarray(w, np.float32, order="C")
            arrays[f"b{number}"] = np.asarray(b, np.float32, order="C")
        data = save(arrays)
        return _decoded("it", data), data

    @classmethod
    def read(cls, name: str, path: Path, sha256: str) -> Learned:
        """The predicate in a file.

        Raises:
            RuleError: the file cannot be read, is another than the settings say, or no such predicate.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            _fail(name, f"cannot read {path}: {error.strerror}")
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            _fail(
                name,
                f"{path} has the SHA-256 {found}, the settings say {shown(sha256)}; restore the file or correct it",
            )
        return _decoded(name, data)

    def write(self, path: Path) -> None:
        """Write the file, atomically; `sha256` is its hash."""
        write_bytes(path, Learned.of(self.features, self.layers)[1])

    def words(self) -> str:
        """What it is, for a table."""
        return f"learned from {', '.join(self.features)} (SHA-256 {self.sha256[:12]}...)"

    def degree(self, values: Values, xp: Any) -> Truth:
        """How far the word is true of each row of features; float [n, len(features)] -> [n]."""
        for number, (w, b) in enumerate(self.layers):
            # Input by input and not a matrix product: a row's bits do not depend on the batch.
            total = xp.zeros_like(values[:, :1]) + b
            for place in range(len(w)):
                total = total + values[:, place : place + 1] * w[place]
            values = total if number == len(self.layers) - 1 else xp.maximum(total, 0.0)
        return curves.sigmoid(values[:, 0], xp)


def read_predicates(settings: Mapping[str, PredicateSettings], features: Sequence[str]) -> dict[str, Learned]:
    """The market's learned predicates by name.

    Raises:
        RuleError: a name that no rule could say, a file that cannot be used, a feature that the market does not have,
            or more than `MAX_PREDICATES`.
    """
    if len(settings) > MAX_PREDICATES:
        raise RuleError(
            f"{len(settings)} learned predicates, more than {MAX_PREDICATES} for one market; nothing was loaded; "
            "remove some"
        )
    found = {}
    for name, one in settings.items():
        check_word("predicate", name)
        found[name] = Learned.read(name, Path(one.file), one.sha256)
        for feature in found[name].features:
            if feature not in features:
                hint = did_you_mean(feature, features) or f"; known: {known_names(features)}"
                _fail(
                    name,
                    f"it was fitted on the feature {shown(feature)}, which the market does not have{hint}",
                )
    return found


def _decoded(name: str, data: bytes) -> Learned:
    try:
        arrays = load(data)
        features = msgspec.json.decode(arrays.pop("features").tobytes(), type=tuple[str, ...])
        layers = tuple((arrays.pop(f"w{k}"), arrays.pop(f"b{k}")) for k in range(len(arrays) // 2))
    except (SafetensorError, KeyError, ValueError, msgspec.DecodeError) as error:
        _fail(name, f"its file is no learned predicate ({error}); fit it anew")
    sizes = [len(features), *(len(b) if b.ndim == 1 else -1 for _, b in layers)]
    fits = (
        not arrays
        and 1 <= len(layers) <= MAX_LAYERS
        and all(1 <= size <= MAX_UNITS for size in sizes)
        and sizes[-1] == 1
        and len(set(features)) == len(features)
        and all(w.shape == (sizes[k], sizes[k + 1]) for k, (w, _) in enumerate(layers))
        and all(part.dtype == np.float32 and np.isfinite(part).all() for layer in layers for part in layer)
    )
    if not fits:
        _fail(
            name,
            f"its file does not hold finite float32 layers from {len(features)} features to one output, at most "
            f"{MAX_LAYERS} of at most {MAX_UNITS} units; fit it anew",
        )
    return Learned(features, hashlib.sha256(data).hexdigest(), layers)


def _fail(name: str, what: str) -> NoReturn:
    raise RuleError(f"predicate {shown(name)}: {what}; nothing was loaded")
