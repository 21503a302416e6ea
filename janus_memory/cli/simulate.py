"""`janus simulate`: play real bars into a simulated market."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from janus_memory.cli.context import App, json_option, market_time, pass_app, print_json, print_table
from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from janus_memory.config import Settings
    from janus_memory.simulate.sessions import Session
    from janus_memory.simulate.trading import Market

__all__ = ["Play", "prepare", "simulate"]


@dataclass(frozen=True, slots=True)
class Play:
    """A simulated market and those of its sessions that can be played, oldest first."""

    name: str
    market: Market
    sessions: list[Session]


@click.command()
@click.option("--market", help="Which; the only market if there is one. It must say `simulated = true`.")
@click.option(
    "--bars", type=click.Path(path_type=Path), help="Your own CSV or Parquet; else the shipped EUR/USD."
)
@click.option("--instrument", help="Name of the instrument; the file's name if not given.")
@click.option("--sessions", "n_sessions", type=click.IntRange(1), help="How many; all if not given.")
@click.option("--from", "first", metavar="DATE", help="Skip sessions that close before this date.")
@click.option("--speed", default="max", show_default=True, help="Bars a second, or max.")
@click.option(
    "--agents", "n_agents", default=20, show_default=True, type=click.IntRange(1, 99), help="Traders."
)
@click.option("--notional", default=100_000.0, show_default=True, help="Size of a position of 1.")
@click.option("--spread", default=0.00008, show_default=True, help="Bid to ask, in price.")
@click.option("--commission", default=2.5, show_default=True, help="For each change of position, in money.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent; connect to nothing.")
@json_option
@pass_app
def simulate(  # noqa: PLR0917  (click passes each option by name)
    app: App,
    market: str | None,
    bars: Path | None,
    instrument: str | None,
    n_sessions: int | None,
    first: str | None,
    speed: str,
    n_agents: int,
    notional: float,
    spread: float,
    commission: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Play market bars as a trading system: features, twenty traders, costs, open and close events.

    Bars need the columns time (start of the bar), open, high, low, close and, for volume_z, volume. The
    features are those of the market's settings; sessions come from its `calendar` and `session`. Bars before
    the first full window only feed the features. Writes only to a market that says `simulated = true`.

    \b
    Examples:
      janus simulate --dry-run
      janus simulate --sessions 3 --speed 50
      janus simulate --market mine --bars mybars.parquet --from 2024-01-01
    """
    from janus_memory.simulate.trading import Costs

    pace = _pace(speed)
    costs = Costs(notional, spread, commission)
    play = prepare(
        app.settings, app.market(market), bars=bars, instrument=instrument, costs=costs, n_agents=n_agents
    )
    chosen = _choose(play.sessions, first, n_sessions)
    sent = [0] * len(chosen) if dry_run else asyncio.run(_send(app.settings, play, chosen, pace))
    rows = [
        (s.session_id, market_time(s.opens_at), market_time(s.closes_at), s.n_bars, n)
        for s, n in zip(chosen, sent, strict=True)
    ]
    keys = ("session", "opens", "closes", "bars", "transitions sent")
    if as_json:
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        print_table(f"market {play.name}", keys, rows)


def prepare(
    settings: Settings,
    name: str,
    *,
    bars: Path | None = None,
    instrument: str | None = None,
    costs: object = None,
    n_agents: int = 20,
) -> Play:
    """Read the bars and find the sessions that have enough history for every feature.

    Raises:
        ConfigError: the market is not simulated, or the bars, the features or the calendar cannot be used.
    """
    from janus_memory.simulate.bars import read_bars, shipped_bars
    from janus_memory.simulate.sessions import sessions_of
    from janus_memory.simulate.trading import Costs, Market

    own = settings.market(name)
    if not own.simulated:
        raise ConfigError(
            f"market {name} is not simulated; nothing was sent, so its memory is untouched; "
            f"simulate into a market of its own, with `simulated = true` under [markets.NAME]"
        )
    data = read_bars(bars, instrument or bars.stem) if bars else shipped_bars()
    market = Market(
        own.spec(name),
        data,
        costs if isinstance(costs, Costs) else Costs(),
        seed=settings.seed,
        n_agents=n_agents,
    )
    ready = [s for s in sessions_of(data, own.calendar, own.session) if market.is_ready(s)]
    if not ready:
        raise ConfigError(
            f"{len(data)} bars of {data.instrument} are too few for the longest feature window; nothing was sent; "
            "give more history or shorter windows"
        )
    return Play(name, market, ready)


def _choose(sessions: list[Session], first: str | None, n: int | None) -> list[Session]:
    if first is not None:
        try:
            dt.date.fromisoformat(first)
        except ValueError:
            raise ConfigError(
                f"--from {first!r} is not a date such as 2017-03-01; nothing was sent"
            ) from None
        sessions = [s for s in sessions if s.session_id >= first]
    if not sessions:
        raise ConfigError(f"no session closes on or after {first}; nothing was sent")
    return sessions[:n]


def _pace(speed: str) -> float | None:
    """Bars a second; None for as fast as possible."""
    if speed == "max":
        return None
    try:
        pace = float(speed)
    except ValueError:
        pace = 0.0
    if not 0 < pace < float("inf"):
        raise ConfigError(
            f"--speed {speed!r} is neither a positive number of bars a second nor max; nothing was sent"
        )
    return pace


async def _send(settings: Settings, play: Play, sessions: list[Session], pace: float | None) -> list[int]:
    from janus_memory.simulate.publish import publish_session
    from streams.producer import JanusProducer

    spec = settings.market(play.name).spec(play.name)
    sent = []
    async with JanusProducer(
        settings.kafka, spec, max_record_bytes=settings.ingest.max_record_bytes
    ) as producer:
        for session in sessions:
            sent.append(await publish_session(play.market, session, producer, bars_per_second=pace))
            click.echo(f"session {session.session_id}: {sent[-1]} transitions sent, market closed", err=True)
    return sent
