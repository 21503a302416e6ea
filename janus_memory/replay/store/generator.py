"""A numpy generator's state as an array, so that a restored store goes on with the same draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["generator_state", "new_generator", "restore_generator"]

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
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << _WORD | low, "inc": inc_high << _WORD | inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bits)
