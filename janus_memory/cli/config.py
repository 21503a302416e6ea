"""`janus config`: which settings are in force, and where each value comes from."""

from __future__ import annotations

import click

from janus_memory.cli.context import App, json_option, pass_app, print_json, print_table
from janus_memory.settings import SECRETS, dump_settings, flatten

__all__ = ["config"]

_HIDDEN = "(hidden)"


@click.group()
def config() -> None:
    """Look at the settings.

    \b
    Example:
      janus config show
    """


@config.command()
@json_option
@click.option("--toml", is_flag=True, help="Print a complete settings file; secrets are left empty.")
@click.option("--changed", is_flag=True, help="Only what differs from the defaults' source.")
@pass_app
def show(app: App, as_json: bool, toml: bool, changed: bool) -> None:
    """Show every setting with its source: flag, environment, file or default. Secrets are hidden.

    \b
    Examples:
      janus config show
      janus config show --changed
      janus --set ingest.capacity=5000 config show --json
      janus config show --toml > janus.toml
    """
    values = flatten(app.settings)
    if toml:
        click.echo(dump_settings(app.settings, secrets=False), nl=False)
        return
    rows = [
        (key, _HIDDEN if key in SECRETS and value else value, app.provenance[key])
        for key, value in values.items()
        if not changed or app.provenance[key] != "default"
    ]
    if as_json:
        print_json([{"key": key, "value": value, "source": source} for key, value, source in rows])
    else:
        print_table("settings", ("key", "value", "source"), rows)
