"""Random and damaged rule texts: 10 000 here; `python -m tests.soak.rule_fuzz --count 1000000` for a long run."""

from __future__ import annotations

import pytest

from janus_memory.logic.grammar import MAX_CHARACTERS, MAX_DEPTH
from tests.soak.rule_fuzz import Tally, check, fuzz


def test_only_refusals_come_out_of_ten_thousand_texts() -> None:
    """And no text makes more nodes than it has characters, so that work is bounded by what is allowed in."""
    tally = fuzz(10_000, seed=5)
    assert tally.refused + tally.overflowed + tally.evaluated == 10_000
    # Otherwise the texts would be too good or too bad to find anything.
    assert tally.refused > 2_500
    assert tally.evaluated > 2_500
    assert tally.overflowed > 50
    assert 12 < tally.depth <= MAX_DEPTH


@pytest.mark.parametrize(
    "text",
    [
        "not " * 499 + "x",
        "(" * 999 + "position < 0" + ")" * 989,
        "position<0or " * 153 + "position<0",
        "-" * 1900 + "1 < 0",
        "1" * 1990 + " < 0",
        '"' + "x" * 1990 + '" < 0',
        '"' * 2000,
        " " * 1999 + "@",
        "a " * 1000,
        "next." * 400,
        "abs(" * 500,
        "1e308*" * 300 + "1 < 0",
    ],
)
def test_texts_that_push_one_limit_are_read_or_refused(text: str) -> None:
    """The longest of its kind; each within the bounds on nodes and levels."""
    assert len(text) <= MAX_CHARACTERS
    tally = Tally()
    check(text, tally)
    assert tally.refused + tally.overflowed + tally.evaluated == 1
