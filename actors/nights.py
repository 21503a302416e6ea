"""Run the next night of a market: begin it, keep its process going, commit it or say why not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.cluster import LocalCluster, environment
from actors.driver import NightProcess
from janus_memory.errors import BrokerError, JanusError, SessionError
from janus_memory.sleep.sessions import session_folder

if TYPE_CHECKING:
    from actors.cut_book import CutBook
    from actors.driver import Ending
    from actors.status import Status
    from janus_memory.config import Settings
    from janus_memory.sleep.sessions import MarketState, SessionRecord

__all__ = ["MAX_CRASHES", "NightRunner"]

MAX_CRASHES = 3
_LARGEST_OWN_CODE = 10


class NightRunner:
    """Runs nights, one at a time, and holds the local Ray head that they use.

    Args:
        settings: all settings.
        config: their file.
        status: told what happens.
    """

    def __init__(self, settings: Settings, config: Path, status: Status) -> None:
        self._settings = settings
        self._config = config
        self._status = status
        self._data_dir = Path(settings.data_dir)
        self._cluster: LocalCluster | None = None

    async def start_cluster(self) -> None:
        """Start the local head, unless the settings name a cluster or the one we have lives.

        Raises:
            ConfigError, SessionError: it cannot be started.
        """
        ray = self._settings.ray
        if ray.executor != "ray" or ray.address or (self._cluster and self._cluster.alive):
            return
        if self._cluster:
            self._status.say("the local Ray head has died; it is started again")
            await asyncio.to_thread(self._cluster.stop)
        self._status.say("starting a local Ray head")
        starting = asyncio.create_task(asyncio.to_thread(LocalCluster.start, ray, self._data_dir))
        try:
            self._cluster = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._cluster = await starting  # a thread cannot be cancelled; `close` ends what it has started
            raise
        self._status.ray(self._cluster.dashboard, self._cluster.token, self._cluster.banner)

    async def close(self) -> None:
        """End the local head."""
        if self._cluster:
            await asyncio.to_thread(self._cluster.stop)

    async def run_next(self, state: MarketState, book: CutBook) -> bool:
        """Run the night that is next, if there is one; True if something was done.

        Raises:
            SessionError: this process no longer owns the market.
        """
        for changed in state.apply_requests():
            self._status.say(f"session {changed.session_id} is {changed.state} again, as asked", state.market)
        record = self._next(state, book)
        if record is None:
            return False
        await self._run(state, record)
        return True

    def _next(self, state: MarketState, book: CutBook) -> SessionRecord | None:
        """The session that is running already (a night was killed), or the one that can begin."""
        records = state.records()
        if any(r.state == "failed" for r in records):
            return None
        running = [r for r in records if r.state == "running"]
        if running:
            return running[0]
        over = {r.session_id for r in records if r.state != "pending"}
        now = asyncio.get_running_loop().time()
        plan = book.next_plan(over, state.last_cuts(), now, self._settings.sleep.cut_deadline_s)
        if plan is None:
            return None
        if plan.missing:
            self._status.say(
                f"session {plan.session_id}: no cut of partitions {list(plan.missing)} within "
                f"{self._settings.sleep.cut_deadline_s:g} s; their rows come a night later",
                state.market,
            )
        try:
            return state.begin(plan)
        except SessionError as error:
            self._fail(state, plan.session_id, str(error))
            return None

    async def _run(self, state: MarketState, record: SessionRecord) -> None:
        """Until the session is committed, skipped or failed."""
        while record.state == "running":
            await self.start_cluster()
            ending = await self._process(state, record).run()
            record = await self._judge(state, record, ending)

    async def _judge(self, state: MarketState, record: SessionRecord, ending: Ending) -> SessionRecord:
        name = record.session_id
        if ending.code == 0:
            return self._commit(state, name)
        if ending.code == BrokerError.exit_code:
            self._status.say(f"session {name} waits for the broker: {ending.error}", state.market)
            await asyncio.sleep(self._settings.sleep.retry_s)
            return record
        if 0 < ending.code <= _LARGEST_OWN_CODE:
            return self._fail(state, name, ending.error or ending.describe())
        record = state.crashed(name, f"the night's process ended with {ending.describe()}")
        self._status.say(f"session {name}: {record.reason}; attempt {record.attempts}", state.market)
        if record.attempts < MAX_CRASHES:
            return record
        log = session_folder(state.folder, name) / "night.log"
        return self._fail(state, name, f"{record.reason}, the last of {record.attempts} attempts; see {log}")

    def _commit(self, state: MarketState, session_id: str) -> SessionRecord:
        try:
            record = state.commit(session_id)
        except JanusError as error:
            return self._fail(state, session_id, str(error))
        why = f" ({record.reason})" if record.reason else ""
        self._status.say(
            f"session {session_id} {record.state}{why}, digest {record.digest[:16]}", state.market
        )
        return record

    def _fail(self, state: MarketState, session_id: str, reason: str) -> SessionRecord:
        record = state.fail(session_id, reason)
        self._status.say(
            f"session {session_id} FAILED: {reason}; later sessions wait; release it with "
            f"`janus sleep --retry {session_id}` or `--skip {session_id}`",
            state.market,
        )
        return record

    def _process(self, state: MarketState, record: SessionRecord) -> NightProcess:
        address = self._cluster.address if self._cluster else ""
        arguments = ["--config", str(self._config), "--market", state.market]
        arguments += ["--session", record.session_id, "--epoch", str(state.epoch)]
        arguments += ["--ray-address", address] if address else []
        extra = (
            environment(self._settings.ray, self._data_dir) if self._settings.ray.executor == "ray" else {}
        )
        log = session_folder(state.folder, record.session_id) / "night.log"

        def hear(said: dict[str, Any]) -> None:
            self._status.progress(state.market, record.session_id, said)

        return NightProcess(arguments, extra, log, hear)
