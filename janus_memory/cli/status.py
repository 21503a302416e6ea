"""`janus status`: how far ingest is behind, which sessions there are and how their nights ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from janus_memory.cli.context import App, json_option, market_time, pass_app, print_json, print_table
from janus_memory.errors import BrokerError
from janus_memory.sleep.sessions import read_records, state_folder

if TYPE_CHECKING:
    from janus_memory.config import Settings

__all__ = ["status"]


@click.command()
@click.option("--market", help="Only this market.")
@click.option("--no-broker", is_flag=True, help="Only what is on disk; do not connect.")
@json_option
@pass_app
def status(app: App, market: str | None, no_broker: bool, as_json: bool) -> int:
    """Show lag per partition, the last cuts, and the sessions with their states.

    Exit code 5 if the broker does not answer (what is on disk is shown all the same), 9 if a session has
    failed and waits for `janus sleep --retry SESSION` or `--skip SESSION`.

    \b
    Examples:
      janus status
      janus status --market eurusd --json
      janus status --no-broker
    """
    names = [app.market(market)] if market else sorted(app.settings.markets)
    sessions = {name: _sessions(app.settings, name) for name in names}
    broker: dict[str, Any] = {"partitions": {}, "cuts": {}, "error": ""}
    if not no_broker:
        broker |= _broker(app.settings, names)
    if as_json:
        print_json(
            {
                "markets": {n: {"sessions": sessions[n], **_of(broker, n)} for n in names},
                "broker": broker["error"],
            }
        )
    else:
        _show(names, sessions, broker)
    failed = any(record["state"] == "failed" for records in sessions.values() for record in records)
    return BrokerError.exit_code if broker["error"] else 9 if failed else 0


def _sessions(settings: Settings, market: str) -> list[dict[str, Any]]:
    return [
        {
            "session": record.session_id,
            "state": record.state,
            "reason": record.reason,
            "closed_at": record.closed_at,
            "attempts": record.attempts,
            "digest": record.digest,
            "policy": record.policy,
            "missing_partitions": list(record.missing),
            "seconds": round(sum(record.phase_seconds.values()), 1),
            "metrics": record.metrics,
        }
        for record in read_records(state_folder(Path(settings.data_dir), market))
    ]


def _broker(settings: Settings, names: list[str]) -> dict[str, Any]:
    from janus_memory.cli.lag import cuts_and_lag

    try:
        return asyncio.run(cuts_and_lag(settings, names))
    except BrokerError as error:
        return {"error": str(error)}


def _of(broker: dict[str, Any], name: str) -> dict[str, Any]:
    return {"partitions": broker["partitions"].get(name, []), "cuts": broker["cuts"].get(name, [])}


def _show(names: list[str], sessions: dict[str, list[dict[str, Any]]], broker: dict[str, Any]) -> None:
    for name in names:
        rows = [
            (
                r["session"],
                r["state"],
                market_time(r["closed_at"]),
                r["seconds"] or "",
                r["digest"][:12],
                r["policy"],
                r["reason"],
            )
            for r in sessions[name]
        ]
        print_table(
            f"{name}: sessions",
            ("session", "state", "closed", "night, s", "digest", "policy", "reason"),
            rows,
        )
        if not broker["partitions"]:
            continue
        at = _of(broker, name)
        lags = [(p["partition"], p["end"], p["committed"], p["lag"]) for p in at["partitions"]]
        print_table(f"{name}: ingest", ("partition", "end", "committed", "lag"), lags)
        cuts = [
            (c["partition"], c["session"], c["offsets"], c["rows"], c["early"], c["late"]) for c in at["cuts"]
        ]
        print_table(f"{name}: last cuts", ("partition", "session", "offsets", "rows", "early", "late"), cuts)
    if not names:
        click.echo("the settings name no market")
    if broker["error"]:
        click.echo(f"broker: {broker['error']}", err=True)
