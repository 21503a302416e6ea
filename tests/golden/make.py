"""Writes the golden files by hand: struct, json and hashlib only, nothing of the project.

    python tests/golden/make.py [FOLDER]

It is the second implementation of docs/wire-format.md: if the tests cannot decode what it writes, either
the format or its description has changed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
from pathlib import Path

FEATURES = ["return_1h", "volatility", "drawdown"]
FEATURE_SET = hashlib.sha256("\n".join(FEATURES).encode()).hexdigest()[:16]

# Two rows of market "fx" with three features and three discrete actions.
IDS = {
    "transition_id": ["t-1", "t-22"],
    "instrument": ["EURUSD", "EURUSD"],
    "agent_id": ["agent-é", "agent-é"],
    "episode_id": ["e1", "e2"],
    "domain": ["majors", "majors"],
}
TIMESTAMP = [1772442000000000000, 1772445600000000000]
STATE = [0.5, -1.0, 0.25, 1.5, 2.0, -0.125]
NEXT_STATE = [1.5, 2.0, -0.125, 0.0, 1.0, 3.0]
REWARD = [12.5, -3.75]
ACTION = [2, 0]
NEXT_ACTION = [0, -1]
DONE = [0, 1]
# The same rows in market "fxv", whose action is a vector of two numbers.
VECTOR_ACTION = [0.5, -0.5, 1.0, 0.0]


def pack(value: object) -> bytes:
    """Msgpack of the kinds that a frame uses: map, str, bytes, unsigned int."""
    if isinstance(value, dict):
        head = bytes([0x80 | len(value)]) if len(value) < 16 else b"\xde" + struct.pack(">H", len(value))
        return head + b"".join(pack(k) + pack(v) for k, v in value.items())
    if isinstance(value, str):
        data = value.encode()
        return (bytes([0xA0 | len(data)]) if len(data) < 32 else b"\xd9" + bytes([len(data)])) + data
    if isinstance(value, bytes):
        return b"\xc4" + bytes([len(value)]) + value
    if isinstance(value, int) and 0 <= value < 128:
        return bytes([value])
    raise TypeError(type(value))


def ids(values: list[str]) -> dict[str, object]:
    """A column of ids: one value if all are equal, else each padded with NUL to the widest."""
    data = [value.encode() for value in values]
    width = max(len(d) for d in data)
    kept = data[:1] if len(set(data)) == 1 else data
    return {"w": width, "b": b"".join(d.ljust(width, b"\0") for d in kept)}


def frame(market: str, action: bytes, next_action: bytes) -> bytes:
    """The two rows as one frame."""
    columns: dict[str, object] = {"v": 1, "market": market, "feature_set_id": FEATURE_SET, "n": 2}
    for name, values in IDS.items():
        columns[name] = ids(values)
    columns |= {
        "timestamp": struct.pack("<2q", *TIMESTAMP),
        "state": struct.pack("<6f", *STATE),
        "action": action,
        "reward": struct.pack("<2f", *REWARD),
        "next_state": struct.pack("<6f", *NEXT_STATE),
        "next_action": next_action,
        "done": bytes(DONE),
    }
    return pack(columns)


def single() -> bytes:
    """The first row as a JSON transition."""
    row: dict[str, object] = {name: values[0] for name, values in IDS.items()}
    head: dict[str, object] = {"v": 1, "market": "fx", "feature_set_id": FEATURE_SET}
    rest: dict[str, object] = {
        "state": STATE[:3],
        "action": ACTION[0],
        "reward": REWARD[0],
        "next_state": NEXT_STATE[:3],
        "next_action": NEXT_ACTION[0],
        "done": False,
        "timestamp": TIMESTAMP[0],
    }
    return json.dumps(head | row | rest, ensure_ascii=False).encode()


def event_id(*parts: object) -> str:
    """The deterministic id of an event."""
    return hashlib.sha256("\x1f".join(str(p) for p in parts).encode()).hexdigest()[:32]


def packed(values: list[float], shape: list[int]) -> dict[str, object]:
    """A float64 array in JSON."""
    return {"shape": shape, "data": base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()}


def events() -> dict[str, dict[str, object]]:
    """One of each event, by file name."""
    close, session, cycle = 1772470800000000000, "2026-03-02.1", "fx/2026-03-02.1"
    raw = frame("fx", struct.pack("<2i", *ACTION), struct.pack("<2i", *NEXT_ACTION))

    def event(kind: str, as_of: int = close) -> dict[str, object]:
        return {"event_id": event_id(kind, "fx", session), "version": 1, "market": "fx", "as_of": as_of}

    return {
        "market_event": {
            "event_id": event_id("market", "fx", "close", session, close),
            "version": 1,
            "market": "fx",
            "as_of": close,
            "kind": "close",
            "session_id": session,
        },
        "barrier": event("barrier") | {"kind": "barrier", "session_id": session},
        "cut": {
            "event_id": event_id("cut", "fx", session, 0),
            "version": 1,
            "market": "fx",
            "as_of": close,
            "session_id": session,
            "partition": 0,
            "from_offset": 0,
            "to_offset": 1,
            "rows": 2,
            "early": 0,
            "late": 0,
            "sha256": hashlib.sha256(raw).hexdigest(),
            "settings_version": "0123456789abcdef",
        },
        "schema_update": event("schema")
        | {
            "kind": "merged",
            "cycle_id": cycle,
            "bank_version": 7,
            "schema_id": "00000000000000a1",
            "merged_into": "00000000000000b2",
            "num_points": 41,
            "avg_reward": -1.5,
            "created_at": 1772384400000000000,
            "last_updated": close,
            "profile": "high volatility, falling",
            "mean": packed([0.5, -0.25], [2]),
            "covariance": packed([1.0, 0.125, 0.125, 2.0], [2, 2]),
            "feature_mean": packed([0.001, 0.02], [2]),
            "feature_deviation": packed([0.01, 0.005], [2]),
        },
        "policy_update": event("policy")
        | {
            "cycle_id": cycle,
            "policy_version": 3,
            "location": "fx/policy/3.safetensors",
            "sha256": "a" * 64,
            "anomaly_location": "fx/anomaly/3.safetensors",
            "anomaly_sha256": "b" * 64,
            "metrics": {"td_error_after": 0.25},
            "policy": "desk.policies:torch_q",
        },
        "sleep_report": event("report")
        | {
            "cycle_id": cycle,
            "session_id": session,
            "state": "committed",
            "reason": "",
            "digest": "c" * 64,
            "metrics": {"schemas": 5.0},
            "phase_seconds": {"replay": 1.5},
            "notes": ["one row was late"],
            "strategy": "prioritized_loss",
            "domains": {"majors": 2},
            "policy": "built-in",
        },
        "anomaly": event("anomaly", 1772445600000000000)
        | {
            "cycle_id": cycle,
            "transition_id": "t-22",
            "instrument": "EURUSD",
            "agent_id": "agent-é",
            "episode_id": "e2",
            "partition": 0,
            "offset": 0,
            "distance": 9.5,
            "threshold": 6.0,
            "nearest_schema": "00000000000000b2",
            "state": [1.5, 2.0, -0.125],
            "action": 0,
            "reward": -3.75,
        },
        "risk": event("risk", 1772445600000000000)
        | {
            "cycle_id": cycle,
            "instrument": "EURUSD",
            "agent_id": "agent-é",
            "until": 1772446500000000000,
            "alert": True,
            "anomalous": 3,
            "window": 10,
        },
        "dead_letter": {
            "event_id": event_id("dead-letter", "janus.transitions.fx", 0, 0),
            "version": 1,
            "market": "fx",
            "as_of": 1772445601000000000,
            "topic": "janus.transitions.fx",
            "partition": 0,
            "offset": 0,
            "reason": "1 of 2 rows: reward is NaN or infinite",
            "rows": [1],
            "row_reasons": ["reward is NaN or infinite"],
            "content_type": "application/vnd.janus.frame+msgpack",
            "key": base64.b64encode("EURUSD/agent-é/e1".encode()).decode(),
            "original": base64.b64encode(raw).decode(),
        },
    }


def main() -> None:
    """Write every golden file."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    discrete = frame("fx", struct.pack("<2i", *ACTION), struct.pack("<2i", *NEXT_ACTION))
    nan = float("nan")
    vector = frame("fxv", struct.pack("<4f", *VECTOR_ACTION), struct.pack("<4f", 1.0, 0.0, nan, nan))
    (folder / "frame_discrete.bin").write_bytes(discrete)
    (folder / "frame_vector.bin").write_bytes(vector)
    (folder / "transition.json").write_bytes(single())
    for name, event in events().items():
        (folder / f"{name}.json").write_text(json.dumps(event, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
