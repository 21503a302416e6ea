"""The golden files, written by a program that shares no code with ours, say the same as our codec."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from janus_memory import events
from janus_memory.transition import MarketSpec, Transitions
from streams.codec import decode_frame, decode_json, encode_frame
from tests.unit.wire_rows import DISCRETE, VECTOR

GOLDEN = Path(__file__).parents[1] / "golden"
EVENTS: dict[str, type[events.Event]] = {
    "anomaly": events.Anomaly,
    "barrier": events.Barrier,
    "cut": events.Cut,
    "dead_letter": events.DeadLetter,
    "market_event": events.MarketEvent,
    "policy_update": events.PolicyUpdate,
    "risk": events.Risk,
    "schema_update": events.SchemaUpdate,
    "sleep_report": events.SleepReport,
}


def _expected() -> Transitions:
    """The two rows that tests/golden/make.py describes, typed in again."""
    same = {"instrument": b"EURUSD", "agent_id": "agent-é".encode(), "domain": b"majors"}
    return Transitions(
        transition_id=np.array([b"t-1", b"t-22"], "S64"),
        episode_id=np.array([b"e1", b"e2"], "S64"),
        **{name: np.array([value, value], "S64") for name, value in same.items()},
        timestamp=np.array([1772442000000000000, 1772445600000000000], np.int64),
        state=np.array([[0.5, -1.0, 0.25], [1.5, 2.0, -0.125]], np.float32),
        action=np.array([2, 0], np.int32),
        reward=np.array([12.5, -3.75], np.float32),
        next_state=np.array([[1.5, 2.0, -0.125], [0.0, 1.0, 3.0]], np.float32),
        next_action=np.array([0, -1], np.int32),
        done=np.array([0, 1], np.uint8),
    )


def test_the_golden_frame_is_decoded() -> None:
    """Every column of the discrete frame."""
    rows = decode_frame((GOLDEN / "frame_discrete.bin").read_bytes(), DISCRETE)
    assert rows.canonical_bytes() == _expected().canonical_bytes()


def test_the_golden_vector_frame_is_decoded() -> None:
    """Actions of the vector frame; an unknown next action is a row of NaN."""
    rows = decode_frame((GOLDEN / "frame_vector.bin").read_bytes(), VECTOR)
    assert rows.action.tolist() == [[0.5, -0.5], [1.0, 0.0]]
    assert rows.next_action[0].tolist() == [1.0, 0.0]
    assert np.isnan(rows.next_action[1]).all()
    assert rows.reward.tolist() == [12.5, -3.75]


def test_the_golden_transition_is_the_first_row_of_the_frame() -> None:
    """JSON and msgpack mean the same."""
    row = decode_json((GOLDEN / "transition.json").read_bytes(), DISCRETE)
    assert row.canonical_bytes() == _expected().take(slice(0, 1)).canonical_bytes()


@pytest.mark.parametrize(("name", "spec"), [("frame_discrete.bin", DISCRETE), ("frame_vector.bin", VECTOR)])
def test_our_encoder_writes_the_golden_content(name: str, spec: MarketSpec) -> None:
    """The same keys with the same values; only msgpack's choice of header bytes may differ."""
    golden = (GOLDEN / name).read_bytes()
    ours = encode_frame(decode_frame(golden, spec), spec)
    assert msgspec.msgpack.decode(ours) == msgspec.msgpack.decode(golden)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_golden_events_are_decoded_and_written_back(name: str) -> None:
    """Every event: the same fields in the same order, byte for byte."""
    data = (GOLDEN / f"{name}.json").read_bytes()
    assert events.encode(events.decode(EVENTS[name], data)) == data


def test_every_event_has_a_golden_file() -> None:
    """A new event needs one."""
    defined = {kind.__name__ for kind in events.Event.__subclasses__()}
    assert defined == {kind.__name__ for kind in EVENTS.values()}


def test_the_golden_files_are_what_the_script_writes(tmp_path: Path) -> None:
    """The files in the repository were not edited by hand."""
    subprocess.run([sys.executable, "-S", str(GOLDEN / "make.py"), str(tmp_path)], check=True)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in GOLDEN.iterdir() if path.suffix in {".bin", ".json"}}
    assert written == kept


def test_the_description_names_every_event_and_field() -> None:
    """docs/wire-format.md grows with the events."""
    text = (GOLDEN.parents[1] / "docs" / "wire-format.md").read_text()
    for kind in EVENTS.values():
        assert f"`{kind.__name__}`" in text
        for field in msgspec.structs.fields(kind):
            assert f"`{field.name}`" in text, f"{kind.__name__}.{field.name} is not described"
