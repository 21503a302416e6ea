"""Markets, rows and records for the tests of the wire: hypothesis strategies and plain makers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from janus_memory.events import Barrier, encode, event_id
from janus_memory.transition import MarketSpec, Transitions
from streams.codec import encode_frame
from streams.partition_log import RawRecord
from streams.topics import BARRIER_TYPE, FRAME_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DISCRETE = MarketSpec("fx", ("return_1h", "volatility", "drawdown"), "discrete", 3)
VECTOR = MarketSpec("fxv", ("return_1h", "volatility", "drawdown"), "vector", 2)
NOW_MS = 2_000_000
NOW_NS = NOW_MS * 1_000_000


def make_rows(
    ids: Sequence[str], spec: MarketSpec = DISCRETE, *, seed: int = 0, stamps: Sequence[int] | None = None
) -> Transitions:
    """Valid rows with the given transition ids."""
    n, rng = len(ids), np.random.default_rng(seed)
    blank = Transitions.empty(spec, n)
    texts = {
        "transition_id": list(ids),
        "instrument": [f"I{i % 2}" for i in range(n)],
        "agent_id": ["agent"] * n,
        "episode_id": [f"e{i % 3}" for i in range(n)],
        "domain": [f"I{i % 2}" for i in range(n)],
    }
    columns = {name: np.array([t.encode() for t in column], "S64") for name, column in texts.items()}
    action: NDArray[np.int32] | NDArray[np.float32] = (
        rng.integers(0, spec.action_size, n, np.int32)
        if spec.action_kind == "discrete"
        else rng.normal(size=(n, spec.action_size)).astype(np.float32)
    )
    return dataclasses.replace(
        blank,
        **columns,
        timestamp=np.arange(1, n + 1, dtype=np.int64) if stamps is None else np.array(stamps, np.int64),
        state=rng.normal(size=blank.state.shape).astype(np.float32),
        action=action,
        reward=rng.normal(size=n).astype(np.float32),
        next_state=rng.normal(size=blank.state.shape).astype(np.float32),
        done=(rng.random(n) < 0.5).astype(np.uint8),
    )


def frame_record(offset: int, rows: Transitions, spec: MarketSpec = DISCRETE) -> RawRecord:
    """The rows as a record."""
    return RawRecord(offset, NOW_MS, b"key", encode_frame(rows, spec), FRAME_TYPE)


def barrier_record(offset: int, session: str, close: int, market: str = "fx") -> RawRecord:
    """A barrier as a record."""
    barrier = Barrier(
        event_id=event_id("barrier", market, session), market=market, as_of=close, session_id=session
    )
    return RawRecord(offset, NOW_MS, None, encode(barrier), BARRIER_TYPE)


def ids(max_bytes: int = 64) -> st.SearchStrategy[str]:
    """Ids that the wire allows."""
    alphabet = st.characters(min_codepoint=1, exclude_categories=["Cs"])
    return st.text(alphabet, min_size=1).filter(lambda text: len(text.encode()) <= max_bytes)


@st.composite
def transitions(draw: st.DrawFn, spec: MarketSpec, max_rows: int = 6) -> Transitions:
    """Any valid rows of a market."""
    n = draw(st.integers(1, max_rows))
    column = st.lists(ids(), min_size=n, max_size=n)
    rows = make_rows([f"t{i}" for i in range(n)], spec, seed=draw(st.integers(0, 99)))
    names = ("transition_id", "instrument", "agent_id", "episode_id", "domain")
    columns = {name: np.array([text.encode() for text in draw(column)], "S64") for name in names}
    stamps = draw(st.lists(st.integers(0, NOW_NS), min_size=n, max_size=n))
    values = st.floats(width=32, allow_nan=False, allow_infinity=False)
    states = draw(st.lists(values, min_size=3 * n, max_size=3 * n))
    known = draw(st.booleans())
    return dataclasses.replace(
        rows,
        **columns,
        timestamp=np.array(stamps, np.int64),
        state=np.array(states, np.float32).reshape(n, 3),
        next_action=rows.action if known else rows.next_action,
    )
