"""The worker's figures for Prometheus, computed when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from prometheus_client.core import Metric

__all__ = ["exposition"]

_COUNTERS = {
    "accepted": "Rows accepted since this worker loaded the partition",
    "duplicates": "Rows dropped because their id was there before",
    "rejected": "Rows sent to the dead letters",
    "records": "Kafka records taken",
}
_GAUGES = {
    "lag": "Records of the partition that were not taken yet",
    "ring_rows": "Rows in the partition's ring",
    "next_offset": "Offset of the record that comes next",
}


class _Collector:
    """Turns one status document into metric families."""

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """The families, from the status of this moment."""
        status = self._status()
        labels = ["market", "partition"]
        for name, text in _COUNTERS.items():
            family: Metric = CounterMetricFamily(f"janus_ingest_{name}", text, labels=labels)
            yield _filled(family, status, name)
        for name, text in _GAUGES.items():
            yield _filled(GaugeMetricFamily(f"janus_ingest_{name}", text, labels=labels), status, name)
        yield CounterMetricFamily("janus_ingest_anomalies", "States flagged", value=status["anomalies"])
        yield CounterMetricFamily("janus_ingest_unflagged", "Rows not judged", value=status["unflagged"])
        yield GaugeMetricFamily(
            "janus_ingest_member", "1 in the consumer group", value=float(status["member"])
        )


def exposition(status: Callable[[], dict[str, Any]]) -> Callable[[], bytes]:
    """A function that renders the figures, from a registry of its own."""
    registry = CollectorRegistry()
    registry.register(_Collector(status))
    return lambda: generate_latest(registry)


def _filled(family: Metric, status: dict[str, Any], name: str) -> Metric:
    for partition in status["partitions"]:
        if partition["loaded"]:
            labels = [partition["market"], str(partition["partition"])]
            family.add_metric(labels, float(partition[name]))  # type: ignore[attr-defined]  # both kinds have it
    return family
