"""`janus schemas`: what a market has learned, in plain words, and the life of each schema."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from janus_memory.cli.context import App, json_option, pass_app, print_json, print_table
from janus_memory.errors import ConfigError, SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from janus_memory.neocortex.lineage import Lineage
    from janus_memory.sleep.memory import Knowledge

__all__ = ["schemas"]

_COLUMNS = ("schema", "points", "average reward", "born", "last seen", "profile")


@click.group()
def schemas() -> None:
    """Look at a market's schemas as the last committed night left them.

    \b
    Examples:
      janus schemas list --market eurusd
      janus schemas show 1f0c66d8a9b3e254
    """


@schemas.command(name="list")
@click.option("--market", help="The market, where the settings have several.")
@json_option
@pass_app
def list_(app: App, market: str | None, as_json: bool) -> None:
    """Print the living schemas, those with most points first.

    \b
    Examples:
      janus schemas list
      janus schemas list --market eurusd --json
    """
    name = app.market(market)
    rows = sorted(_living(_knowledge(app, name)), key=lambda row: -row["points"])
    if as_json:
        print_json(rows)
        return
    lines = [
        (
            r["schema"],
            r["points"],
            f"{r['average reward']:g}",
            _day(r["born"]),
            _day(r["last seen"]),
            r["profile"],
        )
        for r in rows
    ]
    print_table(f"schemas of {name}", _COLUMNS, lines)


@schemas.command()
@click.argument("schema_id")
@click.option("--market", help="The market, where the settings have several.")
@json_option
@pass_app
def show(app: App, schema_id: str, market: str | None, as_json: bool) -> None:
    """Print what SCHEMA_ID is and what became of it: born, merged from, archived, revived.

    An id that was merged away is followed to the schema that lives on.

    \b
    Examples:
      janus schemas show 1f0c66d8a9b3e254
      janus schemas show 1f0c66d8a9b3e254 --json
    """
    from janus_memory.neocortex.lineage import lineage_of

    name = app.market(market)
    known = _knowledge(app, name)
    life = lineage_of(known.history, known.bank, schema_id)
    if life is None:
        raise ConfigError(
            f"market {name} never had a schema {schema_id}; nothing was done; `janus schemas list` shows its schemas"
        )
    now = next((row for row in _living(known) if row["schema"] == life.lives_as), None)
    if as_json:
        print_json({"lineage": msgspec.to_builtins(life), "now": now})
        return
    for line in _words(life, now):
        click.echo(line)


def _knowledge(app: App, market: str) -> Knowledge:
    from janus_memory.cli.committed import committed_memory
    from janus_memory.sleep.sessions import state_folder

    known = committed_memory(state_folder(Path(app.settings.data_dir), market), market).knowledge
    if known is None:
        raise SessionError(
            f"market {market} is still warming up, so it has no schemas yet; nothing was done; see `janus status`"
        )
    return known


def _living(known: Knowledge) -> Iterator[dict[str, Any]]:
    """A record a living schema; times in UTC nanoseconds."""
    bank = known.bank
    columns = (bank.ids.tolist(), bank.num_points, bank.avg_rewards, bank.created_at, bank.last_updated)
    for schema, points, reward, born, seen in zip(*columns, strict=True):
        name = schema.decode()
        values = (name, int(points), float(reward), int(born), int(seen), known.announced[name].profile)
        yield dict(zip(_COLUMNS, values, strict=True))


def _words(life: Lineage, now: dict[str, Any] | None) -> Iterator[str]:
    yield f"{life.schema_id}: {life.state}"
    if life.lives_as not in (None, life.schema_id):
        yield f"lives on as {life.lives_as}"
    if now:
        yield f"{now['profile']}; {now['points']} points, average reward {now['average reward']:g}"
    if life.merged_from:
        yield f"took in {', '.join(life.merged_from)}"
    for event in life.events:
        into = f" into {event.merged_into}" if event.merged_into else ""
        yield f"{event.session_id}: {event.kind}{into} with {event.num_points} points ({event.profile})"


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).date().isoformat()
