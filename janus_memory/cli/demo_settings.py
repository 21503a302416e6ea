"""The demo's settings: one simulated currency market, example rules, everything on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from janus_memory.config import (
    IngestSettings,
    KafkaSettings,
    MarketSettings,
    RaySettings,
    Settings,
    SleepSettings,
)
from janus_memory.logic.presets import EXAMPLE_RULES
from janus_memory.simulate.behaviour import ACTION_NAMES
from janus_memory.simulate.features import DEFAULT_FEATURES
from janus_memory.simulate.sessions import DEFAULT_CALENDAR

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MARKET", "demo_market", "demo_settings"]

MARKET = "eurusd"
PARTITIONS = 4


def demo_market() -> MarketSettings:
    """Hourly EUR/USD, traded in weeks by agents that go short, flat or long."""
    return MarketSettings(
        features=DEFAULT_FEATURES,
        action_names=ACTION_NAMES,
        partitions=PARTITIONS,
        calendar=DEFAULT_CALENDAR,
        session="week",
        simulated=True,
        rules=EXAMPLE_RULES,
    )


def demo_settings(
    data: Path, bootstrap: str, *, dashboard: bool, port: int, in_process: bool = False
) -> Settings:
    """Settings of a demo run.

    Args:
        data: its data folder.
        bootstrap: the embedded broker's address.
        dashboard: whether Ray's dashboard runs; it takes a gigabyte more.
        port: of the ingest worker's health endpoint.
        in_process: compute the nights without Ray.
    """
    return Settings(
        data_dir=str(data),
        kafka=KafkaSettings(bootstrap=bootstrap),
        # A machine that stands still for a minute is slow; no other worker could take over here.
        ingest=IngestSettings(port=port, watchdog_timeout_s=120.0),
        ray=RaySettings(
            executor="in_process" if in_process else "ray", dashboard=dashboard, dashboard_port=0
        ),
        sleep=SleepSettings(retry_s=1.0),
        markets={MARKET: demo_market()},
    )
