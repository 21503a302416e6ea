"""Columns that share their records are the columns that were given."""

from __future__ import annotations

import numpy as np
import pytest

from janus_memory.hippocampus.records import blank, interleaved
from janus_memory.hippocampus.ring import Ring
from janus_memory.transition import MarketSpec


@pytest.mark.parametrize("n", [0, 1, 7])
def test_fields_are_the_columns_given(n: int) -> None:
    """Values, dtypes and shapes, in the order given; every number lies where its type may lie."""
    columns = {
        "flag": np.arange(n) % 2 == 0,
        "vector": np.arange(3.0 * n, dtype=np.float32).reshape(n, 3),
        "time": np.arange(n, dtype=np.int64) << 40,
        "count": np.arange(n, dtype=np.uint32),
    }
    found = interleaved(columns)
    assert list(found) == list(columns)
    for name, column in columns.items():
        assert found[name].dtype == column.dtype
        assert np.array_equal(found[name], column)
        assert found[name].flags.aligned
        records = found[name].base
        assert records is not None
        assert records.itemsize == 32  # 8 + 12 + 4 + 1, filled up to whole words


def test_blank_fields_are_those_of_interleaved_columns() -> None:
    """Zeros in the same layout, however many the columns that they are made like have."""
    columns = {
        "flag": np.ones(5, np.bool_),
        "vector": np.ones((5, 3), np.float32),
        "time": np.ones(5, np.int64),
    }
    like, found = interleaved(columns), blank({name: a[:0] for name, a in columns.items()}, 5)
    for name, column in like.items():
        assert (found[name].dtype, found[name].shape, found[name].strides) == (
            column.dtype,
            column.shape,
            column.strides,
        )
        assert not found[name].any()


def test_fields_share_memory_with_nobody_else() -> None:
    """A later change of what was given changes no field; a field's change no other field."""
    a, b = np.zeros(3), np.zeros(3, np.int32)
    found = interleaved({"a": a, "b": b})
    a[:] = 1
    found["b"][:] = -1
    assert found["a"].tolist() == [0, 0, 0]
    assert found["a"].base is found["b"].base


@pytest.mark.parametrize(("kind", "width"), [("discrete", 56), ("vector", 72)])
def test_a_slot_of_the_ring_has_one_record(kind: str, width: int) -> None:
    """Everything narrow that a draw or an update touches, d aside; counted once, its filling included."""
    spec = MarketSpec("m", ("f0", "f1"), kind, 3)  # type: ignore[arg-type]  # the table's words
    ring = Ring(spec, 10)
    rows = ring.columns
    narrow = (rows.timestamp, rows.action, rows.reward, rows.next_action, rows.done, ring.generation)
    fields = (*narrow, *ring.metadata.arrays().values())
    assert {field.strides[0] for field in fields} == {width}
    assert len({id(field.base) for field in fields}) == 1
    assert ring.nbytes == 10 * (width + 5 * 64 + 2 * 2 * 4 + 8)
    assert rows.state.flags.c_contiguous
    assert rows.next_state.flags.c_contiguous
