"""`janus close`: close a market by hand, where no exchange does it."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from janus_memory.cli.context import App, json_option, market_time, pass_app, print_json
from janus_memory.errors import ConfigError
from janus_memory.sleep.sessions import read_records, state_folder

if TYPE_CHECKING:
    from janus_memory.config import Settings

__all__ = ["close", "close_now"]


@click.command()
@click.argument("market")
@click.option("--session", "session_id", help="Session id; today's date and the next ordinal if not given.")
@click.option(
    "--at", help="Market time of the close, ISO 8601 (UTC where it names no zone); now if not given."
)
@json_option
@pass_app
def close(app: App, market: str, session_id: str | None, at: str | None, as_json: bool) -> None:
    """Close MARKET: everything sent until now becomes a session, whose night the sleeper runs.

    For markets that never close, and after a trading system failed to say that it closed.

    \b
    Examples:
      janus close crypto
      janus close eurusd --session 2026-03-06.1 --at 2026-03-06T22:00:00Z
    """
    name = app.market(market)
    session_id, closed_at = close_now(app.settings, name, session_id, at, dt.datetime.now(dt.UTC))
    if as_json:
        print_json({"market": name, "session_id": session_id, "as_of": closed_at})
    else:
        click.echo(
            f"sent the close of {name}, session {session_id}, at {market_time(closed_at)}; see `janus status`"
        )


def close_now(
    settings: Settings, market: str, session_id: str | None, at: str | None, now: dt.datetime
) -> tuple[str, int]:
    """Send a close event and wait for its acknowledgement.

    Returns:
        The session id and the market time of the close, UTC nanoseconds.

    Raises:
        ConfigError: `at` is not a time.
        BrokerError: the broker is away; nothing was sent.
    """
    from streams.producer import JanusProducer

    moment = _moment(at) if at else now
    closed_at = int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000
    session = session_id or next_session_id(settings, market, moment)

    async def send() -> None:
        async with JanusProducer(settings.kafka, settings.market(market).spec(market)) as producer:
            await producer.close_market(session, closed_at)

    asyncio.run(send())
    return session, closed_at


def next_session_id(settings: Settings, market: str, moment: dt.datetime) -> str:
    """The exchange-local date and one more than the largest ordinal that the market's state knows for it."""
    date = moment.astimezone(_zone(settings.market(market).calendar)).date().isoformat()
    records = read_records(state_folder(Path(settings.data_dir), market))
    ordinals = [
        int(ordinal)
        for day, _, ordinal in (record.session_id.rpartition(".") for record in records)
        if day == date and ordinal.isdecimal()
    ]
    return f"{date}.{max(ordinals, default=0) + 1}"


def _zone(calendar: str) -> dt.tzinfo:
    if not calendar:
        return dt.UTC
    from janus_memory.simulate.sessions import calendar_zone

    return calendar_zone(calendar)


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--at {text!r} is not an ISO 8601 time: {error}; nothing was sent") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
