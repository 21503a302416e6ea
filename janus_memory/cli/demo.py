"""`janus demo`: the whole loop on one machine, on real market data, in a few minutes."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from janus_memory.cli.children import Child, stop_all
from janus_memory.cli.context import json_option, print_json
from janus_memory.cli.simulate import prepare
from janus_memory.errors import ConfigError, SessionError
from janus_memory.sleep.sessions import read_records, state_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.status import Status

    from janus_memory.cli.feed import Feed
    from janus_memory.cli.simulate import Play
    from janus_memory.config import Settings
    from janus_memory.events import SleepReport
    from janus_memory.simulate.sessions import Session
    from streams.producer import JanusProducer

__all__ = ["demo", "fresh_folder"]

MARKER = ".janus-demo"
NIGHT_TIMEOUT_S = 600.0
SETTLE_TIMEOUT_S = 60.0
_POLL_S = 0.5


@click.command()
@click.option(
    "--data", default="demo-data", show_default=True, type=click.Path(path_type=Path), help="Data folder."
)
@click.option(
    "--sessions", "n_sessions", default=5, show_default=True, type=click.IntRange(1, 50), help="Weeks."
)
@click.option(
    "--keep", is_flag=True, help="Keep an earlier demo's folder: use the next free number beside it."
)
@click.option("--dashboard", is_flag=True, help="Run Ray's dashboard too, for as long as the demo runs.")
@click.option("--in-process", is_flag=True, help="Compute the nights without Ray; the result is the same.")
@json_option
def demo(  # noqa: PLR0917  (click passes each option by name)
    data: Path, n_sessions: int, keep: bool, dashboard: bool, in_process: bool, as_json: bool
) -> None:
    """Trade real weeks of EUR/USD, sleep after each, and show what was learned. Needs nothing else installed.

    Brings an embedded broker, the ingest worker and the sleeper with Ray, plays hourly bars of 2017 traded by
    twenty agents, waits for the night after each week, prints a summary and ends. Reads no settings file.

    \b
    Examples:
      janus demo
      janus demo --sessions 2 --data /tmp/janus
      janus demo --dashboard --keep
    """
    console = Console(stderr=as_json, highlight=False)
    folder = fresh_folder(data.resolve(), keep=keep)
    started = time.monotonic()
    with _terminable():
        play, feed, settings = _run(folder, n_sessions, console, dashboard=dashboard, in_process=in_process)
    from janus_memory.cli.summary import print_summary, summary_of

    summary = summary_of(feed, play, settings, time.monotonic() - started)
    if as_json:
        print_json(summary)
    else:
        print_summary(console, summary)


def fresh_folder(folder: Path, *, keep: bool) -> Path:
    """An empty folder for a demo run; an earlier demo's is removed, or kept and numbered beside.

    Raises:
        ConfigError: the folder holds something that no demo has written.
    """
    if keep:
        number, base = 1, folder
        while folder.exists():
            number += 1
            folder = base.with_name(f"{base.name}-{number}")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise ConfigError(
                f"{folder} holds files that no demo has written; nothing was changed; "
                "name another folder with --data, or remove it yourself"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("written by `janus demo`, which removes this folder when it runs again\n")
    return folder


def _run(
    folder: Path, n_sessions: int, console: Console, *, dashboard: bool, in_process: bool
) -> tuple[Play, Feed, Settings]:
    """Start everything, play the sessions, end everything."""
    from janus_memory.cli.demo_settings import MARKET, demo_settings
    from janus_memory.cli.up import service_children, write_settings
    from janus_memory.loopback import free_port
    from streams.admin import topic_plans
    from streams.embedded import EmbeddedBroker

    with ExitStack() as stack:
        status = stack.enter_context(console.status("starting the embedded broker"))
        broker = stack.enter_context(EmbeddedBroker())
        settings = demo_settings(
            folder, broker.bootstrap, dashboard=dashboard, port=free_port(), in_process=in_process
        )
        play = prepare(settings, MARKET)
        if n_sessions > len(play.sessions):
            raise ConfigError(
                f"the shipped bars hold {len(play.sessions)} sessions; ask for at most that many"
            )
        broker.create_topics({plan.name: plan.partitions for plan in topic_plans(settings, [MARKET])})
        write_settings(settings, folder / "janus.toml")
        voice = _Voice(console, status)
        children = service_children(settings, 1, voice.hear)
        stack.callback(stop_all, children)
        _introduce(console, settings, play)
        for child in children:
            child.start()
        feed = asyncio.run(_Stage(settings, play, children, voice).run(play.sessions[:n_sessions]))
        status.update("stopping the services")
    return play, feed, settings


@dataclass(frozen=True, slots=True)
class _Stage:
    """A demo in progress: what is played, by whom it is worked on, and who tells about it."""

    settings: Settings
    play: Play
    children: Sequence[Child]
    voice: _Voice

    async def run(self, sessions: Sequence[Session]) -> Feed:
        """Play the sessions one after the other, each followed by its night."""
        from janus_memory.cli.feed import Feed
        from streams.producer import JanusProducer

        kafka, name = self.settings.kafka, self.play.name
        spec = self.settings.market(name).spec(name)
        async with Feed.follow(kafka) as feed, JanusProducer(kafka, spec) as producer:
            for session in sessions:
                await self._trade(session, producer)
                await self._sleep(session.session_id, feed)
            await _settle(feed, sessions[-1].session_id)
        return feed

    async def _trade(self, session: Session, producer: JanusProducer) -> None:
        from janus_memory.simulate.publish import publish_session

        week = f"week to {session.session_id[:10]}"
        self.voice.doing(f"{week}: trading")
        sent = await publish_session(self.play.market, session, producer, bars_per_second=None)
        self.voice.doing(f"{week}: {sent:,} transitions traded, market closed, night")

    async def _sleep(self, session_id: str, feed: Feed) -> None:
        """Wait for the report of a session's night.

        Raises:
            ChildFailed: a service ended.
            SessionError: the night failed, or no report came.
        """
        started, sleeper = time.monotonic(), self.children[-1]
        state = state_folder(Path(self.settings.data_dir), self.play.name)
        while session_id not in feed.reports:
            for child in self.children:
                child.check()
            for record in read_records(state):
                if record.state == "failed":
                    raise SessionError(
                        f"the night of {record.session_id} failed: {record.reason}\n{sleeper.tail()}"
                    )
            if time.monotonic() - started > NIGHT_TIMEOUT_S:
                raise SessionError(
                    f"no report of session {session_id} within {NIGHT_TIMEOUT_S:g} s; what was committed is in "
                    f"{self.settings.data_dir}; the sleeper's log {sleeper.log} ends with\n{sleeper.tail()}"
                )
            await feed.news(_POLL_S)
        self.voice.night(feed.reports[session_id], time.monotonic() - started)


async def _settle(feed: Feed, session_id: str) -> None:
    """Wait until the schemas that the last report counts have arrived too: they travel on another topic."""
    wanted = feed.reports[session_id].metrics.get("schemas", 0.0)
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while len(feed.schemas) != wanted and time.monotonic() < deadline:
        await feed.news(_POLL_S)


class _Voice:
    """What the demo says while it runs: one line a night, and a moving line for what is being done now."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console, self._status, self._now = console, status, ""

    def doing(self, text: str) -> None:
        self._now = text
        self._status.update(text)

    def hear(self, name: str, line: str) -> None:
        """A line of a child's output; the sleeper's moves the status on."""
        if name == "sleeper" and line.strip():
            self._status.update(f"{self._now}  [dim]{line.strip()[-60:]}[/dim]")

    def night(self, report: SleepReport, seconds: float) -> None:
        m, week = report.metrics, f"week to {report.session_id[:10]}"
        line = f"night {report.state}: {report.reason}"
        if report.state == "committed":
            line = (
                f"{m['transitions']:,.0f} transitions, {m['distinct_timestamps']:.0f} market states -> "
                f"{m['schemas']:.0f} schemas, TD error {m['td_error_before']:.2f} -> {m['td_error_after']:.2f}"
            )
        self._console.print(f"  {week}  {line}  ({seconds:.0f} s)", soft_wrap=True)


def _introduce(console: Console, settings: Settings, play: Play) -> None:
    from janus_memory.simulate.bars import SHIPPED_ORIGIN

    lines = (
        "[bold]JANUS memory[/bold]: what a trading agent remembers while its market sleeps",
        f"  data     {SHIPPED_ORIGIN}",
        f"  traders  {len(play.market.agents)} agents: momentum, mean reversion and chance",
        f"  broker   embedded, {settings.kafka.bootstrap}",
        f"  results  {settings.data_dir}",
        "  nights   one after each trading week\n",
    )
    for line in lines:
        console.print(line, soft_wrap=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does: the services are stopped on the way out."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
