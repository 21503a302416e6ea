"""`janus rules`: check a market's logic rules without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import numpy as np

from janus_memory.cli.context import App, json_option, pass_app, print_json, print_table
from janus_memory.errors import ConfigError

if TYPE_CHECKING:
    from janus_memory.config import MarketSettings

__all__ = ["rules"]


@click.group()
def rules() -> None:
    """Work on logic rules (docs/rules.md has their grammar).

    \b
    Example:
      janus rules check janus.toml
    """


@rules.command()
@click.argument("file", required=False, type=click.Path())
@click.option("--market", help="Only this market's.")
@json_option
@pass_app
def check(app: App, file: str | None, market: str | None, as_json: bool) -> None:
    """Parse the rules of every market in FILE (or the settings in force).

    An error names the rule, the column and the unknown word. Rules that mention the reward or the next
    state do not train the policy (they are left out of L_logic); the table says which.

    \b
    Examples:
      janus rules check janus.toml
      janus --config janus.toml rules check --market eurusd
    """
    scope = App(file, app.overrides) if file else app
    names = [scope.market(market)] if market else sorted(scope.settings.markets)
    if not names:
        raise ConfigError("the settings name no market, so there are no rules; add [markets.NAME]")
    rows = [(name, *row) for name in names for row in _rules_of(scope.settings.market(name), name)]
    if as_json:
        keys = ("market", "rule", "weight", "trains_policy", "text")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        print_table("rules", ("market", "rule", "weight", "trains the policy", "text"), rows)
        click.echo(f"{len(rows)} rules can be read")


def _rules_of(market: MarketSettings, name: str) -> list[tuple[str, float, str, str]]:
    """Name, weight, whether it trains the policy, and text of each rule."""
    from janus_memory.logic.knowledge import KnowledgeBase

    spec = market.spec(name)
    discrete = spec.action_kind == "discrete"
    base = KnowledgeBase.parse(
        market.rules, spec.features, spec.action_names, n_actions=spec.action_size if discrete else 0
    )
    training = set(base.names)
    if discrete:
        training = set(base.policy_truths(np.zeros((0, spec.state_size), np.float32))[1])
    return [(r.name, r.weight, "yes" if r.name in training else "no", r.text) for r in market.rules]
