"""What `janus rules explain` prints: facts as builtin values, and the tables made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from janus_memory.cli.context import market_time, print_table

if TYPE_CHECKING:
    from janus_memory.logic.explanation import Explanation, RuleEffect
    from janus_memory.logic.mentions import Mentions
    from janus_memory.transition import MarketSpec, Transitions

__all__ = ["explanation_facts", "print_explanation"]


def explanation_facts(
    found: Explanation, rows: Transitions, spec: MarketSpec, tau_logic: float
) -> dict[str, Any]:
    """Everything that was found, by name; see docs/rules.md for each."""
    return {
        "rows": len(rows),
        "episodes": len(found.episodes),
        "episodes_kept_out": int((found.episodes <= tau_logic).sum()),
        "rules": [_effect(effect, rows, spec) for effect in found.rules],
    }


def print_explanation(market: str, data: str, facts: dict[str, Any]) -> None:
    """One table over all rules, and one with the worst rows of each."""
    rules = facts["rules"]
    title = f"{market}: rules on {facts['rows']} rows in {facts['episodes']} episodes of {data}"
    columns = ("rule", "min", "5 %", "median", "mean", "broken", "of all", "applies to", "trains the policy")
    print_table(title, columns, [_summary(rule) for rule in rules])
    for word, meaning in {word: m for rule in rules for word, m in rule["words"].items()}.items():
        click.echo(f"{word} is {meaning}")
    for rule in rules:
        if not rule["support"]:
            click.echo(
                f"{rule['rule']} applies to no row: it is true whatever was done and says nothing here"
            )
    for rule in rules:
        if rule["worst"]:
            mentioned = list(rule["worst"][0]["mentioned"])
            names = ("truth", "time", "id", "instrument", "agent", "action", *mentioned, "reward")
            print_table(f"{rule['rule']}: the rows that keep it worst", names, map(_row_cells, rule["worst"]))
    click.echo(
        f"{facts['episodes_kept_out']} of {facts['episodes']} episodes keep these rules too badly for long-term memory"
    )


def _effect(effect: RuleEffect, rows: Transitions, spec: MarketSpec) -> dict[str, Any]:
    rule, n = effect.rule, len(rows)
    return {
        "rule": rule.settings.name,
        "text": rule.settings.text,
        "weight": rule.settings.weight,
        "quantifier": rule.parsed.quantifier,
        "words": dict(rule.mentions.words),
        "trains_policy": not rule.not_training,
        "reason": rule.not_training,
        "satisfaction": dict(effect.satisfaction),
        "support": effect.support,
        "support_rate": effect.support / n if n else 0.0,
        "broken": effect.broken,
        "violation_rate": effect.broken / n if n else 0.0,
        "worst": [
            _row(int(row), float(effect.truths[row]), rule.mentions, rows, spec) for row in effect.worst
        ],
    }


def _row(row: int, truth: float, read: Mentions, rows: Transitions, spec: MarketSpec) -> dict[str, Any]:
    action = rows.action[row].tolist()
    named = isinstance(action, int) and 0 <= action < len(spec.action_names)
    mentioned = {spec.features[k]: float(rows.state[row, k]) for k in read.features}
    mentioned |= {f"next.{spec.features[k]}": float(rows.next_state[row, k]) for k in read.next_features}
    return {
        "truth": truth,
        "timestamp": int(rows.timestamp[row]),
        "transition_id": _text(rows.transition_id[row]),
        "instrument": _text(rows.instrument[row]),
        "agent_id": _text(rows.agent_id[row]),
        "episode_id": _text(rows.episode_id[row]),
        "action": spec.action_names[action] if named else action,
        "mentioned": mentioned,
        "reward": float(rows.reward[row]),
    }


def _summary(rule: dict[str, Any]) -> tuple[str, ...]:
    truth = rule["satisfaction"]
    spread = (f"{truth[name]:.3f}" if truth else "" for name in ("min", "q05", "median", "mean"))
    return (
        rule["rule"],
        *spread,
        str(rule["broken"]),
        f"{rule['violation_rate']:.2%}",
        f"{rule['support']} rows",
        f"no: {rule['reason']}" if rule["reason"] else "yes",
    )


def _row_cells(row: dict[str, Any]) -> tuple[str, ...]:
    action = row["action"]
    if isinstance(action, list):
        action = "[" + " ".join(f"{x:.3g}" for x in action) + "]"
    return (
        f"{row['truth']:.3f}",
        market_time(row["timestamp"]),
        row["transition_id"],
        row["instrument"],
        row["agent_id"],
        str(action),
        *(f"{value:.4g}" for value in row["mentioned"].values()),
        f"{row['reward']:+.4g}",
    )


def _text(identifier: bytes) -> str:
    return bytes(identifier).decode(errors="replace")
