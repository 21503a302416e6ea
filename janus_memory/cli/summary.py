"""The demo's summary: what went in, what was learned, and how to look further."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from janus_memory.cli.feed import Feed
    from janus_memory.cli.simulate import Play
    from janus_memory.config import Settings

__all__ = ["NightLine", "SchemaLine", "Summary", "print_summary", "summary_of"]

SHOWN_SCHEMAS = 12


@dataclass(frozen=True, slots=True)
class NightLine:
    """One night; the numbers are None where it was skipped."""

    session: str
    state: str
    transitions: int
    market_states: int
    schemas: int | None
    td_error_before: float | None
    td_error_after: float | None
    rule_satisfaction: float | None
    anomalies: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class SchemaLine:
    """One schema: how many transitions it stands for, their mean reward, and what it is like."""

    schema_id: str
    size: int
    mean_reward: float
    profile: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What a demo run has shown."""

    nights: list[NightLine]
    schemas: list[SchemaLine]
    changes: dict[str, int]
    live_anomalies: int
    dead_letters: int
    n_agents: int
    seconds: float
    folder: str
    digest: str


def summary_of(feed: Feed, play: Play, settings: Settings, seconds: float) -> Summary:
    """Put together what the feed has collected."""
    nights = []
    for report in sorted(feed.reports.values(), key=lambda r: r.as_of):
        m = report.metrics
        nights.append(
            NightLine(
                session=report.session_id,
                state=report.state,
                transitions=int(m.get("transitions", 0)),
                market_states=int(m.get("distinct_timestamps", 0)),
                schemas=_whole(m.get("schemas")),
                td_error_before=m.get("td_error_before"),
                td_error_after=m.get("td_error_after"),
                rule_satisfaction=m.get("satisfaction"),
                anomalies=_whole(m.get("anomalies")),
                seconds=round(sum(report.phase_seconds.values()), 1),
            )
        )
    schemas = sorted(feed.schemas.values(), key=lambda s: (-s.num_points, s.schema_id))
    return Summary(
        nights=nights,
        schemas=[SchemaLine(s.schema_id, s.num_points, s.avg_reward, s.profile) for s in schemas],
        changes=dict(sorted(feed.changes.items())),
        live_anomalies=len(feed.anomalies),
        dead_letters=len(feed.dead_letters),
        n_agents=len(play.market.agents),
        seconds=round(seconds, 1),
        folder=settings.data_dir,
        digest=max(feed.reports.values(), key=lambda r: r.as_of).digest,
    )


def print_summary(console: Console, summary: Summary) -> None:
    """Print it for a person."""
    rows = sum(night.transitions for night in summary.nights)
    states = sum(night.market_states for night in summary.nights)
    _say(
        console,
        f"\n[bold]{rows:,} transitions[/bold] of {summary.n_agents} agents came in, from {states:,} distinct market "
        f"states: all agents see the same bars.\n{summary.dead_letters} records were refused.\n",
    )
    _say(console, "[bold]Nights[/bold]  TD error: how wrong the value estimate is, before and after replay")
    console.print(_nights(summary), "")
    shown = min(SHOWN_SCHEMAS, len(summary.schemas))
    _say(console, f"[bold]Schemas[/bold]  the {shown} largest of {len(summary.schemas)} regimes it knows")
    console.print(_schemas(summary), "")
    changes = ", ".join(f"{n} {kind}" for kind, n in summary.changes.items())
    _say(console, f"Schema events over all nights: {changes or 'none'}.")
    _say(
        console,
        f"Anomalies: {summary.live_anomalies} states were flagged live as unlike anything known, by the model of the "
        "night before.",
    )
    _further(console, summary)


def _nights(summary: Summary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("week to", "rows", "states", "schemas", "TD error", "rules hold", "anomalies", "s"):
        table.add_column(name, justify="left" if name == "week to" else "right", no_wrap=True)
    for night in summary.nights:
        table.add_row(
            night.session[:10],
            f"{night.transitions:,}",
            str(night.market_states),
            _or_dash(night.schemas, "d"),
            f"{_or_dash(night.td_error_before, '.2f')} -> {_or_dash(night.td_error_after, '.2f')}",
            _or_dash(night.rule_satisfaction, ".1%"),
            _or_dash(night.anomalies, "d"),
            f"{night.seconds:.0f}",
        )
    return table


def _schemas(summary: Summary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("schema", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("mean reward", justify="right", no_wrap=True)
    table.add_column("what it is like", overflow="fold")
    for schema in summary.schemas[:SHOWN_SCHEMAS]:
        table.add_row(
            schema.schema_id[:8], f"{schema.size:,}", f"{schema.mean_reward:+.2f} USD", schema.profile
        )
    return table


def _further(console: Console, summary: Summary) -> None:
    folder = Path(summary.folder)
    settings = _shortest(folder / "janus.toml")
    _say(console, f"\nDone in {summary.seconds:.0f} s. Digest of the memory: {summary.digest[:16]}")
    _say(console, "[bold]Where things lie and how to look further[/bold]")
    for what, how in (
        ("nights", f"janus --config {settings} status --no-broker"),
        ("settings", f"janus --config {settings} config show"),
        ("rules", f"janus rules check {settings}"),
        ("memory", f"{_shortest(folder / 'state')}  (checkpoints, models, vector store)"),
        ("logs", f"{_shortest(folder / 'logs')}"),
        ("your own", "janus --config janus.toml up   against your broker; docs/settings.md"),
    ):
        _say(console, f"  {what:<9} {how}")


def _say(console: Console, text: str) -> None:
    """A line that the terminal, not we, may wrap: what is in it can be copied."""
    console.print(text, soft_wrap=True)


def _shortest(path: Path) -> str:
    """Relative to the working folder where it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
