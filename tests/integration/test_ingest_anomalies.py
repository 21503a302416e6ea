"""Live anomalies on a real broker: nothing before the first model, then exactly the states beyond its threshold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from janus_memory.atlas.anomaly import AnomalyModel
from janus_memory.events import Anomaly, PolicyUpdate, Risk, decode, encode
from streams.topics import ANOMALIES, JSON_TYPE, POLICY_UPDATES, RISK
from tests.integration.harness import make_rows, read_topic, send, wait_until
from tests.integration.ingest_driver import caught_up, frame, start, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.harness import Market, Process

pytestmark = pytest.mark.integration

FAR = 50.0


def announce(market: Market, broker: str, cycle: str, *, sha256: str | None = None) -> None:
    """Save a model with one schema at the origin and name it on the policy-updates topic."""
    d = market.spec.state_size
    model = AnomalyModel(
        cycle, np.zeros(d), np.ones(d), np.zeros((1, d)), np.eye(d)[None], np.array(["s0"]), FAR / 4
    )
    location = f"models/{cycle}.safetensors"
    found = model.save(Path(market.settings.data_dir, location))
    update = PolicyUpdate(
        event_id=cycle,
        market=market.name,
        as_of=1,
        cycle_id=cycle,
        policy_version=1,
        location="",
        sha256="",
        anomaly_location=location,
        anomaly_sha256=sha256 or found,
        metrics={},
    )
    send(broker, POLICY_UPDATES, [(0, encode(update), JSON_TYPE)], key=market.name.encode())


def flagged(market: Market, broker: str) -> list[Anomaly]:
    found = [decode(Anomaly, r.value) for r in read_topic(broker, ANOMALIES)]
    return [a for a in found if a.market == market.name]


def test_states_are_flagged_by_the_model_that_the_last_night_named(
    broker: str, market: Callable[..., Market], process: Callable[..., Process]
) -> None:
    """Uncalibrated flags nothing; a damaged model leaves the one before in use; each flag carries its cycle."""
    own = market(persist_n=2, persist_window=5)
    start(process, own)
    rows = make_rows(own.spec, 10)
    rows.state[[4, 6]] = FAR
    send(broker, own.topic, [frame(own, rows)])
    caught_up(own, 1)
    announce(own, broker, "cycle-1")
    wait_until(lambda: status(own)["models"][own.name]["cycle_id"] == "cycle-1", "the first model")
    announce(own, broker, "cycle-2", sha256="0" * 64)
    wait_until(lambda: "cycle-2 is not used" in status(own)["models"][own.name]["note"], "the refusal")
    later = make_rows(own.spec, 10, first=10)
    later.state[[4, 6]] = FAR
    send(broker, own.topic, [frame(own, later)])
    found = wait_until(lambda: a if len(a := flagged(own, broker)) >= 2 else None, "two anomalies")
    assert [(a.transition_id, a.cycle_id, a.offset) for a in found] == [
        ("t14", "cycle-1", 1),
        ("t16", "cycle-1", 1),
    ]
    risks = wait_until(
        lambda: (
            r
            if len(
                r := [
                    x
                    for x in (decode(Risk, y.value) for y in read_topic(broker, RISK))
                    if x.market == own.name
                ]
            )
            >= 2
            else None
        ),
        "two risks",
    )
    assert [(r.anomalous, r.alert) for r in risks] == [(1, False), (2, True)]
    assert msgspec.to_builtins(found[0])["state"] == [FAR] * own.spec.state_size
