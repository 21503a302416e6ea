"""The anomaly model of each market: the one that its last committed night named on the policy-updates topic."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from janus_memory.atlas.anomaly import AnomalyModel
from janus_memory.errors import JanusError
from janus_memory.events import PolicyUpdate, decode
from streams.connection import client_options, closed
from streams.ingest.log_reader import topic_partitions
from streams.topics import POLICY_UPDATES

if TYPE_CHECKING:
    from janus_memory.config import Settings

__all__ = ["ModelState", "Models"]

_logger = logging.getLogger(__name__)
_POLL_MS = 1000


@dataclass(frozen=True, slots=True)
class ModelState:
    """What flags a market's states now.

    Attributes:
        model: None before the first committed night: nothing is flagged.
        note: "uncalibrated", "calibrated", or why a newer model could not be loaded.
    """

    model: AnomalyModel | None = None
    note: str = "uncalibrated"


class Models:
    """Follows the policy updates; `async with Models(settings) as models` has read all that are there.

    A model that is missing or damaged leaves the one before in use; the state says so.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._states = {market: ModelState() for market in settings.markets}
        self._consumer = AIOKafkaConsumer(
            **client_options(settings.kafka),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        partitions = (await topic_partitions(self._settings.kafka, [POLICY_UPDATES]))[POLICY_UPDATES]
        places = [TopicPartition(POLICY_UPDATES, p) for p in partitions]
        self._consumer.assign(places)
        await self._consumer.seek_to_beginning(*places)
        ends = await self._consumer.end_offsets(places)
        while [p for p in places if await self._consumer.position(p) < ends[p]]:
            await self._read()
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await closed(self._consumer.stop())

    def state(self, market: str) -> ModelState:
        """What flags a market's states now."""
        return self._states[market]

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
            except KafkaError as error:
                _logger.warning("%s cannot be read: %r; the models stay as they are", POLICY_UPDATES, error)
                await asyncio.sleep(_POLL_MS / 1000)

    async def _read(self) -> None:
        newest: dict[str, PolicyUpdate] = {}
        for records in (await self._consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                try:
                    update = decode(PolicyUpdate, record.value or b"")
                except JanusError as error:
                    _logger.warning("%s offset %d: %s", POLICY_UPDATES, record.offset, error)
                    continue
                newest[update.market] = update
        for market, update in newest.items():
            if market in self._states:
                self._states[market] = await asyncio.to_thread(self._load, market, update)

    def _load(self, market: str, update: PolicyUpdate) -> ModelState:
        if not update.anomaly_location:
            return self._states[market]
        path = Path(self._settings.data_dir, update.anomaly_location)
        try:
            model = AnomalyModel.load(path, update.anomaly_sha256)
        except JanusError as error:
            _logger.warning("market %s: the model of %s is not used: %s", market, update.cycle_id, error)
            return ModelState(
                self._states[market].model, f"the model of {update.cycle_id} is not used: {error}"
            )
        _logger.info("market %s: anomalies are flagged by the model of %s", market, update.cycle_id)
        return ModelState(model, "calibrated")
