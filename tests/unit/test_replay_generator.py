"""A generator goes on from its stored state."""

from __future__ import annotations

import numpy as np
import pytest

from janus_memory.replay.store.generator import Uniforms, generator_state, new_generator, restore_generator


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


def test_uniforms_are_those_of_the_generator_whatever_the_calls_and_across_a_restore() -> None:
    """Few, none, and more than are made ahead; stored in between with those that are made and not taken."""
    generator = new_generator(3)
    uniforms = Uniforms(generator)
    taken = [uniforms.take(n) for n in (5, 0, 256, 20_000, 7)]
    restored = Uniforms(restore_generator(generator_state(generator)), uniforms.rest())
    later = [[source.take(n) for n in (3, 9000)] for source in (uniforms, restored)]
    expected = new_generator(3).random(5 + 256 + 20_000 + 7 + 3 + 9000)
    for rest in later:
        np.testing.assert_array_equal(np.concatenate([*taken, *rest]), expected)
