"""The names of the topics that a night announces itself on; `streams.topics` has the others."""

from __future__ import annotations

__all__ = ["POLICY_UPDATES", "SCHEMA_UPDATES", "SLEEP_REPORTS"]

SCHEMA_UPDATES = "janus.schema-updates"
POLICY_UPDATES = "janus.policy-updates"
SLEEP_REPORTS = "janus.sleep-reports"
