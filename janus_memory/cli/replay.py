"""`janus replay`: live an episode of a market's memory through again, faster than it happened (E12)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from janus_memory.cli.committed import committed_buffer
from janus_memory.cli.context import App, json_option, market_time, pass_app, print_json, print_table
from janus_memory.cli.replay_lines import End, ReplayLines, duration
from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from janus_memory.config import Settings
    from janus_memory.hippocampus.metadata import Metadata
    from janus_memory.replay.emission import Clock, Emission
    from janus_memory.replay.episodes import Episode
    from janus_memory.transition import MarketSpec, Transitions

__all__ = ["replay"]

USUAL = (10.0, 20.0)


@dataclass(frozen=True, slots=True)
class Target:
    """Where replayed rows go: a topic, and the market whose shape its frames have."""

    topic: str
    spec: MarketSpec


@click.command()
@click.argument("market")
@click.argument("episode", required=False)
@click.option("--compression", type=float, help="C, times the real pace; replay.compression if not given.")
@click.option("--to", metavar="TOPIC|MARKET", help="Where to; janus.replay.MARKET if not given.")
@click.option(
    "--list", "list_", is_flag=True, help="Show the episodes that can be replayed; connect to nothing."
)
@click.option(
    "--limit", type=click.IntRange(1), help="Only the episode's first rows; with --list the newest episodes."
)
@json_option
@pass_app
def replay(  # noqa: PLR0917  (click passes each option by name)
    app: App,
    market: str,
    episode: str | None,
    compression: float | None,
    to: str | None,
    list_: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Send an episode that MARKET remembers onto a topic again, at C times its real pace.

    EPISODE is an id, or instrument/agent/episode where several share it. The rows are those of the replay
    buffer after the last committed night. They keep their ids; their timestamps are compressed like the pace:
    t0 + (t - t0) / C. C is meant to be 10 to 20; any positive number is taken, such as 1 or 3600 for bars of an
    hour. Rows go onto janus.replay.MARKET, which no memory reads, or with --to into a market whose settings say
    `simulated = true`; its memory drops the rows whose ids it knows. Ctrl-C ends with what was sent so far.

    \b
    Examples:
      janus replay eurusd --list
      janus replay eurusd EURUSD/momentum-00/2017-01-12
      janus replay eurusd EURUSD/momentum-00/2017-01-12 --compression 3600 --json
      janus replay eurusd EURUSD/momentum-00/2017-01-12 --to rehearsal
    """
    from janus_memory.replay.compression import check_compression
    from janus_memory.replay.emission import schedule
    from janus_memory.replay.episodes import episodes_of, find_episode
    from janus_memory.sleep.sessions import state_folder

    name = app.market(market)
    target = _target(app.settings, name, to)
    factor = app.settings.replay.compression if compression is None else compression
    check_compression(factor)
    rows, metadata = committed_buffer(state_folder(Path(app.settings.data_dir), name), name)
    known = episodes_of(rows)
    if list_:
        newest = known[-limit:] if limit else known
        _show(name, [_summary(e, rows, metadata) for e in newest], as_json=as_json)
        return
    if episode is None:
        raise ConfigError(
            f"name an episode of market {name}; nothing was sent; `janus replay {name} --list` shows them"
        )
    chosen = find_episode(known, episode)
    emissions = schedule(rows.take(chosen.members[:limit]), factor)
    _announce(episode, emissions, factor, target)
    _replay(app.settings, target, emissions, as_json=as_json)


def _target(settings: Settings, market: str, to: str | None) -> Target:
    """What --to names.

    Raises:
        ConfigError: no such topic or market, one of another shape, or one that is not simulated.
    """
    from streams.topics import replay as replay_topic
    from streams.topics import transitions

    places = {replay_topic(m): m for m in settings.markets}
    live = {transitions(m): m for m in settings.markets}
    topic = replay_topic(market) if to is None else transitions(to) if to in settings.markets else to
    name = (places | live).get(topic)
    if name is None:
        raise ConfigError(
            f"--to {to!r} is neither janus.replay.MARKET nor a market of the settings; nothing was sent; "
            f"known markets: {', '.join(sorted(settings.markets))}"
        )
    if topic in live and not settings.market(name).simulated:
        raise ConfigError(
            f"market {name} is not simulated; nothing was sent, so its memory is untouched; replay onto "
            f"{replay_topic(market)}, or into a market with `simulated = true` under [markets.NAME]"
        )
    own, other = settings.market(market).spec(market), settings.market(name).spec(name)
    if _shape(own) != _shape(other):
        raise ConfigError(
            f"rows of market {market} do not fit market {name}: its features or actions are others; nothing was sent; "
            "name a market with the same ones in the same order"
        )
    return Target(topic, other)


def _shape(spec: MarketSpec) -> tuple[object, ...]:
    return spec.features, spec.action_kind, spec.action_size


def _show(market: str, found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    keys = ("episode", "instrument", "agent", "rows", "from", "lasts", "reward", "mean priority", "ended")
    table = [
        (
            *(one[key] for key in ("episode", "instrument", "agent", "rows")),
            market_time(one["first"]),
            duration(one["duration_s"]),
            f"{one['reward_sum']:+.4g}",
            f"{one['mean_priority']:.3g}",
            "yes" if one["done"] else "",
        )
        for one in found
    ]
    print_table(f"{market}: episodes in the replay buffer", keys, table)


def _summary(episode: Episode, rows: Transitions, metadata: Metadata) -> dict[str, Any]:
    rows, priority = rows.take(episode.members), metadata.priority[episode.members]
    first, last = int(rows.timestamp[0]), int(rows.timestamp[-1])
    return {
        "name": episode.name,
        "episode": episode.episode_id,
        "instrument": episode.instrument,
        "agent": episode.agent_id,
        "rows": len(rows),
        "first": first,
        "duration_s": (last - first) / 1e9,
        "reward_sum": float(rows.reward.sum(dtype="f8")),
        "mean_priority": float(priority.mean()),
        "done": bool(rows.done.any()),
    }


def _announce(episode: str, emissions: list[Emission], factor: float, target: Target) -> None:
    """On stderr, so that what is piped are rows."""
    n_rows = sum(len(e.rows) for e in emissions)
    first, last = emissions[0].rows.timestamp[0], emissions[-1].rows.timestamp[-1]
    click.echo(
        f"{episode}: {n_rows} rows over {duration(int(last - first) / 1e9)} of {market_time(int(first))} take "
        f"{duration(emissions[-1].due_s)} at C = {factor:g}, onto {target.topic}",
        err=True,
    )
    if not USUAL[0] <= factor <= USUAL[1]:
        click.echo(
            f"note: C = {factor:g} is outside {USUAL[0]:g} to {USUAL[1]:g}, which replay is meant for",
            err=True,
        )


def _replay(settings: Settings, target: Target, emissions: list[Emission], *, as_json: bool) -> None:
    """Send, with a line for each row and one at the end, however it ends."""
    from streams.connection import SystemClock

    clock = SystemClock()
    lines = ReplayLines(target.spec, target.topic, sum(len(e.rows) for e in emissions), as_json=as_json)
    begun, how = clock.now(), End.FAILED
    try:
        asyncio.run(_send(settings, target, emissions, clock, lines))
        how = End.DONE
    except KeyboardInterrupt:
        how = End.INTERRUPTED
        raise
    finally:
        lines.end(how, clock.now() - begun)


async def _send(
    settings: Settings, target: Target, emissions: list[Emission], clock: Clock, lines: ReplayLines
) -> None:
    from janus_memory.replay.emission import emit
    from streams.admin import ensure_topic
    from streams.producer import JanusProducer

    await ensure_topic(settings, target.spec.name, target.topic)
    async with JanusProducer(
        settings.kafka,
        target.spec,
        max_record_bytes=settings.ingest.max_record_bytes,
        topic=target.topic,
    ) as producer:
        await emit(emissions, producer, clock, lines.sent)
