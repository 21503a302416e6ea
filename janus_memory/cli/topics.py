"""`janus topics`: create the topics that the settings need, and check those that exist."""

from __future__ import annotations

import asyncio

import click

from janus_memory.cli.context import App, json_option, pass_app, print_json, print_table
from janus_memory.errors import ConfigError

__all__ = ["topics"]

DIFFERENT = 5


@click.group()
def topics() -> None:
    """Create or check the topics.

    \b
    Examples:
      janus topics create
      janus topics check
    """


@topics.command()
@json_option
@pass_app
def create(app: App, as_json: bool) -> None:
    """Create the missing topics: partitions, retention, compaction, message size.

    Existing ones are left as they are; one with another number of partitions is refused.

    \b
    Example:
      janus --config janus.toml topics create
    """
    from streams.admin import create_topics

    made = asyncio.run(create_topics(app.settings, _markets(app)))
    if as_json:
        print_json({"created": made})
    else:
        click.echo("\n".join(f"created {name}" for name in made) or "all topics are there; none was changed")


@topics.command()
@json_option
@pass_app
def check(app: App, as_json: bool) -> int:
    """Compare the broker's topics with the settings; exit code 5 if one differs.

    \b
    Example:
      janus topics check --json
    """
    from streams.admin import check_topics

    found = asyncio.run(check_topics(app.settings, _markets(app)))
    if as_json:
        print_json({"differences": found})
    elif found:
        rows = [(d.topic, d.what, d.wanted, d.found or "missing") for d in found]
        print_table("differences", ("topic", "what", "wanted", "found"), rows)
        click.echo("create the missing ones with `janus topics create`; change the others on the broker")
    else:
        click.echo("all topics are as the settings say")
    return DIFFERENT if found else 0


def _markets(app: App) -> list[str]:
    names = sorted(app.settings.markets)
    if not names:
        raise ConfigError("the settings name no market, so there is no topic to make; add [markets.NAME]")
    return names
