"""Domain codes against a dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.replay.domains import Domains


def names(*values: str) -> NDArray[np.bytes_]:
    return np.array([value.encode() for value in values], "S64")


NONE = np.zeros(0, np.int32)


def test_codes_count_from_zero_in_the_order_of_appearance() -> None:
    """A name keeps its code, within a block and across blocks."""
    domains = Domains()
    assert domains.codes(names("b", "b", "a", "b")).tolist() == [0, 0, 1, 0]
    domains.count(domains.codes(names("b", "b", "a", "b")), NONE)
    assert domains.codes(names("c", "a")).tolist() == [2, 1]
    assert domains.by_name() == {"a": 1, "b": 3, "c": 0}


def test_the_code_of_a_domain_that_is_gone_is_the_next_one_given() -> None:
    """The lowest free code first; the codes stay dense however many names pass."""
    domains = Domains()
    codes = domains.codes(names("a", "b", "c"))
    domains.count(codes, NONE)
    domains.count(NONE, codes[:2])
    assert domains.by_name() == {"c": 1}
    assert domains.codes(names("d", "c", "e", "f")).tolist() == [0, 2, 1, 3]


def test_a_thousand_names_one_after_another_use_two_codes() -> None:
    """Each name leaves when the next one has come."""
    domains = Domains()
    last = NONE
    for i in range(1000):
        code = domains.codes(names(f"n{i}"))
        domains.count(code, last)
        assert code[0] < 2
        last = code
    assert len(domains) == 1


def test_a_name_that_got_no_row_gives_its_code_back() -> None:
    """It was overwritten within its own block."""
    domains = Domains()
    codes = domains.codes(names("gone", "kept"))
    domains.count(codes[1:], NONE)
    assert domains.by_name() == {"kept": 1}
    assert domains.codes(names("new")).tolist() == [0]


@given(blocks=st.lists(st.lists(st.sampled_from(["", "a", "bb", "c"]), max_size=6), max_size=6))
def test_codes_equal_a_dictionary_and_a_restored_one_goes_on(blocks: list[list[str]]) -> None:
    """FIFO over four rows: names and counts are those held, and a copy gives the same codes from then on."""
    domains, held = Domains(), list[tuple[str, int]]()
    for block in blocks:
        codes = domains.codes(names(*block))
        new = list(zip(block, codes.tolist(), strict=True))
        left, held = (held + new)[:-4], (held + new)[-4:]
        domains.count(codes, np.array([code for _, code in left], np.int32))
        by_name = {name: sum(held_name == name for held_name, _ in held) for name, _ in held}
        assert domains.by_name() == by_name
        assert len({code for _, code in held}) == len(by_name)
        domains = Domains.restore(domains.snapshot(), np.array([code for _, code in held], np.int32))
