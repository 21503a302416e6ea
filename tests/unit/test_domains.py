"""Domain codes against a dictionary."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_memory.replay.law.sum_tree import Backend
from janus_memory.replay.store.domains import Domains

BACKENDS = get_args(Backend)


def names(*values: str) -> NDArray[np.bytes_]:
    return np.array([value.encode() for value in values], "S64")


def place(domains: Domains, codes: NDArray[np.int32], first: int = 0) -> None:
    domains.place(np.arange(first, first + len(codes), dtype=np.int32), codes)


@pytest.mark.parametrize("backend", BACKENDS)
def test_codes_count_from_zero_in_the_order_of_appearance(backend: Backend) -> None:
    """A name keeps its code, within a block and across blocks."""
    domains = Domains(9, backend)
    assert domains.codes(names()).tolist() == []
    codes = domains.codes(names("b", "b", "a", "b"))
    assert codes.tolist() == [0, 0, 1, 0]
    place(domains, codes)
    assert domains.code.tolist() == [0, 0, 1, 0, -1, -1, -1, -1, -1]
    assert domains.codes(names("c", "a")).tolist() == [2, 1]
    assert domains.by_name() == {"a": 1, "b": 3, "c": 0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_code_of_a_domain_that_is_gone_is_the_next_one_given(backend: Backend) -> None:
    """The lowest free code first; the codes stay dense however many names pass."""
    domains = Domains(3, backend)
    codes = domains.codes(names("a", "b", "c"))
    place(domains, codes)
    place(domains, codes[[2, 2]])
    assert domains.by_name() == {"c": 3}
    assert domains.codes(names("d", "c", "e", "f")).tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thousand_names_one_after_another_use_two_codes(backend: Backend) -> None:
    """Each name leaves when the next one has come."""
    domains = Domains(1, backend)
    for i in range(1000):
        code = domains.codes(names(f"n{i}"))
        place(domains, code)
        assert code[0] < 2
    assert len(domains) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_name_overwritten_within_its_own_block_gives_its_code_back(backend: Backend) -> None:
    """Of a slot named twice the last row stays."""
    domains = Domains(2, backend)
    domains.place(np.zeros(2, np.int32), domains.codes(names("gone", "kept")))
    assert domains.by_name() == {"kept": 1}
    assert domains.codes(names("new")).tolist() == [0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_names_that_differ_in_one_byte_are_different(backend: Backend) -> None:
    """Anywhere in the 64 bytes, and by length alone."""
    base = "x" * 64
    all_names = [base[:i] + "y" + base[i + 1 :] for i in range(64)] + [base[:i] for i in range(65)]
    domains = Domains(200, backend)
    assert domains.codes(names(*all_names, *all_names)).tolist() == 2 * list(range(129))


@given(
    blocks=st.lists(
        st.lists(st.tuples(st.sampled_from(["", "a", "bb", "c"]), st.integers(0, 3)), max_size=6), max_size=6
    ),
    backend=st.sampled_from(BACKENDS),
)
def test_codes_equal_a_dictionary_and_a_restored_one_goes_on(
    blocks: list[list[tuple[str, int]]], backend: Backend
) -> None:
    """Names and counts are those of the slots, and a copy gives the same codes from then on."""
    domains, held, known = Domains(4, backend), dict[int, str](), dict[str, int]()
    for block in blocks:
        codes = domains.codes(names(*(name for name, _ in block)))
        for name, _ in block:
            free = min(set(range(9)) - set(known.values()))
            known.setdefault(name, free)
        assert codes.tolist() == [known[name] for name, _ in block]
        # Slots fill in order: a slot beyond the first free one takes the first free one's place.
        slots = list[int]()
        for name, slot in block:
            slots.append(min(slot, len(held)))
            held[slots[-1]] = name
        domains.place(np.array(slots, np.int32), codes)
        known = {name: code for name, code in known.items() if name in held.values()}
        assert domains.by_name() == {name: [*held.values()].count(name) for name in known}
        assert domains.code[: len(held)].tolist() == [known[held[slot]] for slot in range(len(held))]
        domains = Domains.restore(4, domains.snapshot(), domains.code[: len(held)], backend)
