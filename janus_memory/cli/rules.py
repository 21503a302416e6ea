"""`janus rules`: what a market's logic rules say, and what they say of its transitions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from janus_memory.cli.context import App, json_option, pass_app, print_json, print_table
from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from janus_memory.config import Settings
    from janus_memory.logic.explanation import ReadRule
    from janus_memory.transition import Transitions

__all__ = ["rules"]


@click.group()
def rules() -> None:
    """Work on logic rules (docs/rules.md has their grammar).

    \b
    Examples:
      janus rules check janus.toml
      janus rules explain janus.toml --on memory
    """


@rules.command()
@click.argument("file", required=False, type=click.Path())
@click.option("--market", help="Only this market's.")
@json_option
@pass_app
def check(app: App, file: str | None, market: str | None, as_json: bool) -> None:
    """Parse the rules of every market in FILE (or the settings in force), and print them as they hold.

    Presets are written out as texts. An error names the rule, the column, the unknown word and the nearest
    known one. Rules that mention the reward or the next state do not train the policy (they are left out of
    L_logic); the table says which, and why.

    \b
    Examples:
      janus rules check janus.toml
      janus --config janus.toml rules check --market eurusd
    """
    scope = _scope(app, file)
    names = [scope.market(market)] if market else sorted(scope.settings.markets)
    if not names:
        raise ConfigError("the settings name no market, so there are no rules; add [markets.NAME]")
    found = [(name, rule) for name in names for rule in _read(scope.settings, name)]
    if as_json:
        print_json([_facts(name, rule) for name, rule in found])
        return
    lines = [(name, r.settings.name, r.settings.weight, _trains(r), r.settings.text) for name, r in found]
    print_table("rules", ("market", "rule", "weight", "trains the policy", "text"), lines)
    click.echo(f"{len(found)} rules can be read")
    for name, rule in found:
        if rule.not_training:
            click.echo(f"{name}: {rule.settings.name} does not train the policy: it {rule.not_training}")
    for name in names:
        shapes = {word: one for of, rule in found if of == name for word, one in _shapes(rule).items()}
        for word, meaning in shapes.items():
            click.echo(f"{name}: {word} is {meaning}")


@rules.command()
@click.argument("file", required=False, type=click.Path())
@click.option("--on", "data", required=True, metavar="DATA", help="A file, `memory`, or a state folder.")
@click.option("--market", help="The market, where FILE has several.")
@click.option("--rule", help="Only this rule.")
@click.option(
    "--worst", type=click.IntRange(0), default=5, show_default=True, help="Rows shown for each rule."
)
@json_option
@pass_app
def explain(  # noqa: PLR0917  (click passes each option by name)
    app: App, file: str | None, data: str, market: str | None, rule: str | None, worst: int, as_json: bool
) -> None:
    """Show what the rules in FILE (or the settings in force) say of the transitions in DATA.

    For each rule: its truth over the episodes, how many rows break it, how many it applies to (a rule that
    applies to none is true of anything), whether it trains the policy, and the rows that keep it worst.

    DATA is `memory` (the market's replay buffer after the last committed night), a state folder, or a file: JSON
    lines or one frame of docs/wire-format.md, or a table in CSV or Parquet (docs/rules.md).

    \b
    Examples:
      janus rules explain janus.toml --on memory
      janus rules explain new-limits.toml --on day.jsonl --rule "drawdown limit" --worst 20
      janus rules explain --market eurusd --on janus-data/state/eurusd --json
    """
    from janus_memory.cli.rule_report import explanation_facts, print_explanation
    from janus_memory.logic.explanation import explain as judge
    from janus_memory.replay.episodes import episodes_of

    scope = _scope(app, file)
    name = scope.market(market)
    spec = scope.settings.market(name).spec(name)
    chosen = _chosen(_read(scope.settings, name), rule)
    rows = _transitions(scope.settings, name, data)
    found = judge(
        chosen,
        spec,
        rows,
        [one.members for one in episodes_of(rows)],
        n_worst=worst,
        memberships=scope.settings.market(name).memberships,
        logic=scope.settings.logic,
    )
    facts = explanation_facts(found, rows, spec, scope.settings.neocortex.tau_logic)
    if as_json:
        print_json({"market": name, "data": data, **facts})
    else:
        print_explanation(name, data, facts)


def _scope(app: App, file: str | None) -> App:
    return App(file, app.overrides) if file else app


def _read(settings: Settings, name: str) -> tuple[ReadRule, ...]:
    from janus_memory.logic.explanation import read_rules

    market = settings.market(name)
    return read_rules(market.rules, market.spec(name), market.memberships)


def _chosen(known: tuple[ReadRule, ...], rule: str | None) -> tuple[ReadRule, ...]:
    from janus_memory.logic.refusals import did_you_mean, known_names

    names = [one.settings.name for one in known]
    if not known:
        raise ConfigError("the market has no rules; nothing was judged; add [[markets.NAME.rules]]")
    if rule is not None and rule not in names:
        hint = did_you_mean(rule, names) or f"; known: {known_names(names)}"
        raise ConfigError(f"unknown rule {rule!r}{hint}; nothing was judged")
    return tuple(one for one in known if rule in {None, one.settings.name})


def _transitions(settings: Settings, market: str, data: str) -> Transitions:
    """The rows that DATA names."""
    from janus_memory.cli.committed import committed_buffer
    from janus_memory.cli.transition_files import read_transitions
    from janus_memory.sleep.sessions import state_folder

    path = Path(data)
    if data == "memory":
        return committed_buffer(state_folder(Path(settings.data_dir), market), market)[0]
    if path.is_dir():
        of_market = state_folder(path, market)
        return committed_buffer(of_market if of_market.is_dir() else path, market)[0]
    return read_transitions(path, settings.market(market).spec(market))


def _trains(rule: ReadRule) -> str:
    return "no" if rule.not_training else "yes"


def _facts(market: str, rule: ReadRule) -> dict[str, Any]:
    return {
        "market": market,
        "rule": rule.settings.name,
        "weight": rule.settings.weight,
        "trains_policy": not rule.not_training,
        "reason": rule.not_training,
        "text": rule.settings.text,
        "memberships": _shapes(rule),
    }


def _shapes(rule: ReadRule) -> dict[str, str]:
    """The membership functions that a rule uses, in words."""
    return {word: shape.words() for word, shape in rule.mentions.memberships.items()}
