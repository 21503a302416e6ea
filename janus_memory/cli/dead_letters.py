"""`janus dead-letters`: records that could not be used, and sending them again."""

from __future__ import annotations

import asyncio

import click

from janus_memory.cli.context import App, json_option, market_time, pass_app, print_json, print_table

__all__ = ["dead_letters"]


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at records that could not be used, and send them again.

    \b
    Examples:
      janus dead-letters list
      janus dead-letters redrive --market eurusd
    """


@dead_letters.command("list")
@click.option("--market", help="Only this market's.")
@click.option("--limit", default=100, show_default=True, help="Newest letters looked at in each partition.")
@json_option
@pass_app
def list_(app: App, market: str | None, limit: int, as_json: bool) -> None:
    """List the newest dead letters with the reason of each.

    \b
    Examples:
      janus dead-letters list --market eurusd
      janus dead-letters list --limit 1000 --json
    """
    from streams.dead_letters import list_letters

    if market is not None:
        app.settings.market(market)
    letters = asyncio.run(list_letters(app.settings, market=market, limit=limit))
    if as_json:
        print_json(letters)
        return
    rows = [
        (market_time(e.as_of), e.topic, e.partition, e.offset, len(e.rows) or "all", e.reason)
        for e in (letter.event for letter in letters)
        if e is not None
    ]
    print_table("dead letters", ("time", "topic", "partition", "offset", "rows", "reason"), rows)
    if unreadable := sum(letter.event is None for letter in letters):
        click.echo(f"{unreadable} records on the topic are no dead letters")


@dead_letters.command()
@click.option("--market", help="Whose; the only market if there is one.")
@click.option(
    "--limit", default=10_000, show_default=True, help="Newest letters looked at in each partition."
)
@json_option
@pass_app
def redrive(app: App, market: str | None, limit: int, as_json: bool) -> None:
    """Send the original records again, once their cause is gone. Rows accepted meanwhile are dropped by id.

    \b
    Example:
      janus dead-letters redrive --market eurusd
    """
    from streams.dead_letters import redrive as send_again

    summary = asyncio.run(send_again(app.settings, market=app.market(market), limit=limit))
    if as_json:
        print_json(summary)
        return
    click.echo("\n".join(f"sent {n} again to {topic}" for topic, n in summary.sent.items()) or "nothing sent")
    for reason, n in summary.skipped.items():
        click.echo(f"left {n} alone: {reason}")
