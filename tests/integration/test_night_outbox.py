"""An outbox reaches Kafka in order, at least once, from its cursor on, however often the way there breaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from actors.publishers import drain
from janus_memory.config import KafkaSettings
from janus_memory.errors import BrokerError
from janus_memory.loopback import free_port
from janus_memory.sleep.outbox import OutboxRecord
from janus_memory.sleep.sessions import (
    COMMIT_FILE,
    Cursor,
    MarketState,
    NightPlan,
    Outcome,
    read_cursor,
    session_folder,
)
from janus_memory.store.arrays import write_bytes
from streams.embedded import EmbeddedBroker
from streams.outbox_publisher import publish
from tests.integration.harness import read_topic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

TOPIC = "janus.sleep-reports"
OUTBOX = [OutboxRecord(TOPIC, "fx", f"record {n}".encode()) for n in range(7)]


@pytest.fixture
def kafka() -> Iterator[KafkaSettings]:
    with EmbeddedBroker({TOPIC: 1}) as broker:
        yield KafkaSettings(bootstrap=broker.bootstrap, connect_timeout_s=120.0)


@pytest.fixture
def market(tmp_path: Path) -> Iterator[MarketState]:
    """Three nights: committed, skipped by hand, committed."""
    state = MarketState.acquire(tmp_path, "fx")
    for day in (1, 2, 3):
        name = f"d{day}"
        state.begin(NightPlan(market="fx", session_id=name, closed_at=day, cuts=()))
        if day == 2:
            state.fail(name, "broken")
            state.skip(name)
            continue
        folder = session_folder(state.folder, name)
        write_bytes(folder / "outcome.json", msgspec.json.encode(Outcome(state="committed")))
        write_bytes(folder / COMMIT_FILE, b"memory")
        state.commit(name)
    yield state
    state.release()


def test_records_come_in_order_from_the_cursor_on(kafka: KafkaSettings) -> None:
    """What was published before is not sent again, and the cursor follows each batch."""
    stored: list[int] = []
    asyncio.run(publish(kafka, OUTBOX, 2, stored.append, batch=2))
    assert [r.value for r in read_topic(kafka.bootstrap, TOPIC)] == [r.value for r in OUTBOX[2:]]
    assert [r.key for r in read_topic(kafka.bootstrap, TOPIC)] == [b"fx"] * 5
    assert stored == [4, 6, 7]


def test_a_finished_outbox_sends_nothing(kafka: KafkaSettings) -> None:
    """Publishing twice is publishing once."""
    asyncio.run(publish(kafka, OUTBOX, 7, lambda done: pytest.fail(f"stored {done}")))
    assert read_topic(kafka.bootstrap, TOPIC) == []


def test_an_absent_broker_moves_no_cursor() -> None:
    """The error names the record that waits and the address."""
    away = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}", connect_timeout_s=1.0)
    with pytest.raises(BrokerError, match=rf"record 3 of 7 .*{away.bootstrap}.*the night is committed"):
        asyncio.run(publish(away, OUTBOX, 2, lambda done: pytest.fail(f"stored {done}")))


def test_a_publisher_cancelled_at_any_turn_after_its_last_record_ends_as_cancelled(
    kafka: KafkaSettings,
) -> None:
    """Closing the client takes turns of the loop in which aiokafka suppresses a cancellation: none may be lost."""

    async def cancelled(turns: int) -> bool | None:
        """Whether the publisher has ended as cancelled; None if it had ended before."""
        sent = asyncio.Event()
        publishing = asyncio.create_task(publish(kafka, OUTBOX, 0, lambda _: sent.set()))
        await sent.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        if publishing.done():
            return None
        publishing.cancel()
        await asyncio.wait([publishing])
        return publishing.cancelled()

    ends = [asyncio.run(cancelled(turns)) for turns in range(15)]
    assert False not in ends
    assert True in ends


class Unsteady:
    """A publisher that fails `failures` times before each night."""

    name = "unsteady"

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.tries: list[tuple[int, bool]] = []

    async def carry(self, state: MarketState, ordinal: int, night: Path | None) -> None:
        """Note the try; fail if it is one of the first for its night."""
        self.tries.append((ordinal, night is not None))
        if len([n for n, _ in self.tries if n == ordinal]) <= self.failures:
            raise BrokerError(f"{state.market} is not reached")


def test_every_night_is_tried_again_until_it_is_carried(market: MarketState) -> None:
    """In order; a session skipped by hand has no memory to carry; errors are told, never raised."""
    publisher = Unsteady(failures=2)
    told: list[str] = []
    asyncio.run(drain(publisher, market, 0.0, told.append))
    assert publisher.tries == [(1, True)] * 3 + [(2, False)] * 3 + [(3, True)] * 3
    assert read_cursor(market.folder, "unsteady") == Cursor(4, 0)
    assert len(told) == 6
    assert "fx is not reached; tried again" in told[0]


def test_a_carried_night_is_not_carried_again(market: MarketState) -> None:
    """The cursor outlives the process."""
    asyncio.run(drain(Unsteady(0), market, 0.0, print))
    second = Unsteady(0)
    asyncio.run(drain(second, market, 0.0, print))
    assert second.tries == []
