"""The plan of topics follows from the settings."""

from __future__ import annotations

import msgspec
import pytest

from janus_memory.config import IngestSettings, KafkaSettings, MarketSettings, Settings
from janus_memory.errors import ConfigError
from streams import topics
from streams.admin import TopicPlan, topic_plans
from tests.unit.wire_rows import DISCRETE

SETTINGS = Settings(
    kafka=KafkaSettings(retention_days=2),
    ingest=IngestSettings(max_record_bytes=1000),
    markets={
        "fx": MarketSettings(features=DISCRETE.features, n_actions=3, partitions=6),
        "eq": MarketSettings(features=DISCRETE.features, n_actions=3, partitions=2),
    },
)


def _plans(settings: Settings = SETTINGS, *markets: str) -> dict[str, TopicPlan]:
    return {plan.name: plan for plan in topic_plans(settings, markets or ("fx", "eq"))}


def test_each_market_has_topics_of_its_own_and_the_others_are_shared() -> None:
    """Partitions of its transitions are the market's own; replays, which keep their order, and shared topics have one."""
    shared = {
        value for name, value in vars(topics).items() if name.isupper() and str(value).startswith("janus.")
    }
    replays = {"janus.replay.fx", "janus.replay.eq"}
    partitions = {name: plan.partitions for name, plan in _plans().items()}
    assert partitions == {"janus.transitions.fx": 6, "janus.transitions.eq": 2} | dict.fromkeys(
        shared | replays, 1
    )
    assert set(_plans(SETTINGS, "eq")) == shared | {"janus.transitions.eq", "janus.replay.eq"}


def test_topics_keep_what_must_be_kept() -> None:
    """Cuts and policies are compacted; the rest is deleted after the retention time."""
    compacted = {name for name, plan in _plans().items() if plan.options["cleanup.policy"] == "compact"}
    assert compacted == {topics.CUTS, topics.POLICY_UPDATES}
    for name, plan in _plans().items():
        assert plan.options.get("retention.ms") == (None if name in compacted else "172800000")


def test_records_fit_and_are_stamped_by_the_broker() -> None:
    """A verdict compares with the Kafka timestamp, so it must not be the producer's word."""
    plans = _plans()
    rows = plans[topics.transitions("fx")].options
    assert rows["message.timestamp.type"] == "LogAppendTime"
    assert int(rows["max.message.bytes"]) > 1000
    assert int(plans[topics.DEAD_LETTERS].options["max.message.bytes"]) > 5 * 1000


@pytest.mark.parametrize(("replicas", "expected"), [(1, None), (2, None), (3, "2")])
def test_three_replicas_need_two_acks(replicas: int, expected: str | None) -> None:
    """An acknowledged row survives the loss of one broker."""
    settings = msgspec.structs.replace(SETTINGS, kafka=KafkaSettings(replication_factor=replicas))
    assert {plan.options.get("min.insync.replicas") for plan in _plans(settings).values()} == {expected}


def test_an_unknown_market_has_no_plan() -> None:
    """The error names the known ones."""
    with pytest.raises(ConfigError, match="known: eq, fx"):
        _plans(SETTINGS, "fy")
