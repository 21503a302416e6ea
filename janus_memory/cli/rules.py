"""`janus rules`: what a market's logic rules say, and what they say of its transitions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

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
      janus rules fit risky --on days.csv --label was_risky --features volatility_24h --out risky.safetensors
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
        words = {word: one for of, rule in found if of == name for word, one in rule.mentions.words.items()}
        for word, meaning in words.items():
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
        predicates=scope.settings.market(name).predicates,
        logic=scope.settings.logic,
    )
    facts = explanation_facts(found, rows, spec, scope.settings.neocortex.tau_logic)
    if as_json:
        print_json({"market": name, "data": data, **facts})
    else:
        print_explanation(name, data, facts)


@rules.command()
@click.argument("name")
@click.option(
    "--on", "table", required=True, type=click.Path(path_type=Path), help="Labelled rows, CSV or Parquet."
)
@click.option("--label", required=True, help="The column that holds 0 or 1.")
@click.option(
    "--features", required=True, help="The columns to learn from, as the market names them, by commas."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--seed", default=0, show_default=True, help="Decides the first weights.")
@json_option
def fit(  # noqa: PLR0917  (click passes each option by name)
    name: str, table: Path, label: str, features: str, out: Path, seed: int, as_json: bool
) -> None:
    """Fit the learned predicate NAME to labelled rows, and print what to write into the market's settings.

    A rule says it as `state is NAME` or `next is NAME`. The features are taken in the market's own units; a row's
    label is 1 where the word is true of it. What was fitted is judged on the same rows: keep some back to judge it by.

    \b
    Examples:
      janus rules fit risky --on days.csv --label was_risky --features volatility_24h,drawdown --out risky.safetensors
    """
    from janus_memory.cli.labelled_rows import read_labelled
    from janus_memory.logic.fitting import fit_predicate
    from janus_memory.logic.refusals import check_word

    check_word("predicate", name)
    names = tuple(one.strip() for one in features.split(","))
    rows, labels = read_labelled(table, names, label)
    found = fit_predicate(names, rows, labels, seed=seed)
    found.write(out)
    right = float(((found.degree(rows, np) > 0.5) == (labels > 0.5)).mean())
    if as_json:
        facts = {
            "predicate": name,
            "file": str(out),
            "sha256": found.sha256,
            "rows": len(rows),
            "right": right,
        }
        print_json([facts])
        return
    click.echo(
        f"{right:.1%} of {len(rows)} rows are told as they are labelled; in [markets.NAME.predicates] write:"
    )
    click.echo(f'{name} = {{ file = "{out}", sha256 = "{found.sha256}" }}')


def _scope(app: App, file: str | None) -> App:
    return App(file, app.overrides) if file else app


def _read(settings: Settings, name: str) -> tuple[ReadRule, ...]:
    from janus_memory.logic.explanation import read_rules

    market = settings.market(name)
    spec, logic = market.spec(name), settings.logic
    return read_rules(market.rules, spec, market.memberships, market.predicates, logic)


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
        "words": dict(rule.mentions.words),
    }
