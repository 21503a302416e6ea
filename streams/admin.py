"""Topics as they should be: create the missing ones, and say where existing ones differ."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from janus_memory.errors import BrokerError
from streams.connection import client_options, closed, wait_for_broker
from streams.dead_letters import max_dead_letter_bytes
from streams.topics import (
    ANOMALIES,
    CUTS,
    DEAD_LETTERS,
    MARKET_EVENTS,
    POLICY_UPDATES,
    RISK,
    SCHEMA_UPDATES,
    SLEEP_REPORTS,
    replay,
    transitions,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from janus_memory.config import KafkaSettings, Settings

__all__ = ["Difference", "TopicPlan", "check_topics", "create_topics", "ensure_topic", "topic_plans"]

_BATCH_OVERHEAD_BYTES = 64 * 1024
_ALREADY_EXISTS = 36
_UNKNOWN_TOPIC = 3
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as it should be.

    Attributes:
        name: its name.
        partitions: their number; it can never change, because a key would move to another partition.
        options: topic-level broker settings.
    """

    name: str
    partitions: int
    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a topic is not as planned; `found` is None for a topic that is not there."""

    topic: str
    what: str
    wanted: str
    found: str | None


def topic_plans(settings: Settings, markets: Sequence[str]) -> list[TopicPlan]:
    """All topics that these markets need, the markets' own first.

    Raises:
        ConfigError: a market is not in the settings.
    """
    ingest = settings.ingest
    keep = {
        "cleanup.policy": "delete",
        "retention.ms": str(round(settings.kafka.retention_days * 86_400_000)),
    }
    compact = {"cleanup.policy": "compact"}
    durable = {"min.insync.replicas": "2"} if settings.kafka.replication_factor >= 3 else {}
    rows = keep | {
        "max.message.bytes": str(ingest.max_record_bytes + _BATCH_OVERHEAD_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }
    letters = keep | {
        "max.message.bytes": str(max_dead_letter_bytes(ingest.max_record_bytes) + _BATCH_OVERHEAD_BYTES)
    }
    shared = {
        MARKET_EVENTS: keep,
        CUTS: compact,
        DEAD_LETTERS: letters,
        ANOMALIES: keep,
        RISK: keep,
        SCHEMA_UPDATES: keep,
        POLICY_UPDATES: compact,
        SLEEP_REPORTS: keep,
    }
    own = [TopicPlan(transitions(m), settings.market(m).partitions, rows | durable) for m in markets]
    own += [TopicPlan(replay(m), 1, rows | durable) for m in markets]
    return own + [TopicPlan(name, 1, options | durable) for name, options in shared.items()]


async def check_topics(settings: Settings, markets: Sequence[str]) -> list[Difference]:
    """Where the broker's topics differ from the plan; empty if nowhere.

    Raises:
        BrokerError: the broker is away or refuses the question.
        ConfigError: a market is not in the settings.
    """
    plans = topic_plans(settings, markets)
    async with _admin(settings.kafka) as admin:
        return await _differences(admin, plans)


async def create_topics(settings: Settings, markets: Sequence[str]) -> list[str]:
    """Create the missing topics; the names of those created. Existing ones are left as they are.

    Raises:
        BrokerError: the broker is away or refuses, or an existing topic has another number of partitions
            (then nothing is created).
        ConfigError: a market is not in the settings.
    """
    return await _create_missing(settings.kafka, topic_plans(settings, markets))


async def ensure_topic(settings: Settings, market: str, name: str) -> bool:
    """Create one planned topic of a market unless it exists; whether it was created.

    Raises:
        BrokerError: as `create_topics`.
        ConfigError: the market is not in the settings.
    """
    plans = [plan for plan in topic_plans(settings, [market]) if plan.name == name]
    return bool(await _create_missing(settings.kafka, plans))


async def _create_missing(kafka: KafkaSettings, plans: Sequence[TopicPlan]) -> list[str]:
    async with _admin(kafka) as admin:
        partitions = await _partitions(admin, plans)
        for plan in plans:
            found = partitions.get(plan.name)
            if found is not None and found != plan.partitions:
                raise BrokerError(
                    f"topic {plan.name} has {found} partitions, the settings say {plan.partitions}; nothing was "
                    "created or changed: another count would move episodes between partitions; set "
                    f"`partitions = {found}`, or delete the topic and its state to start afresh"
                )
        missing = [plan for plan in plans if plan.name not in partitions]
        if missing:
            await _create(admin, missing, kafka)
            await _until_known(admin, missing, kafka.connect_timeout_s)
        return [plan.name for plan in missing]


@asynccontextmanager
async def _admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    await wait_for_broker(kafka)
    admin = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await admin.start()
        yield admin
    except KafkaError as error:
        raise BrokerError(
            f"the broker at {kafka.bootstrap} refused an admin request: {error!r}; topics are as they were "
            "reported last; check its log and this user's rights"
        ) from error
    finally:
        await closed(admin.close())


async def _create(admin: AIOKafkaAdminClient, plans: Sequence[TopicPlan], kafka: KafkaSettings) -> None:
    new = [
        NewTopic(p.name, p.partitions, kafka.replication_factor, topic_configs=dict(p.options)) for p in plans
    ]
    response = await admin.create_topics(new)
    for name, code, *why in response.topic_errors:
        if code not in {0, _ALREADY_EXISTS}:
            raise BrokerError(
                f"topic {name} was not created: {for_code(code).__name__} {why[0] if why else ''}; others may "
                "have been; correct the settings (kafka.replication_factor?) and run `janus topics create` again"
            )


async def _until_known(admin: AIOKafkaAdminClient, plans: Sequence[TopicPlan], timeout_s: float) -> None:
    """A created topic is known to the broker's metadata a moment later; clients must not come before that."""
    try:
        async with asyncio.timeout(timeout_s):
            while len(await _partitions(admin, plans)) < len(plans):  # noqa: ASYNC110  (a broker announces no topics)
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise BrokerError(
            f"topics were created, but the broker does not list them after {timeout_s:g} s; run "
            "`janus topics check`"
        ) from None


async def _partitions(admin: AIOKafkaAdminClient, plans: Sequence[TopicPlan]) -> dict[str, int]:
    """Number of partitions of those topics that exist."""
    existing = set(await admin.list_topics())
    names = [plan.name for plan in plans if plan.name in existing]
    if not names:
        return {}
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in await admin.describe_topics(names)
        if topic["error_code"] != _UNKNOWN_TOPIC
    }


async def _differences(admin: AIOKafkaAdminClient, plans: Sequence[TopicPlan]) -> list[Difference]:
    partitions = await _partitions(admin, plans)
    options = await _options(admin, [plan.name for plan in plans if plan.name in partitions])
    found: list[Difference] = []
    for plan in plans:
        if plan.name not in partitions:
            found.append(Difference(plan.name, "topic", f"{plan.partitions} partitions", None))
            continue
        has = {"partitions": str(partitions[plan.name])} | options[plan.name]
        wanted = {"partitions": str(plan.partitions)} | plan.options
        found += [
            Difference(plan.name, what, value, has.get(what))
            for what, value in wanted.items()
            if has.get(what) != value
        ]
    return found


async def _options(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Topic-level settings by topic."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    options: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for resource in response.resources:
            code, message, _, name, entries = resource
            if code:
                raise BrokerError(
                    f"the broker does not say how topic {name} is set up: {message}; nothing was changed"
                )
            options[name] = _values(entries)
    return options


def _values(entries: Sequence[Sequence[Any]]) -> dict[str, str]:
    return {entry[0]: entry[1] for entry in entries}
