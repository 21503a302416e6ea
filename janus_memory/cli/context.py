"""What every command shares: where its settings come from, and how it prints."""

from __future__ import annotations

import datetime as dt
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from janus_memory.errors import ConfigError
from janus_memory.settings import DEFAULT_FILE, settings_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from janus_memory.config import Settings

__all__ = ["App", "as_json", "json_option", "market_time", "pass_app", "print_json", "print_table"]


@dataclass(frozen=True)
class App:
    """The command line's own options.

    Attributes:
        config: the settings file named by --config or JANUS_CONFIG, if any.
        overrides: the values of --set.
    """

    config: str | None
    overrides: tuple[str, ...]

    @cached_property
    def _loaded(self) -> tuple[Settings, dict[str, str]]:
        return settings_from(self.file, os.environ, self.overrides)

    @property
    def file(self) -> str | None:
        """The settings file in use: the named one, else ./janus.toml where there is one."""
        return self.config or (DEFAULT_FILE if Path(DEFAULT_FILE).exists() else None)

    @property
    def settings(self) -> Settings:
        """The settings; ConfigError if they cannot be used."""
        return self._loaded[0]

    @property
    def provenance(self) -> dict[str, str]:
        """Where each value comes from, by dotted key."""
        return self._loaded[1]

    def market(self, name: str | None) -> str:
        """The named market, or the only one.

        Raises:
            ConfigError: it is unknown, or none is named and there is not exactly one.
        """
        known = sorted(self.settings.markets)
        if name is None and len(known) != 1:
            raise ConfigError(
                f"name a market with --market; known: {', '.join(known) or 'none'}; nothing was done"
            )
        name = name or known[0]
        self.settings.market(name)
        return name


PIPED_WIDTH = 160

pass_app = click.make_pass_decorator(App)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def as_json(value: Any) -> str:
    """Indented JSON of builtin values, records and tuples."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(as_json(value))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; a line says so where it is empty."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    if table.row_count:
        piped = None if sys.stdout.isatty() else PIPED_WIDTH
        Console(width=piped).print(table)
    else:
        click.echo(f"{title}: none")


def market_time(nanoseconds: int) -> str:
    """A market time in UTC, to the second."""
    moment = dt.datetime.fromtimestamp(nanoseconds // 1_000_000_000, dt.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
