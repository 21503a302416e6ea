"""What every benchmark is judged by: turns, medians, ratios and targets, and the row of a peer that is missing."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from benchmarks.peers import BATCH, STATE_SIZE, Experience, experience, opened
from benchmarks.report import measured
from benchmarks.turns import in_turn


def test_sides_take_turns_after_a_warm_up_of_half_a_repetition() -> None:
    calls: list[str] = []
    ours, theirs = in_turn(lambda: calls.append("ours"), lambda: calls.append("peer"), repetitions=2, calls=2)
    assert calls == ["peer", "ours", "peer", "peer", "ours", "ours", "peer", "peer", "ours", "ours"]
    assert len(ours) == len(theirs) == 2
    assert min(ours + theirs) > 0


def test_each_side_has_its_own_seconds() -> None:
    """The slow side does a thousand times the work of the fast one."""
    numbers = np.ones(1_000_000)
    ours, theirs = in_turn(numbers[:1000].sum, numbers.sum, repetitions=3, calls=3)
    assert max(ours) < min(theirs)


def test_a_missing_peer_leaves_our_figures_alone() -> None:
    ours, theirs = in_turn(lambda: None, None, repetitions=3, calls=1)
    assert len(ours) == 3
    assert theirs == []


@pytest.mark.parametrize(
    ("ours", "peer", "better", "target", "ratio", "holds"),
    [
        ([8.0, 7.0, 1.0], [2.0, 9.0, 2.0], "higher", 3.5, 3.5, True),
        ([7.0], [2.0], "higher", 3.6, 3.5, False),
        ([3.0], [2.0], "lower", 1.5, 1.5, True),
        ([3.2], [2.0], "lower", 1.5, 1.6, False),
        ([3.0], [2.0], "lower", None, 1.5, None),
        ([3.0], [], "higher", 1.5, None, None),
    ],
)
def test_a_target_is_judged_by_the_ratio_of_the_medians(  # noqa: PLR0917  (columns of the table)
    ours: list[float], peer: list[float], better: str, target: float, ratio: float, holds: bool
) -> None:
    row = measured("case", "s", ours, peer, "peer", better=better, target=target)  # type: ignore[arg-type]  # the table's words
    assert row.ratio == (None if ratio is None else pytest.approx(ratio))
    assert row.holds is holds
    assert (row.peer is None) == (not peer)


def test_an_absolute_target_needs_no_peer() -> None:
    row = measured("case", "s", [59.0], None, "none", better="lower", target=60, target_of="ours")
    assert row.holds


class _Broken:
    name: ClassVar[str] = "broken"
    lacks: ClassVar[str] = "everything"

    def __init__(self, rows: Experience) -> None:
        raise ImportError(f"no wheel for {len(rows)} rows\nand a second line")

    def iterate(self, priority: np.typing.NDArray[np.float32]) -> object:
        return priority


class _Known(_Broken):
    name: ClassVar[str] = "numpy"
    lacks: ClassVar[str] = "a tree"

    def __init__(self, rows: Experience) -> None:
        self.rows = rows


def test_a_peer_that_cannot_be_made_is_named_with_the_reason() -> None:
    memory, name = opened(_Broken, experience(3, seed=1))
    assert memory is None
    assert name == "broken: ImportError: no wheel for 3 rows"


def test_a_peer_is_named_with_its_version_and_what_it_lacks() -> None:
    memory, name = opened(_Known, experience(3, seed=1))
    assert isinstance(memory, _Known)
    assert name == f"numpy {np.__version__} (a tree)"


def test_peers_are_filled_with_one_unbroken_trajectory() -> None:
    rows = experience(1000, seed=7)
    assert rows.state.shape == rows.next_state.shape == (1000, STATE_SIZE)
    assert np.array_equal(rows.state[1:], rows.next_state[:-1])
    assert len(rows) == 1000 > BATCH
    assert not rows.done.any()
    assert np.array_equal(rows.priority, experience(1000, seed=7).priority)
    assert rows.priority.max() / rows.priority.min() > 1000
