"""Rule sets by name: a limit that a risk officer sets by its threshold, written out in the rule language.

A preset is data: texts with places for thresholds and for the market's own words. `expand` fills them in, so that what
holds is always a text that can be read (`janus rules check` prints it). docs/rules.md says in words what each means.
The default thresholds are log units of hourly EUR/USD, where volatility_24h is about 0.0008 to 0.002.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from janus_memory.config import RuleSettings
from janus_memory.errors import RuleError
from janus_memory.logic.grammar import MAX_RULES
from janus_memory.logic.refusals import WORDS, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from janus_memory.logic.grammar import Vocabulary

__all__ = ["EXAMPLE_RULES", "PRESETS", "Preset", "expand"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A family of one or two rules.

    Attributes:
        limit: default of the threshold, in the unit of the features that it limits.
        softness: default softness as a share of the threshold.
        second: the optional second threshold, and whether it lies above or below the limit.
        words: the features and actions needed; a market may call them otherwise (`names`).
        texts: of the limit and of the second threshold, for discrete actions.
        vector_texts: the same for markets whose action[0] is the position to take.
    """

    limit: float
    softness: float
    second: Literal["warning", "stop"]
    words: tuple[str, ...]
    texts: tuple[str, str]
    vector_texts: tuple[str, str]


_NO_MORE = "implies abs(action[0]) < abs({position}) + 0.05 ~ 0.02"


def _both_sides(of_long: str, of_short: str) -> str:
    """What a losing long and a losing short position each forbid."""
    losing = "{position_pnl} < -{limit} ~ {softness}"
    return (
        f"({{position}} > {{held}} and {losing} implies {of_long}) "
        f"and ({{position}} < -{{held}} and {losing} implies {of_short})"
    )


PRESETS: Mapping[str, Preset] = {
    "drawdown limit": Preset(
        limit=0.01,
        softness=1 / 5,
        second="warning",
        words=("drawdown", "position", "flat"),
        texts=(
            "{drawdown} < -{limit} ~ {softness} implies {is_flat}",
            "{drawdown} < -{second} ~ {softness_2} and abs({position}) < {held} implies {is_flat}",
        ),
        vector_texts=(
            "{drawdown} < -{limit} ~ {softness} implies {is_flat}",
            "{drawdown} < -{second} ~ {softness_2} " + _NO_MORE,
        ),
    ),
    "volatility-scaled position limit": Preset(
        limit=0.0016,
        softness=1 / 8,
        second="warning",
        words=("volatility_24h", "position", "flat"),
        texts=(
            "abs({position}) * {volatility_24h} > {limit} ~ {softness} implies {is_flat}",
            "{volatility_24h} > {second} ~ {softness_2} and abs({position}) < {held} implies {is_flat}",
        ),
        vector_texts=(
            "abs(action[0]) * {volatility_24h} < {limit} ~ {softness}",
            "abs({position}) * {volatility_24h} > {second} ~ {softness_2} " + _NO_MORE,
        ),
    ),
    "no adding to a loser": Preset(
        limit=0.004,
        softness=1 / 4,
        second="stop",
        words=("position", "position_pnl", "short", "flat", "long"),
        texts=(
            _both_sides("not action == {long}", "not action == {short}"),
            "abs({position}) > {held} and {position_pnl} < -{second} ~ {softness_2} implies {is_flat}",
        ),
        vector_texts=(
            _both_sides("action[0] < {position} + 0.05 ~ 0.02", "action[0] > {position} - 0.05 ~ 0.02"),
            "abs({position}) > {held} and {position_pnl} < -{second} ~ {softness_2} implies {is_flat}",
        ),
    ),
}

EXAMPLE_RULES = tuple(RuleSettings(preset=name) for name in PRESETS)

_ACTIONS = frozenset({"short", "flat", "long"})
_THRESHOLDS = ("limit", "softness", "warning", "stop")


def expand(rules: Sequence[RuleSettings], known: Vocabulary) -> tuple[RuleSettings, ...]:
    """The rules with every preset written out as texts.

    Args:
        rules: rules with a text, which are returned as they are, and presets.
        known: the market's features and actions.

    Raises:
        RuleError: a rule has neither text nor preset or both, a preset or one of its values cannot be used, the
            market lacks a word that a preset needs, or there are more than `MAX_RULES`.
    """
    written = tuple(text for number, rule in enumerate(rules, 1) for text in _written(number, rule, known))
    if len(written) > MAX_RULES:
        raise RuleError(
            f"{len(written)} rules, more than {MAX_RULES} for one market; nothing was loaded; join or remove some"
        )
    return written


def _written(number: int, rule: RuleSettings, known: Vocabulary) -> Iterator[RuleSettings]:
    if not rule.preset:
        _check_text(number, rule)
        yield rule
        return
    name = rule.name or rule.preset
    preset = _preset(name, rule)
    level = _thresholds(name, rule, preset)
    words = _words(name, rule, preset, known)
    texts = preset.texts if known.n_actions else preset.vector_texts
    for suffix, text in zip(("", preset.second), texts, strict=True):
        if not suffix or "second" in level:
            yield RuleSettings(
                name=f"{name}: {suffix}" if suffix else name,
                text="forall: " + text.format(**level, **words),
                weight=rule.weight,
            )


def _check_text(number: int, rule: RuleSettings) -> None:
    if not rule.name:
        raise RuleError(f"rule {number} has no `name`; nothing was loaded; give it one")
    if not rule.text:
        raise RuleError(
            f"rule {rule.name!r} has neither `text` nor `preset`; nothing was loaded; presets: {', '.join(PRESETS)}"
        )
    given = [key for key in (*_THRESHOLDS, "names") if getattr(rule, key)]
    if given:
        _fail(rule.name, f"`{given[0]}` belongs to a preset, and this rule has a text of its own")


def _preset(name: str, rule: RuleSettings) -> Preset:
    if rule.text:
        _fail(name, "has both `text` and `preset`; leave one out")
    if rule.preset not in PRESETS:
        hint = did_you_mean(rule.preset, PRESETS) or f"; known: {', '.join(PRESETS)}"
        _fail(name, f"unknown preset {rule.preset!r}{hint}")
    return PRESETS[rule.preset]


def _thresholds(name: str, rule: RuleSettings, preset: Preset) -> dict[str, str]:
    """What stands in a text for the limit and, where it is set, for the second threshold and its softness."""
    for key in _THRESHOLDS:
        value = getattr(rule, key)
        if value is not None and not (math.isfinite(value) and value > 0):
            _fail(name, f"{key} = {value}; use a number above 0")
    unused = "stop" if preset.second == "warning" else "warning"
    if getattr(rule, unused) is not None:
        _fail(
            name, f"the preset {rule.preset!r} has no `{unused}`; it has limit, softness and {preset.second}"
        )
    limit = preset.limit if rule.limit is None else rule.limit
    level = {"limit": limit, "softness": rule.softness or limit * preset.softness}
    second = getattr(rule, preset.second)
    if second is not None:
        if (second < limit) != (preset.second == "warning") or second == limit:
            side = "below" if preset.second == "warning" else "above"
            _fail(name, f"{preset.second} = {second} must lie {side} the limit of {limit}")
        level |= {"second": second, "softness_2": rule.softness or second * preset.softness}
    return {key: f"{value:.9g}" for key, value in level.items()}


def _words(name: str, rule: RuleSettings, preset: Preset, known: Vocabulary) -> dict[str, str]:
    """What the market calls the words that the preset needs, quoted where the language asks for it."""
    for word in rule.names:
        if word not in preset.words:
            _fail(
                name,
                f"unknown name {word!r}{did_you_mean(word, preset.words)}; it uses {', '.join(preset.words)}",
            )
    # In vector markets a position is any number, so that a tenth already counts as one.
    words = {"held": "0.5 ~ 0.1" if known.n_actions else "0.1 ~ 0.02", "is_flat": "action[0] == 0 ~ 0.1"}
    for word in preset.words:
        kind, there = ("action", known.actions) if word in _ACTIONS else ("feature", known.features)
        own = rule.names.get(word, word)
        if kind == "action" and not known.n_actions:
            continue
        if own not in there and not _is_index(kind, own, known):
            _fail(
                name,
                f"it needs the {kind} {own!r}, which the market does not have{did_you_mean(own, there)}; if it is "
                f'called otherwise, write names = {{ {word} = "..." }}',
            )
        words[word] = own if _is_index(kind, own, known) else _quoted(own)
    return words | ({"is_flat": f"action == {words['flat']}"} if known.n_actions else {})


def _is_index(kind: str, own: str, known: Vocabulary) -> bool:
    """Whether an action is named by its number, as where actions have no names."""
    return kind == "action" and own not in known.actions and own.isdecimal() and own.isascii()


def _quoted(word: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", word) and word not in WORDS
    return word if plain else f'"{word}"'


def _fail(name: str, what: str) -> NoReturn:
    raise RuleError(f"rule {name!r}: {what}; nothing was loaded")
