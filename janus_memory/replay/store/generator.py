"""A numpy generator whose state is arrays, so that a restored store goes on with the same draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F8 = NDArray[np.float64]

__all__ = ["Uniforms", "generator_state", "new_generator", "restore_generator"]

# A call of the generator takes as long as some 500 of its numbers.
_AHEAD = 8192

_WORD = 64
_MASK = 2**_WORD - 1


def new_generator(seed: int) -> np.random.Generator:
    """A PCG64 generator, named because numpy's default may change."""
    return np.random.Generator(np.random.PCG64(seed))


def generator_state(generator: np.random.Generator) -> NDArray[np.uint64]:
    """The state of a PCG64 generator: two 128-bit numbers and a half-used word; uint64 [6]."""
    full = generator.bit_generator.state
    numbers = (full["state"]["state"], full["state"]["inc"])
    words = [part for number in numbers for part in (number >> _WORD, number & _MASK)]
    return np.array([*words, full["has_uint32"], full["uinteger"]], np.uint64)


def restore_generator(words: NDArray[np.uint64]) -> np.random.Generator:
    """The generator that `generator_state` was taken of."""
    high, low, inc_high, inc_low, has_uint32, uinteger = (int(word) for word in words)
    bits = np.random.PCG64(0)
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << _WORD | low, "inc": inc_high << _WORD | inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bits)


class Uniforms:
    """The numbers of `Generator.random`, in its order, made thousands at a time."""

    __slots__ = ("_generator", "_next", "_ready")

    def __init__(self, generator: np.random.Generator, ready: F8 | None = None) -> None:
        """What the generator gives, after those that it has given already, float64 [k]."""
        self._generator, self._next = generator, 0
        self._ready = np.zeros(0) if ready is None else ready

    def take(self, n: int) -> F8:
        """The next n; float64 [n] in [0, 1), not to be written to."""
        end = self._next + n
        if end > len(self._ready):
            rest = self.rest()
            self._ready = np.concatenate((rest, self._generator.random(max(n - len(rest), _AHEAD))))
            self._next, end = 0, n
        uniforms, self._next = self._ready[self._next : end], end
        return uniforms

    def rest(self) -> F8:
        """Those that were made and not taken; float64 [k], a copy."""
        return self._ready[self._next :].copy()
