"""Feed random rule texts through the reader and the evaluation: nothing but RuleError may come out.

    python -m tests.soak.rule_fuzz --count 1000000 --seed 0

Work is bounded by construction, and the bounds are what is checked here in place of a clock: a formula has at most one
node for each character and at most MAX_DEPTH levels, and the reader is an LALR automaton without backtracking.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from janus_memory.config import PredicateSettings, RuleSettings
from janus_memory.errors import RuleError
from janus_memory.logic import KnowledgeBase
from janus_memory.logic.grammar import MAX_CHARACTERS, MAX_DEPTH
from janus_memory.logic.learned import Learned
from janus_memory.transition import MarketSpec, Transitions
from tests.soak.rule_texts import ACTIONS, FEATURES, MEMBERSHIPS, PREDICATES, rule_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from janus_memory.logic.formulas import Formula, Term

_VALUES = np.array([0.0, -0.0, 1e-30, -3e38, 3e38, 0.5, -1.0, 7.0], np.float32)
_MAX_MESSAGE = 600
_NONE: Mapping[str, PredicateSettings] = {}


@dataclass
class Tally:
    """What became of the texts.

    Attributes:
        refused: by the reader.
        overflowed: read, and refused by the evaluation on values near the end of float32.
        evaluated: read and evaluated.
        longest, nodes, depth: the largest of any formula that was read: its text, its nodes, its levels.
        longest_message: of a refusal, in characters.
    """

    refused: int = 0
    overflowed: int = 0
    evaluated: int = 0
    longest: int = 0
    nodes: int = 0
    depth: int = 0
    longest_message: int = 0


def fuzz(count: int, seed: int) -> Tally:
    """Check `count` texts drawn from `seed`.

    Raises:
        AssertionError: a truth is outside [0, 1], a formula is larger than its text allows, or an error was another
            than RuleError; the message holds the text.
    """
    rng, tally = Random(seed), Tally()  # noqa: S311  (tests, not secrets)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("error")
        learned = _predicates(Path(folder))
        for number in range(count):
            vector = number % 4 == 3
            text = rule_text(rng, vector=vector)
            try:
                check(text, tally, learned, vector=vector)
            except Exception as error:
                raise AssertionError(f"text {number} of seed {seed}: {text!r}") from error
    return tally


def check(
    text: str, tally: Tally, learned: Mapping[str, PredicateSettings] = _NONE, *, vector: bool = False
) -> None:
    """Read the text and, where that works, evaluate it on rows with extreme values; `learned` are its predicates."""
    actions = () if vector else ACTIONS
    try:
        rule = RuleSettings(name="r", text=text)
        base = KnowledgeBase.parse([rule], FEATURES, actions, memberships=MEMBERSHIPS, predicates=learned)
    except RuleError as error:
        tally.refused += 1
        tally.longest_message = max(tally.longest_message, len(str(error)))
        if tally.longest_message > _MAX_MESSAGE:
            raise AssertionError(f"a message of {tally.longest_message} characters") from error
        return
    nodes, depth = _size(base._rules[0].formula)
    assert nodes <= len(text) <= MAX_CHARACTERS
    assert depth <= MAX_DEPTH
    tally.longest, tally.nodes = max(tally.longest, len(text)), max(tally.nodes, nodes)
    tally.depth = max(tally.depth, depth)
    rows = _ROWS[vector]
    try:
        truths, applies = base.truths(rows), base.conditions(rows)
        policy = truths if vector else base.policy_truths(rows.state)[0]
    except RuleError:
        tally.overflowed += 1
        return
    tally.evaluated += 1
    assert truths.shape == (len(rows), 1)
    for table in (truths, applies, policy):
        assert ((table >= 0) & (table <= 1)).all()


def _predicates(folder: Path) -> dict[str, PredicateSettings]:
    """The learned predicates of the texts, with the largest weights that a file may hold among others."""
    largest, n = np.finfo(np.float32).max, len(FEATURES)
    steep = [(np.full((n, 3), largest), np.zeros(3)), (np.array([[1.0], [-1.0], [largest]]), np.ones(1))]
    made = (
        Learned.of(FEATURES[:1], [(np.full((1, 1), -2.0), np.zeros(1))])[0],
        Learned.of(FEATURES, steep)[0],
    )
    for name, one in zip(PREDICATES, made, strict=True):
        one.write(folder / name)
    return {
        name: PredicateSettings(file=str(folder / name), sha256=one.sha256)
        for name, one in zip(PREDICATES, made, strict=True)
    }


def _size(root: Formula) -> tuple[int, int]:
    """Nodes and levels of a formula."""
    level: list[Formula | Term] = [root]
    nodes = depth = 0
    while level:
        nodes, depth = nodes + len(level), depth + 1
        level = [part for node in level for part in node.parts()]
    return nodes, depth


def _rows(*, vector: bool) -> Transitions:
    spec = MarketSpec("fuzz", FEATURES, "vector" if vector else "discrete", 2 if vector else 3)
    blank = Transitions.empty(spec, len(_VALUES))
    state = np.stack([np.roll(_VALUES, k) for k in range(len(FEATURES))], axis=1)
    number = np.arange(len(_VALUES))
    action = np.stack([_VALUES, _VALUES[::-1]], axis=1) if vector else (number % 3).astype(np.int32)
    return dataclasses.replace(
        blank, state=state, next_state=state[::-1].copy(), action=action, reward=_VALUES
    )


_ROWS = {vector: _rows(vector=vector) for vector in (False, True)}


def main() -> None:
    """Run from the command line; prints the tally."""
    parser = argparse.ArgumentParser(description="fuzz the rule reader")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"{arguments.count} texts of seed {arguments.seed}: {fuzz(arguments.count, arguments.seed)}")


if __name__ == "__main__":
    main()
