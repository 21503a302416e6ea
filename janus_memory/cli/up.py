"""`janus up`: the services of one machine, against a real broker, until they are asked to stop."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from janus_memory.cli.children import Child, Supervisor
from janus_memory.cli.context import App, pass_app
from janus_memory.errors import ConfigError
from janus_memory.settings import dump_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from janus_memory.config import Settings

__all__ = ["service_children", "up", "write_settings"]


@click.command()
@click.option(
    "--ingest", "n_ingest", default=1, show_default=True, type=click.IntRange(1), help="Ingest workers."
)
@pass_app
def up(app: App, n_ingest: int) -> None:
    """Run ingest and the sleeper (with its local Ray head, unless ray.address names a cluster) and stay up.

    Children that end are started again with growing pauses. Prints where Ray's dashboard is and how to
    log in. SIGTERM or Ctrl-C stops all of them and exits with 0. Never runs the simulator.

    \b
    Examples:
      janus --config janus.toml up
      janus --set kafka.bootstrap=kafka:9092 up --ingest 4
    """
    settings = app.settings
    if not settings.markets:
        raise ConfigError("the settings name no market; nothing was started; add [markets.NAME]")

    def relay(name: str, line: str) -> None:
        click.echo(f"[{name}] {line}")

    def say(line: str) -> None:
        click.echo(f"[up] {line}")

    supervisor = Supervisor(service_children(settings, n_ingest, relay), say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    say(
        f"broker {settings.kafka.bootstrap}, markets {', '.join(sorted(settings.markets))}, data {settings.data_dir}"
    )
    supervisor.run()
    say("all services have stopped")


def service_children(
    settings: Settings, n_ingest: int, listener: Callable[[str, str], None] = lambda _name, _line: None
) -> list[Child]:
    """Ingest workers and the sleeper, each with a complete settings file of its own; none is started.

    A worker's health port is `ingest.port` plus its number.
    """
    folder = Path(settings.data_dir).resolve()
    settings = msgspec.structs.replace(settings, data_dir=str(folder))
    children = []
    for number in range(n_ingest):
        ingest = msgspec.structs.replace(settings.ingest, port=settings.ingest.port + number)
        own = msgspec.structs.replace(settings, ingest=ingest)
        children.append(_child(f"ingest-{number}", "streams.ingest.worker", own, folder, listener))
    return [*children, _child("sleeper", "actors.sleeper", settings, folder, listener)]


def write_settings(settings: Settings, path: Path) -> None:
    """Write a complete settings file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(dump_settings(settings))


def _child(
    name: str, module: str, settings: Settings, folder: Path, listener: Callable[[str, str], None]
) -> Child:
    file = folder / "run" / f"{name}.toml"
    write_settings(settings, file)
    return Child(
        name, ("-m", module, "--config", str(file)), folder / "logs" / f"{name}.log", listener=listener
    )
