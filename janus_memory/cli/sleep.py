"""`janus sleep`: nights by hand: run one, try a failed one again, or give one up."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from janus_memory.cli.context import App, json_option, pass_app, print_json
from janus_memory.cli.market import close_now
from janus_memory.errors import SessionError
from janus_memory.sleep.sessions import read_records, request, state_folder

if TYPE_CHECKING:
    from janus_memory.sleep.sessions import SessionRecord

__all__ = ["sleep"]

_POLL_S = 0.5


@click.group(invoke_without_command=True)
@click.option("--market", help="Which; the only market if there is one.")
@click.option("--retry", metavar="SESSION", help="Run a failed session's night again, on the same input.")
@click.option("--skip", metavar="SESSION", help="Give a failed session up; later ones run.")
@click.pass_context
def sleep(context: click.Context, market: str | None, retry: str | None, skip: str | None) -> None:
    """Run a night now, or release a session whose night has failed.

    \b
    Examples:
      janus sleep run --market crypto
      janus sleep --retry 2026-03-06.1
      janus sleep --skip 2026-03-06.1 --market eurusd
    """
    app: App = context.obj
    if retry and skip:
        raise click.UsageError("choose one of --retry and --skip")
    if context.invoked_subcommand is not None:
        if retry or skip:
            raise click.UsageError("--retry and --skip stand alone, without `run`")
        return
    if retry or skip:
        _release(app, market, retry or skip or "", "retry" if retry else "skip")
    else:
        click.echo(context.get_help())


@sleep.command()
@click.option("--market", help="Which; the only market if there is one.")
@click.option("--session", "session_id", help="Session id; today's date and the next ordinal if not given.")
@click.option(
    "--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for the night."
)
@json_option
@pass_app
def run(app: App, market: str | None, session_id: str | None, timeout_s: float, as_json: bool) -> int:
    """Close the market now and wait until its night is over.

    Ingest and the sleeper must be running (`janus up`). The night takes everything sent until now. Exit code
    0 for a committed night, 4 for one that was skipped, 9 for one that failed or has not ended in time.

    \b
    Examples:
      janus sleep run --market crypto
      janus sleep run --timeout 600 --json
    """
    name = app.market(market)
    session, _ = close_now(app.settings, name, session_id, None, dt.datetime.now(dt.UTC))
    click.echo(f"closed {name}, session {session}; waiting for its night", err=True)
    record = _wait(state_folder(Path(app.settings.data_dir), name), session, timeout_s)
    if as_json:
        print_json(
            {
                "session_id": record.session_id,
                "state": record.state,
                "reason": record.reason,
                "digest": record.digest,
                "metrics": record.metrics,
            }
        )
    else:
        click.echo(f"session {session}: {record.state} {record.reason}".rstrip())
    return {"committed": 0, "skipped": 4}.get(record.state, 9)


def _wait(folder: Path, session_id: str, timeout_s: float) -> SessionRecord:
    """The session's record once its night has ended."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = [r for r in read_records(folder) if r.session_id == session_id]
        if found and found[0].state in {"committed", "skipped", "failed"}:
            return found[0]
        if time.monotonic() > deadline:
            state = found[0].state if found else "not known to the sleeper yet"
            raise SessionError(
                f"session {session_id} is {state} after {timeout_s:g} s; the close was sent and is not lost; "
                "see that `janus up` runs, then `janus status`"
            )
        # The sleeper is another process: its session records on disk are all there is to look at.
        time.sleep(_POLL_S)


def _release(app: App, market: str | None, session_id: str, action: Literal["retry", "skip"]) -> None:
    name = app.market(market)
    done = request(Path(app.settings.data_dir), name, session_id, action)
    what = "is released for another try" if action == "retry" else "is given up"
    asked = "" if done else ": the running sleeper has been asked and does it in a moment"
    click.echo(f"session {session_id} of {name} {what}{asked}")
