"""Commands against a broker: the embedded cluster, over the real wire."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from janus_memory.cli.demo_settings import MARKET, demo_settings
from janus_memory.cli.main import run
from janus_memory.cli.up import write_settings
from janus_memory.events import Cut, MarketEvent, decode, encode, event_id
from janus_memory.sleep.sessions import MarketState
from streams.admin import topic_plans
from streams.embedded import EmbeddedBroker
from streams.topics import CUTS, MARKET_EVENTS, transitions

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An embedded cluster with the demo's topics, and ./janus.toml that points to it."""
    monkeypatch.chdir(tmp_path)
    with EmbeddedBroker() as cluster:
        settings = demo_settings(tmp_path / "data", cluster.bootstrap, dashboard=False, port=1)
        cluster.create_topics({plan.name: plan.partitions for plan in topic_plans(settings, [MARKET])})
        write_settings(settings, tmp_path / "janus.toml")
        yield cluster.bootstrap


def _events(bootstrap: str) -> list[MarketEvent]:
    async def read() -> list[MarketEvent]:
        place = TopicPartition(MARKET_EVENTS, 0)
        async with AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False) as consumer:
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            end = (await consumer.end_offsets([place]))[place]
            return [decode(MarketEvent, (await consumer.getone()).value or b"") for _ in range(end)]

    return asyncio.run(read())


def test_simulate_sends_a_session_and_status_shows_how_far_ingest_is_behind(
    broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", "--sessions", "1", "--agents", "3", "--json"]) == 0
    (sent,) = json.loads(capsys.readouterr().out)
    assert sent["transitions sent"] == 3 * 115
    assert [(e.kind, e.session_id) for e in _events(broker)] == [
        ("open", "2017-01-13.1"),
        ("close", "2017-01-13.1"),
    ]
    assert run(["status", "--json"]) == 0
    partitions = json.loads(capsys.readouterr().out)["markets"][MARKET]["partitions"]
    assert [p["partition"] for p in partitions] == [0, 1, 2, 3]
    assert all(p["committed"] is None and p["lag"] == p["end"] for p in partitions)
    assert sum(p["end"] for p in partitions) > 0


def test_a_close_by_hand_arrives(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["close", MARKET, "--session", "2026-03-06.1", "--at", "2026-03-06T22:00:00Z"]) == 0
    assert "2026-03-06 22:00:00 UTC" in capsys.readouterr().out
    (event,) = _events(broker)
    assert (event.kind, event.session_id, event.as_of) == ("close", "2026-03-06.1", 1_772_834_400_000_000_000)


def test_status_counts_what_is_committed_and_shows_the_newest_cut(
    broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(session: str, end: int) -> Cut:
        return Cut(
            event_id=event_id("cut", session), market=MARKET, as_of=end, session_id=session, partition=2,
            from_offset=0, to_offset=end, rows=end, early=0, late=1, sha256="", settings_version="",
        )  # fmt: skip

    async def prepare() -> None:
        place = TopicPartition(transitions(MARKET), 2)
        async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
            for _ in range(5):
                await producer.send_and_wait(place.topic, b"x", partition=2)
            for one in (cut("2017-01-13.1", 3), cut("2017-01-20.1", 5)):
                await producer.send_and_wait(CUTS, encode(one), key=one.key.encode())
            await producer.send_and_wait(CUTS, b"no cut")
        async with AIOKafkaConsumer(
            bootstrap_servers=broker, group_id="janus-ingest", enable_auto_commit=False
        ) as consumer:
            consumer.assign([place])
            await consumer.commit({place: 3})

    asyncio.run(prepare())
    assert run(["status", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["markets"][MARKET]
    assert shown["partitions"][2] == {"partition": 2, "end": 5, "committed": 3, "lag": 2}
    assert [(c["session"], c["offsets"], c["late"]) for c in shown["cuts"]] == [("2017-01-20.1", "0..5", 1)]


@pytest.mark.usefixtures("broker")
def test_no_dead_letters_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dead-letters", "list"]) == 0
    assert "dead letters: none" in capsys.readouterr().out
    assert run(["dead-letters", "redrive"]) == 0
    assert "nothing sent" in capsys.readouterr().out


@pytest.mark.usefixtures("broker")
def test_sleep_run_closes_and_tells_how_the_night_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = MarketState.acquire(tmp_path / "data", MARKET)
    state.register("2026-03-06.1", 1)
    state.fail("2026-03-06.1", "the night broke")
    state.release()
    assert run(["sleep", "run", "--session", "2026-03-06.1"]) == 9
    assert "session 2026-03-06.1: failed the night broke" in capsys.readouterr().out
    assert run(["sleep", "run", "--session", "2026-03-07.1", "--timeout", "0"]) == 9
    assert "not known to the sleeper yet after 0 s; the close was sent" in capsys.readouterr().err
