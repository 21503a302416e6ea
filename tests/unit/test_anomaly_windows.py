"""Live anomalies: counted per (market, instrument, agent), announced with risk, never without a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from janus_memory.config import IngestSettings
from janus_memory.events import Anomaly, Risk
from janus_memory.transition import MarketSpec, Transitions
from streams.ingest.anomaly_windows import AnomalyWindows
from streams.ingest.flagging import flag_frame
from streams.topics import ANOMALIES, RISK

SPEC = MarketSpec("m", ("a", "b"), "discrete", 2)


def test_the_window_holds_the_last_verdicts_only() -> None:
    """3 of the last 4 is an alert; older verdicts leave."""
    windows = AnomalyWindows(4, 3)
    verdicts = [True, False, True, True, False, False]
    counts = [windows.push("m", b"i", b"a", anomalous=v) for v in verdicts]
    assert counts == [(1, False), (1, False), (2, False), (3, True), (2, False), (2, False)]


def test_each_agent_on_each_instrument_of_each_market_has_its_own_window() -> None:
    """No verdict counts for another agent."""
    windows = AnomalyWindows(4, 2)
    keys = [("m", b"i", b"a"), ("m", b"i", b"b"), ("m", b"j", b"a"), ("n", b"i", b"a")]
    assert [windows.push(*key, anomalous=True) for key in keys] == [(1, False)] * 4
    assert [windows.push(*key, anomalous=True) for key in keys] == [(2, True)] * 4


def test_the_agent_seen_longest_ago_is_forgotten_first() -> None:
    """Memory stays bounded at 10 000 agents."""
    windows = AnomalyWindows(4, 2)
    windows.push("m", b"i", b"old", anomalous=True)
    windows.push("m", b"i", b"kept", anomalous=True)
    for n in range(9_998):
        windows.push("m", b"i", b"%d" % n, anomalous=False)
    assert windows.push("m", b"i", b"kept", anomalous=True) == (2, True)
    windows.push("m", b"i", b"one more", anomalous=False)
    assert windows.push("m", b"i", b"old", anomalous=True) == (1, False)


def frame(n: int) -> Any:
    rows = Transitions.empty(SPEC, n)
    rows.transition_id[:] = [b"t%d" % i for i in range(n)]
    rows.instrument[:], rows.agent_id[:] = b"i", b"a"
    rows.timestamp[:] = 1_000_000_000 * np.arange(n)
    rows.state[:, 0] = np.arange(n)
    return SimpleNamespace(spec=SPEC, partition=3, offset=17, rows=rows)


def test_states_beyond_the_threshold_become_an_anomaly_and_a_risk_that_holds() -> None:
    """Exactly the states above the threshold are flagged, in row order, with cycle and nearest schema."""
    model: Any = SimpleNamespace(cycle_id="c1", threshold=2.0, ids=np.array(["s0", "s1"]))
    distance, nearest = np.array([1.0, 2.0, 2.5, 9.0]), np.array([0, 0, 1, 0])
    settings = IngestSettings(risk_hold_s=900.0, persist_n=2, persist_window=10)
    events = flag_frame(frame(4), model, distance, nearest, AnomalyWindows(10, 2), settings)
    assert [topic for topic, _ in events] == [ANOMALIES, RISK, ANOMALIES, RISK]
    (_, first), (_, risk), (_, second), (_, alert) = events
    assert isinstance(first, Anomaly)
    assert isinstance(second, Anomaly)
    assert isinstance(risk, Risk)
    assert isinstance(alert, Risk)
    assert (first.transition_id, first.nearest_schema, first.distance, first.cycle_id) == (
        "t2",
        "s1",
        2.5,
        "c1",
    )
    assert (second.transition_id, second.partition, second.offset) == ("t3", 3, 17)
    assert (risk.until, risk.alert, risk.anomalous) == (902_000_000_000, False, 1)
    assert (alert.until, alert.alert, alert.anomalous) == (903_000_000_000, True, 2)


def test_a_state_flagged_again_has_the_same_event_id() -> None:
    """A re-delivered row does not look like a second anomaly."""
    model: Any = SimpleNamespace(cycle_id="c1", threshold=0.0, ids=np.array(["s0"]))
    arguments = (np.array([1.0]), np.array([0]), AnomalyWindows(10, 3), IngestSettings())
    first, again = (flag_frame(frame(1), model, *arguments) for _ in range(2))
    assert [e.event_id for _, e in first] == [e.event_id for _, e in again]
