"""The names of the topics and the content types of the records on them."""

from __future__ import annotations

from janus_memory.topics import POLICY_UPDATES, SCHEMA_UPDATES, SLEEP_REPORTS

__all__ = [
    "ANOMALIES",
    "BARRIER_TYPE",
    "CONTENT_TYPE",
    "CUTS",
    "DEAD_LETTERS",
    "FRAME_TYPE",
    "JSON_TYPE",
    "MARKET_EVENTS",
    "POLICY_UPDATES",
    "RISK",
    "SCHEMA_UPDATES",
    "SLEEP_REPORTS",
    "replay",
    "transitions",
]

MARKET_EVENTS = "janus.market-events"
CUTS = "janus.cuts"
DEAD_LETTERS = "janus.dead-letters"
ANOMALIES = "janus.anomalies"
RISK = "janus.risk"

CONTENT_TYPE = "content-type"
FRAME_TYPE = "application/vnd.janus.frame+msgpack"
JSON_TYPE = "application/json"
BARRIER_TYPE = "application/vnd.janus.barrier+json"


def transitions(market: str) -> str:
    """The topic of one market's transitions."""
    return f"janus.transitions.{market}"


def replay(market: str) -> str:
    """The topic onto which episodes of one market's memory are replayed; no memory reads it."""
    return f"janus.replay.{market}"
