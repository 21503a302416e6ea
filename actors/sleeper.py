"""The sleeper: watches cuts, runs one night at a time, publishes what was committed. `python -m actors.sleeper`.

It never touches Ray itself: each night is a process of its own (`actors.night`), so that neither a crash of
Ray nor one of the night's can hurt it, and no event loop ever waits for Ray.

Ends with 0 on SIGTERM or SIGINT, with an error's own code otherwise (`janus_memory.errors`).
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from actors.cut_book import CutBook
from actors.nights import NightRunner
from actors.publishers import (
    KafkaPublisher,
    QdrantPublisher,
    drain,
    pending_nights,
    report_failures,
    unreported,
)
from actors.status import Status
from janus_memory.errors import BrokerError, CutMismatchError, JanusError, SessionError
from janus_memory.settings import load_settings
from janus_memory.sleep.sessions import FINISHED, MarketState, read_cursor
from janus_memory.threads import fix_threads
from streams.connection import wait_for_broker
from streams.cut_feed import follow_cuts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.publishers import Publisher
    from janus_memory.config import Settings
    from janus_memory.events import Cut

__all__ = ["Sleeper", "main"]

POLL_S = 0.5


class Sleeper:
    """All markets of one installation.

    Args:
        settings: all settings.
        config: their file, handed to each night's process.
        once: leave when every session that can run has run and is published, instead of watching on.
    """

    def __init__(self, settings: Settings, config: Path, *, once: bool = False) -> None:
        self._settings = settings
        self._config = config
        self._once = once
        self._data_dir = Path(settings.data_dir)
        self._books = {name: CutBook(name, m.partitions) for name, m in settings.markets.items()}
        self._states: dict[str, MarketState] = {}
        self._caught_up = asyncio.Event()
        self._publishers: list[Publisher] = [KafkaPublisher(settings), QdrantPublisher(settings)]
        self._status = Status(self._data_dir / "state" / "sleeper.json")

    async def run(self) -> None:
        """Work until cancelled, or until nothing is left to do if `once`.

        Raises:
            JanusError: the broker did not answer in time, the Ray head did not start, state is unreadable.
        """
        async with AsyncExitStack() as stack:
            await wait_for_broker(self._settings.kafka)
            for name in self._books:
                self._states[name] = await self._acquire(name)
                stack.callback(self._states[name].release)
                self._remember_plans(name)
            self._status.own()
            runner = NightRunner(self._settings, self._config, self._status)
            stack.push_async_callback(runner.close)
            if self._settings.ray.executor == "ray":
                await runner.start_cluster()
            self._status.say("the sleeper is ready")
            await self._work(runner)

    async def _work(self, runner: NightRunner) -> None:
        """Watch, run, publish, report: the first that ends or raises ends them all."""
        tasks = [
            asyncio.create_task(self._follow()),
            asyncio.create_task(self._run_nights(runner)),
            *(
                asyncio.create_task(self._publish(publisher, state))
                for publisher in self._publishers
                for state in self._states.values()
            ),
            *(asyncio.create_task(self._report_failures(state)) for state in self._states.values()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _acquire(self, market: str) -> MarketState:
        """Wait for the market as long as another sleeper holds it."""
        told = False
        while True:
            try:
                return MarketState.acquire(self._data_dir, market)
            except SessionError as error:
                if not told:
                    self._status.say(f"waiting: {error}", market)
                    told = True
            await asyncio.sleep(POLL_S)

    def _remember_plans(self, market: str) -> None:
        """Cuts that a night has been given are the first ones, whatever the topic says now."""
        state, now = self._states[market], asyncio.get_running_loop().time()
        for plan in state.plans(*FINISHED, "running", "failed"):
            for cut in plan.cuts:
                self._books[market].add(cut, now)

    async def _follow(self) -> None:
        """Read cuts for ever; a broker that goes away is waited for."""
        while True:
            try:
                await follow_cuts(self._settings.kafka, self._take, self._status.say, self._caught_up)
            except BrokerError as error:
                self._status.say(str(error))
                await asyncio.sleep(self._settings.sleep.retry_s)

    def _take(self, cut: Cut) -> None:
        book, state = self._books.get(cut.market), self._states.get(cut.market)
        if book is None or state is None:
            self._status.say(f"cut {cut.key} belongs to no market of the settings; it is passed over")
            return
        try:
            if book.add(cut, asyncio.get_running_loop().time()):
                state.register(cut.session_id, cut.as_of)
        except CutMismatchError as error:
            self._status.say(str(error), cut.market)
            if state.record(cut.session_id).state == "pending":
                state.fail(cut.session_id, str(error))
        except SessionError as error:
            self._status.say(str(error), cut.market)

    async def _run_nights(self, runner: NightRunner) -> None:
        """Every market in turn, one night at a time."""
        await self._caught_up.wait()
        while True:
            ran = [await runner.run_next(state, self._books[name]) for name, state in self._states.items()]
            self._status.publish(self._states, self._books, self._publishers)
            if any(ran):
                continue
            if self._once and not self._unpublished():
                self._refuse_failed()
                return
            await asyncio.sleep(POLL_S)

    async def _publish(self, publisher: Publisher, state: MarketState) -> None:
        while True:
            await drain(publisher, state, self._settings.sleep.retry_s, self._status.say)
            cursors = [read_cursor(state.folder, p.name).ordinal for p in self._publishers]
            state.forget_memories(min(cursors) - 1)
            await asyncio.sleep(POLL_S)

    async def _report_failures(self, state: MarketState) -> None:
        while True:
            try:
                await report_failures(self._settings, state)
                await asyncio.sleep(POLL_S)
            except BrokerError as error:
                self._status.say(str(error), state.market)
                await asyncio.sleep(self._settings.sleep.retry_s)

    def _refuse_failed(self) -> None:
        failed = [r for state in self._states.values() for r in state.records() if r.state == "failed"]
        if failed:
            raise SessionError(
                f"session {failed[0].session_id} failed: {failed[0].reason}; see `janus status`"
            )

    def _unpublished(self) -> bool:
        states = self._states.values()
        return any(unreported(s) for s in states) or any(
            pending_nights(s, p.name) for p in self._publishers for s in states
        )


async def _until_signal(settings: Settings, config: Path, *, once: bool) -> int:
    """Run until SIGTERM or SIGINT (0), or until the sleeper ends by itself."""
    work = asyncio.create_task(Sleeper(settings, config, once=once).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    with suppress(asyncio.CancelledError):
        await work
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of the sleeper; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m actors.sleeper", description=__doc__)
    parser.add_argument("--config", required=True, help="TOML file of settings")
    parser.add_argument(
        "--once", action="store_true", help="leave when all sessions that can run are published"
    )
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.config)
        fix_threads(settings.sleep.compute_threads)  # the head and the nights inherit it
        return asyncio.run(_until_signal(settings, Path(options.config), once=options.once))
    except JanusError as error:
        print(f"sleeper: {error}", file=sys.stderr, flush=True)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
