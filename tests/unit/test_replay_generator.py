"""A generator goes on from its stored state."""

from __future__ import annotations

import numpy as np
import pytest

from janus_memory.replay.store.generator import generator_state, new_generator, restore_generator


@pytest.mark.parametrize("n_words", [0, 1, 2, 7])
def test_a_restored_generator_goes_on_with_the_same_draws(n_words: int) -> None:
    """Also after an odd number of 32-bit draws, when half a word is kept for the next one."""
    first = new_generator(11)
    first.random(5)
    first.integers(0, 2**32, n_words, np.uint32)
    second = restore_generator(generator_state(first))
    draws = [(g.integers(0, 2**32, 3, np.uint32).tolist(), g.random(4).tolist()) for g in (first, second)]
    assert draws[0] == draws[1]


def test_seeds_differ() -> None:
    """Equal seeds give equal draws, others do not."""
    assert new_generator(1).random() == new_generator(1).random()
    assert new_generator(1).random() != new_generator(2).random()
